"""Two slots of a machine hang, each in its own way, with nobody else there to take their jobs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from tests.machines.machine import Inside, Machines, job, machines, slot_unit
from worker.contract.job import Job
from worker.contract.manifest import Manifest

ROOT = Path(__file__).parents[2]
TRIES: Final = 30
TIMESTEPS: Final = 25_000
"""It takes some seconds until a slot stands still: a fast machine must not be through by then."""


@dataclass(frozen=True)
class Hung:
    """What became of a job whose slot hung."""

    unit: str
    cores: set[int]
    """On which its process may run."""
    user: int
    """Whose process it is."""
    results: list[str]
    """Of the unit's lives, as systemd calls them."""
    after: Manifest
    """When its slot had been killed, and the witness had seen it."""
    digest: str
    """Of its result."""


def story(azurite_home: Path, folder: Path) -> dict[str, Hung]:
    """Tell of a process that is stopped, and of one of which only the thread that trains is, one after the other.

    Meanwhile the other slot is down: it would take the job long before a watchdog fires.
    """
    with machines(azurite_home, folder, slots=2) as fleet:
        vm = fleet.boot_busy()
        units = [slot_unit(f"vm/{number}") for number in range(2)]
        vm("systemctl", "stop", units[1])
        stopped = _told(fleet, vm, units[0], "stopped")
        vm("systemctl", "stop", units[0])
        vm("systemctl", "start", units[1])
        return {"stopped": stopped, "frozen": _told(fleet, vm, units[1], "frozen")}


def _told(fleet: Machines, vm: Inside, unit: str, how: str) -> Hung:
    hangs = job(how, TIMESTEPS)
    fleet.account.enqueue([hangs])
    fleet.in_training(hangs)
    pid = vm.main_pid(unit)
    cores, user = os.sched_getaffinity(pid), psutil.Process(pid).uids().effective
    with frozen(fleet, vm, unit) if how == "frozen" else nullcontext():
        if how == "stopped":
            os.kill(pid, signal.SIGSTOP)
        after = _witnessed(fleet, hangs)
    digest = fleet.done(hangs)  # systemd says how a life has ended after the witness, which is a part of it
    return Hung(unit, cores, user, vm.results(unit), after, digest)


def _witnessed(fleet: Machines, job: Job) -> Manifest:
    what = f"the first attempt of {job.sweep} ends"
    fleet.until(what, lambda: fleet.manifest(job).attempts[0].ended != "running")
    return fleet.manifest(job)


@contextmanager
def frozen(fleet: Machines, vm: Inside, unit: str) -> Iterator[None]:
    """Freeze the thread that trains, at a moment in which it lets the other threads of its process work."""
    pid = vm.main_pid(unit)
    for _ in range(TRIES):
        command = [sys.executable, "-m", "tests.machines.freeze", str(pid)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as freezer:
            assert freezer.stdout is not None
            assert freezer.stdout.readline() == "frozen\n"
            if _feeds_its_watchdog(fleet, vm, unit):
                yield
                return
            freezer.kill()  # it stood while it held the interpreter's lock, which stops all of them
    raise AssertionError(f"{unit} was never frozen without its lock")


def _feeds_its_watchdog(fleet: Machines, vm: Inside, unit: str) -> bool:
    seen = vm.show(unit, "WatchdogTimestampMonotonic")
    for _ in range(15):
        fleet.account.pause(0.2)
        if vm.show(unit, "WatchdogTimestampMonotonic") != seen:
            return True
    return False
