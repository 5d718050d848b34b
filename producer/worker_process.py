"""Calling the data plane: a process of its own, since the control plane never imports torch or gymnasium."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import worker

WORKER: Final = (sys.executable, "-P", "-m", "worker")


def worker_is_installed() -> bool:
    """Return whether this Python has what trains (the extra `worker`)."""
    return all(importlib.util.find_spec(name) for name in ("gymnasium", "stable_baselines3", "torch"))


def worker_environment() -> dict[str, str]:
    """Return the environment in which WORKER finds our packages.

    -P takes the current folder off the path, and with it a source checkout's own packages.
    """
    path = os.pathsep.join(filter(None, [str(Path(worker.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path}


def run_worker(
    arguments: Sequence[str], timeout_s: float, command: Sequence[str] = WORKER
) -> subprocess.CompletedProcess[str]:
    """Run a command that talks to nobody, and return how it ended and what it printed.

    Raises subprocess.TimeoutExpired; the process is killed then.
    """
    return subprocess.run(
        [*command, *arguments],
        env=worker_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def last_words(ran: subprocess.CompletedProcess[str]) -> str:
    """Return the last line that a process wrote to standard error: what it died of."""
    return (ran.stderr.strip().splitlines() or ["no reason given"])[-1]


def show_worker(arguments: Sequence[str]) -> int:
    """Run a command that talks to the person at this terminal, and return its exit status."""
    return subprocess.run([*WORKER, *arguments], env=worker_environment(), check=False).returncode
