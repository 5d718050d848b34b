"""What a slot works with: one value that is handed down, so that nothing is global."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from worker.contract.control import Control
from worker.contract.job import Job
from worker.contract.log import Logger
from worker.contract.manifest import Manifest
from worker.contract.queue import MessageQueue
from worker.contract.records import BlobStore
from worker.contract.runtime import Runtime
from worker.contract.settings import Durations
from worker.job_log import LogBook
from worker.liveness import Liveness
from worker.signs import Signs
from worker.stop import StopRequest
from worker.training_run import TrainingRun
from worker.vm.files import SlotFile, slot_file, write_file


@dataclass(frozen=True)
class Trainers:
    """How a slot comes by a training run: of SAC in a worker, of a small stand-in in the simulator."""

    build: Callable[[Job], TrainingRun]
    """Raises BadConfiguration."""
    fingerprint: Mapping[str, str]
    """Of this machine: where it differs from the one before, a resume is not bit-exact."""


class BudgetLooks:
    """When this slot last counted what a sweep has cost."""

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}

    def is_due(self, sweep: str, now_s: float, every_s: float) -> bool:
        """Return whether it is time for the next look, and take that as done."""
        if sweep in self._last_s and now_s - self._last_s[sweep] < every_s:
            return False
        self._last_s[sweep] = now_s
        return True


@dataclass(frozen=True)
class Slot:
    """One worker of a VM, and all that it needs."""

    vm: str
    number: int
    release: str
    blobs: BlobStore
    presence_blobs: BlobStore
    """The same storage, by a client whose requests do not count as signs of life: presence's own would feed the
    watchdog for ever."""
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
    budget_looks: BudgetLooks = field(default_factory=BudgetLooks)

    @property
    def name(self) -> str:
        """Return the worker id, VM/slot."""
        return f"{self.vm}/{self.number}"

    def say_what_it_works_on(self, claim: Manifest | None) -> None:
        """Tell the other processes of this VM: the supervisor that may see this one die, and the retire service."""
        content = SlotFile(pid=os.getpid())
        if claim is not None:
            content = SlotFile(pid=os.getpid(), sweep=claim.job.sweep, job=claim.job.id, nonce=claim.nonce)
        write_file(slot_file(self.runtime_directory, self.number), content)

    @property
    def control(self) -> Control:
        """Return the container `control`."""
        return Control(self.blobs)
