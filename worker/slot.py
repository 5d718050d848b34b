"""What a slot works with: one value that is handed down, so that nothing is global."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from worker.contract.control import Control
from worker.contract.job import Job
from worker.contract.log import Logger
from worker.contract.queue import MessageQueue
from worker.contract.records import BlobStore
from worker.contract.runtime import Runtime
from worker.contract.settings import Durations
from worker.job_log import LogBook
from worker.liveness import Liveness
from worker.signs import Signs
from worker.stop import StopRequest
from worker.training_run import TrainingRun


@dataclass(frozen=True)
class Trainers:
    """How a slot comes by a training run: of SAC in a worker, of a small stand-in in the simulator."""

    build: Callable[[Job], TrainingRun]
    """Raises BadConfiguration."""
    fingerprint: Mapping[str, str]
    """Of this machine: where it differs from the one before, a resume is not bit-exact."""


@dataclass(frozen=True)
class Slot:
    """One worker of a VM, and all that it needs."""

    vm: str
    number: int
    release: str
    blobs: BlobStore
    jobs: MessageQueue
    poison: MessageQueue
    trainers: Trainers
    runtime: Runtime
    durations: Durations
    runtime_directory: Path
    liveness: Liveness
    stop: StopRequest
    log: Logger
    book: LogBook
    """Collects this claim's log lines."""
    signs: Signs
    """What the slot last said of itself."""

    @property
    def name(self) -> str:
        """Return the worker id, VM/slot."""
        return f"{self.vm}/{self.number}"

    @property
    def control(self) -> Control:
        """Return the container `control`."""
        return Control(self.blobs)
