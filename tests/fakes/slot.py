"""A slot over storage in memory, with the tiny trainer; time goes by as fast as the tests do."""

import tempfile
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from tests.fakes.storage import MemoryBlobs, MemoryQueue
from tests.fakes.trainer import tiny_trainers
from worker.contract import names
from worker.contract.job import Job
from worker.contract.log import Logger
from worker.contract.manifest import Manifest
from worker.contract.plan import Plan, PlannedJob, PlannedSet
from worker.contract.queue import MessageQueue
from worker.contract.records import BlobStore
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations
from worker.job_log import LogBook
from worker.liveness import Liveness
from worker.loop import Loop
from worker.signs import Signs
from worker.slot import Slot, Trainers
from worker.stop import StopRequest

QUICK = Durations().model_copy(
    update={"idle_receive_min_s": 0.001, "idle_receive_max_s": 0.001, "commit_s": 1e-9, "retry_base_s": 1e-9}
)
"""Azure's ratios, but no pauses, and a commit as soon as the one before it is through."""


class Clock:
    """A clock that only tests move."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class World:
    """The storage that all slots of a test share."""

    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.blobs = MemoryBlobs(self.clock)
        self.jobs = MemoryQueue(self.clock)
        self.poison = MemoryQueue(self.clock)

    def enqueue(self, job: Job) -> None:
        """Plan a sweep of one job, and send its message."""
        self.blobs.put(names.SWEEPS, names.plan(job.sweep), plan_of_one(job).canonical())
        self.jobs.send(job.encode())

    def attempts(self, job: Job) -> int:
        """Return how often the job was claimed."""
        found = self.blobs.get(names.SWEEPS, names.manifest(job.sweep, job.id))
        return Manifest.model_validate_json(found.body).attempt_count if found else 0

    def manifest(self, job: Job) -> Manifest:
        """Return the job's manifest; there must be one."""
        found = self.blobs.get(names.SWEEPS, names.manifest(job.sweep, job.id))
        assert found is not None
        return Manifest.model_validate_json(found.body)

    def checkpoint_names(self, job: Job) -> set[str]:
        """Return the names of the job's checkpoint blobs."""
        return {blob.name for blob in self.blobs.list(names.CHECKPOINTS, names.checkpoint(job.sweep, job.id))}

    def slot(
        self,
        vm: str = "vm1",
        *,
        trainers: Trainers | None = None,
        blobs: BlobStore | None = None,
        jobs: MessageQueue | None = None,
        durations: Durations = QUICK,
    ) -> Slot:
        """Return a slot of `vm`; a new process each time."""
        runtime = RealRuntime()
        trainers = trainers or tiny_trainers()
        return Slot(
            vm=vm,
            number=0,
            release="test",
            blobs=blobs or self.blobs,
            presence_blobs=blobs or self.blobs,
            jobs=jobs or self.jobs,
            poison=self.poison,
            trainers=trainers,
            runtime=runtime,
            durations=durations,
            runtime_directory=Path(tempfile.mkdtemp()),
            liveness=Liveness(runtime),
            stop=StopRequest(runtime),
            log=silent(),
            book=LogBook(),
            signs=Signs(vm, 0, "test", trainers.fingerprint, runtime),
        )


def plan_of_one(job: Job) -> Plan:
    """Return the plan of a sweep that is this one job."""
    return Plan(
        sweep=job.sweep,
        common=job.configuration,
        sets=(PlannedSet(differs={}),),
        jobs=(PlannedJob(id=job.id, set=0, seed=job.seed),),
    )


def silent() -> Logger:
    """Return a logger that says nothing."""
    logger: Logger = structlog.wrap_logger(None, processors=[_drop])
    return logger


def listening() -> tuple[Logger, list[MutableMapping[str, Any]]]:
    """Return a logger, and the events that it will have been told."""
    capture = LogCapture()
    logger: Logger = structlog.wrap_logger(None, processors=[capture])
    return logger, capture.entries


def _drop(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


def run_until_idle(slot: Slot, until: Callable[[], bool] | None = None) -> int:
    """Run a slot's loop in this thread until its queue shows no message (or `until` holds); return its exit status."""

    def idle() -> bool:
        return slot.signs.report().state == "idle" and (until() if until else slot.jobs.count() == 0)

    def watch() -> None:
        try:
            while not idle() and slot.stop.reason is None:
                slot.runtime.wait(slot.stop.event, 0.002)
        finally:
            slot.stop.ask("stopped")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return Loop(slot).run()
    finally:
        slot.stop.ask("stopped")  # where the loop raised, too: the watcher must not outlive the test
        watcher.join()
