"""Ending a slot's process from outside, by the file in which it said who it is."""

import os
import signal
from pathlib import Path
from typing import Final

from worker.contract.runtime import Runtime
from worker.vm.files import read_slot_file, slot_file

TERM_S: Final = 25.0
"""From SIGTERM to SIGKILL: enough for a last commit."""
_KILL_S: Final = 2.0
_LOOK_S: Final = 0.2


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
        if not _lives(said.pid):
            return True
        try:
            os.kill(said.pid, order)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        if _gone_within(said.pid, patience_s, runtime):
            return True
    return False


def _gone_within(pid: int, seconds: float, runtime: Runtime) -> bool:
    never, ends_s = runtime.event(), runtime.monotonic() + seconds
    while _lives(pid):
        if runtime.monotonic() >= ends_s:
            return False
        runtime.wait(never, _LOOK_S)
    return True


def _lives(pid: int) -> bool:
    """Return whether a process lives and is a worker's: a number that was free may be another program's by now.

    A process that has ended, and that its parent has not looked at yet, has no command line. Where there is no /proc,
    whatever has the number is taken for ours.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    if not Path("/proc/self").exists():
        return True
    try:
        return b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
