"""Ending a slot's process from outside, by the file in which it said who it is.

Whether it lives is told by a lock that it holds, and that its end releases. /proc does not tell: in the sandbox of the
retire service, which has a user namespace of its own, the processes of the slots are not seen.
"""

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from worker.contract.errors import InputError
from worker.contract.runtime import Runtime
from worker.vm.files import read_slot_file, slot_file

TERM_S: Final = 25.0
"""From SIGTERM to SIGKILL: enough for a last commit."""
_KILL_S: Final = 2.0
_LOOK_S: Final = 0.2


def hold_slot(runtime_directory: Path, slot: int) -> None:
    """Say, for as long as this process lives, that the slot does. Raises InputError where another process says so."""
    holding = os.open(_lock(runtime_directory, slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(holding, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(holding)
        raise InputError(f"Slot {slot} of this VM has a process already: see `systemctl status`.") from error


def stop_slot(runtime_directory: Path, slot: int, runtime: Runtime) -> bool:
    """Ask a slot's process to stop, then kill it; return whether it is gone.

    A slot without a file has not begun since this VM booted, and holds no job. A process that we may not signal, or
    whose file we cannot read, is not gone.
    """
    if not slot_file(runtime_directory, slot).exists():
        return True
    said = read_slot_file(runtime_directory, slot)
    if said is None:
        return False
    for order, patience_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, _KILL_S)):
        if not _lives(runtime_directory, slot):
            return True  # the number may be another program's by now
        try:
            os.kill(said.pid, order)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        if _gone_within(lambda: _lives(runtime_directory, slot), patience_s, runtime):
            return True
    return False


def _gone_within(lives: Callable[[], bool], seconds: float, runtime: Runtime) -> bool:
    never, ends_s = runtime.event(), runtime.monotonic() + seconds
    while lives():
        if runtime.monotonic() >= ends_s:
            return False
        runtime.wait(never, _LOOK_S)
    return True


def _lock(runtime_directory: Path, slot: int) -> Path:
    return runtime_directory / f"slot-{slot}.lock"


def _lives(runtime_directory: Path, slot: int) -> bool:
    try:
        looking = os.open(_lock(runtime_directory, slot), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(looking, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(looking)
    return False
