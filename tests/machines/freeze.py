"""A training step that never returns: `python -m tests.machines.freeze PID` stops the main thread of a process.

All its other threads run on, as they do when a library hangs, which no signal can bring about: SIGSTOP stops them all.
The thread stays so until its process is gone, or this program is.
"""

import ctypes
import os
import sys

PTRACE_ATTACH = 16
WALL = 0x40000000


def main(pid: int) -> None:
    """Stop it, say so, and wait for its end: the kernel tells us before it tells its parent."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) != 0:
        raise OSError(ctypes.get_errno(), f"cannot attach to {pid}")
    _, status = os.waitpid(pid, WALL)
    print("frozen", flush=True)
    while not (os.WIFEXITED(status) or os.WIFSIGNALED(status)):
        _, status = os.waitpid(pid, WALL)


if __name__ == "__main__":
    main(int(sys.argv[1]))
