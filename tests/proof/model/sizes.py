"""Which models are explored: small ones by `make test`, large ones by `make prove`."""

from collections.abc import Mapping
from typing import Any, Final

from tests.proof.model.engine import Model
from tests.proof.model.fleet import FleetModel
from tests.proof.model.fleet_world import Faults
from tests.proof.model.job import JobModel
from tests.proof.model.job_world import Budget
from tests.proof.model.sweep import SweepModel
from tests.proof.model.sweep_world import Sweep
from tests.proof.model.wake import State, WakeModel, the_wake
from tests.proof.model.wake_without import SLOW
from tests.proof.row import Size


def _any(total: int) -> Budget:
    return Budget(crash=3, pause=3, lost=3, late=3, stop=3, twice=1, total=total)


def _held(left: Budget, workers: int, *wishes: str) -> JobModel:
    return JobModel(left=left, workers=workers, steps=workers, wishes=wishes, audits=True)


def _small() -> dict[str, Model[Any]]:
    one = _any(1)
    held = Budget(crash=1, total=1)
    return {
        "job, one fault": JobModel(left=one),
        "broken job, one fault": JobModel(left=one, steps=1, broken=True),
        "job that is cancelled and retried": _held(held, 1, "cancel", "retry"),
        "job that is paused and resumed": _held(held, 1, "pause", "resume"),
        "set, two laptops that close": FleetModel(jobs=2),
        "set, a watch and a VM that breaks": FleetModel(
            left=Faults(evict=1, freeze=1, total=1), jobs=0, watches=1, begun=True
        ),
        "sweep, two enqueues and a kill": SweepModel(Sweep(wishes=("enqueue", "enqueue"), kills=1)),
        "wake, a job and a VM that dies": WakeModel(the_wake(), State(to_come=1, deaths=1)),
        "wake, a VM that boots for long": WakeModel(the_wake(), SLOW),
        "set, a job that comes too late": FleetModel(jobs=1, begun=True),
    }


def _full() -> dict[str, Model[Any]]:
    held = Budget(crash=1, pause=1, lost=1, late=1, total=1)
    scaled = Faults(evict=1, freeze=1, lost=1, late=1, lag=1, crash=1, total=1)
    return _small() | {
        "job, two faults": JobModel(left=_any(2)),
        "job, three faults": JobModel(left=_any(3), steps=2),
        "job sent twice, two faults": JobModel(left=_any(2), messages=2, steps=2),
        "broken job, three faults": JobModel(left=_any(3), steps=1, broken=True),
        "two workers, cancelled and retried": _held(held, 2, "cancel", "retry"),
        "two workers, paused and resumed": _held(held, 2, "pause", "resume"),
        "two workers, paused, resumed, cancelled": _held(held, 2, "pause", "resume", "cancel"),
        "sweep, retried and deleted, two kills": SweepModel(
            Sweep(wishes=("enqueue", "delete", "retry"), kills=2, deaths=1)
        ),
        "sweep, deleted and enqueued again": SweepModel(
            Sweep(wishes=("enqueue", "delete", "enqueue"), kills=1, deaths=1)
        ),
        "wake, a producer, and all that goes wrong": WakeModel(
            the_wake(), State(to_come=2, evictions=1, deaths=1, failures=1), producer=True
        ),
        "set, three laptops that close, two slots": FleetModel(jobs=3, slots=2),
        "set of two VMs, laptops that close": FleetModel(jobs=2, most=2, places=3),
        "set, a fault while a laptop closes": FleetModel(left=Faults(lost=1, late=1, lag=1), jobs=1, begun=True),
        "set, a watch that closes for good": FleetModel(left=Faults(lid=1), jobs=1, watches=1, begun=True, places=1),
        "set, two watches": FleetModel(jobs=0, watches=2, begun=True, left=scaled),
        "set, a watch and a job": FleetModel(jobs=1, watches=1, begun=True, left=scaled),
        "set, the wake and an eviction": FleetModel(jobs=1, wake=True, begun=True, left=Faults(evict=1)),
    }


MODELS: Final[Mapping[Size, Mapping[str, Model[Any]]]] = {"small": _small(), "full": _full()}
