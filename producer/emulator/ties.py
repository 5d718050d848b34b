"""What ties processes to one another, so that a supervisor leaves nothing behind, however it ends."""

import contextlib
import ctypes
import os
import signal
import sys

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends; on Linux."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1)


def tie_to(parent: int) -> None:
    """Run by a child before its program: on Linux it then dies when the thread of `parent` that forked it does."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


def kill_everything() -> None:
    """SIGKILL all descendants until there is none. Linux hands orphans to us, as the nearest subreaper."""
    this = psutil.Process()
    while True:
        for child in this.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
