"""Ending a slot's process from outside, by the file in which it said who it is."""

import os
import signal
from pathlib import Path
from typing import Final

from worker.contract.runtime import Runtime
from worker.vm.files import read_slot_file

TERM_S: Final = 25.0
"""From SIGTERM to SIGKILL: enough for a last commit."""
_LOOK_S: Final = 0.2


def stop_slot(runtime_directory: Path, slot: int, runtime: Runtime) -> bool:
    """Ask a slot's process to stop, then kill it; return whether it is gone."""
    said = read_slot_file(runtime_directory, slot)
    if said is None:
        return False
    for order, patience_s in ((signal.SIGTERM, TERM_S), (signal.SIGKILL, 2.0)):
        if _send(said.pid, order):
            return True
        if _gone_within(said.pid, patience_s, runtime):
            return True
    return False


def _gone_within(pid: int, seconds: float, runtime: Runtime) -> bool:
    never, ends_s = runtime.event(), runtime.monotonic() + seconds
    while runtime.monotonic() < ends_s:
        if _send(pid, 0):
            return True
        runtime.wait(never, _LOOK_S)
    return False


def _send(pid: int, order: int) -> bool:
    """Signal a process; return whether there is none."""
    try:
        os.kill(pid, order)
    except ProcessLookupError:
        return True
    return _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """Return whether a process has ended and its parent has not looked yet; only Linux tells."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] == "Z"
