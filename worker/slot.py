"""What a slot works with: one value that is handed down, so that nothing is global."""

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from worker.contract.control import Control
from worker.contract.job import Job
from worker.contract.log import Logger
from worker.contract.manifest import Manifest
from worker.contract.queue import MessageQueue
from worker.contract.records import BlobStore
from worker.contract.runtime import Runtime, Task
from worker.contract.settings import Durations
from worker.job_log import LogBook
from worker.liveness import Liveness
from worker.signs import Signs
from worker.stop import StopRequest
from worker.training_run import TrainingRun
from worker.vm.files import SlotFile, slot_file, write_file

THREAD_RAISED: Final = "thread.raised"
"""The event of a thread that ended by what it did not expect."""


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
        """Tell the other processes of this VM: the supervisor that may see this one die, and the retire service.

        A disk that does not take it costs no claim: only, a death of this process is then not laid to the job.
        """
        content = SlotFile(pid=os.getpid())
        if claim is not None:
            content = SlotFile(pid=os.getpid(), sweep=claim.job.sweep, job=claim.job.id, nonce=claim.nonce)
        try:
            write_file(slot_file(self.runtime_directory, self.number), content)
        except OSError as error:
            self.log.warning("disk.failed", error=str(error), next="goes on: a death of this process is not witnessed")

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        """Run `work` in a thread that the slot cannot do without: whatever it raises stops the slot, in order.

        As after a signal: the job is given back, nothing counts against it, and the supervisor starts the slot again.
        """

        def watched() -> None:
            try:
                work()
            except Exception as error:  # noqa: BLE001 - of a thread nobody else would learn it
                trace = traceback.format_exc()
                self.log.error(THREAD_RAISED, thread=name, error=repr(error), trace=trace, next="this slot stops")
                self.stop.ask("stopped")

        return self.runtime.spawn(name, watched)

    @property
    def control(self) -> Control:
        """Return the container `control`."""
        return Control(self.blobs)
