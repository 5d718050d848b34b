"""A VM that is drained while its slot is busy with a long job."""

from dataclasses import dataclass
from pathlib import Path

from tests.machines.machine import job, machines
from worker.contract.manifest import Manifest


@dataclass(frozen=True)
class Drained:
    """What became of the job, and of the VM."""

    manifest: Manifest
    messages: int
    capacity: int


def story(azurite_home: Path, folder: Path) -> Drained:
    """Flag the VM, which somebody else does who has no more need of it, and let it go its way."""
    with machines(azurite_home, folder) as fleet:
        long = job("drain", timesteps=1_000_000)
        fleet.account.enqueue([long])
        fleet.boot()
        vm = fleet.in_training(long).partition("/")[0]
        fleet.account.control.raise_flag("drain", vm, "surplus")
        fleet.until("the VM deletes itself", lambda: not fleet.fleet.model.vms())
        return Drained(fleet.manifest(long), fleet.account.jobs.count(), fleet.fleet.model.capacity)
