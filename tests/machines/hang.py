"""Two slots of a machine hang, each in its own way, with nobody else there to take their jobs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    """Tell of a process that is stopped, and of one of which only the thread that trains is."""
    with machines(azurite_home, folder, slots=2) as fleet:
        vm = fleet.boot_busy()
        jobs = {name: job(name, TIMESTEPS) for name in ("stopped", "frozen")}
        for each in jobs.values():
            fleet.account.enqueue([each])
        units = {name: slot_unit(fleet.in_training(each)) for name, each in jobs.items()}
        pids = {name: vm.main_pid(unit) for name, unit in units.items()}
        cores = {name: os.sched_getaffinity(pid) for name, pid in pids.items()}
        users = {name: psutil.Process(pid).uids().effective for name, pid in pids.items()}
        with frozen(fleet, vm, units["frozen"]):
            os.kill(pids["stopped"], signal.SIGSTOP)  # both at once: a slot that lives takes the other's job
            after = {name: _witnessed(fleet, each) for name, each in jobs.items()}
        digests = {name: fleet.done(each) for name, each in jobs.items()}
        return {
            name: Hung(unit, cores[name], users[name], vm.results(unit), after[name], digests[name])
            for name, unit in units.items()
        }


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
