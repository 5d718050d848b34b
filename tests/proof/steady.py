"""Real workers and producers over storage in memory, with every request in one order, the same each time.

A worker's committer keeps its thread, but the trainer waits for it at every step; its heartbeat beats between steps.
Time is a number that steps and waits add to.
"""

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from producer.session import Session
from tests.fakes.producing import TARGET, Gate
from tests.fakes.producing import InlineRuntime as ProducerRuntime
from tests.fakes.slot import World
from tests.fakes.storage import MemoryBlobs
from tests.fakes.trainer import straight_digest, tiny_trainers
from tests.proof.torn import torn
from worker.committer import Committer
from worker.contract import names
from worker.contract.job import Job
from worker.contract.log import Logger
from worker.contract.manifest import Manifest
from worker.contract.records import Condition
from worker.contract.result import Result
from worker.contract.runtime import Event, RealRuntime, Task
from worker.contract.settings import Durations
from worker.contract.through import BlobsThrough, QueueThrough
from worker.heartbeat import Heartbeat
from worker.liveness import Liveness
from worker.loop import Loop
from worker.signs import Signs
from worker.slot import Slot, Trainers
from worker.stop import StopRequest

PATIENCE_S = 60.0
DURATIONS = Durations().model_copy(
    update={
        "idle_receive_min_s": 0.001,
        "idle_receive_max_s": 0.001,
        "commit_s": 1e-9,
        "lease_renewal_s": 3.0,
        "manifest_write_s": 4.0,
        "retry_base_s": 1e-9,
    }
)
"""A step is a second: the message is renewed every third one, and a commit comes with every one."""


class _Ended:
    def join(self) -> None:
        return


class SteadyRuntime(RealRuntime):
    """The runtime of one worker, whose loop runs in the thread that makes it."""

    def __init__(self, clock: "Clock", process: int) -> None:
        self._clock = clock
        self._nonces = itertools.count(process << 32)
        self._owner = threading.get_ident()
        self._committer: Committer | None = None
        self._heartbeat: Heartbeat | None = None
        self._beats = False

    def monotonic(self) -> float:
        """Return the world's time."""
        return self._clock.now_s

    def nonce(self) -> str:
        """Return the next one of this process."""
        return f"{next(self._nonces):016x}"

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        """In the worker's own thread: let the committer end first; time passes if that was not what it waits for."""
        if threading.get_ident() != self._owner:
            return super().wait(event, timeout_s)
        if self._heartbeat is not None and event is self._heartbeat._ended:
            beats, self._beats = self._beats, False
            return not beats
        self._settle()
        if not event.is_set() and timeout_s is not None:
            self._clock.now_s += timeout_s
        return event.is_set()

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        """Start the committer in a thread; the heartbeat waits for `step`."""
        owner = getattr(work, "__self__", None)
        if isinstance(owner, Heartbeat):
            self._heartbeat = owner
            return _Ended()
        if isinstance(owner, Committer):
            self._committer = owner
        return super().spawn(name, work)

    def step(self) -> None:
        """A second passes: the commit under way ends, then the heart beats once."""
        self._settle()
        self._clock.now_s += 1.0
        if self._heartbeat is not None and not self._heartbeat._ended.is_set():
            self._beats = True
            self._heartbeat._work()

    def _settle(self) -> None:
        if self._committer is not None:
            super().wait(self._committer._idle, PATIENCE_S)


@dataclass
class Clock:
    """Seconds."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        """Return them."""
        return self.now_s


class WatchedBlobs(MemoryBlobs):
    """Storage that watches how manifests follow from one another."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(clock)
        self.ends: Counter[str] = Counter()
        """Manifest name → how often it became terminal."""
        self.broken: list[str] = []
        self.went_back: list[str] = []
        """Claims that committed a lower step: right only where the checkpoint above it is damaged."""

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write, and hold what is written against what was there."""
        with self._lock:
            is_manifest = container == names.SWEEPS and "/manifests/" in name
            found = self.get(container, name) if is_manifest else None
            etag = super().put(container, name, body, condition, metadata)
            if is_manifest:
                before = Manifest.model_validate_json(found.body) if found else None
                self._compare(name, before, Manifest.model_validate_json(body))
        return etag

    def _compare(self, name: str, before: Manifest | None, after: Manifest) -> None:
        self.ends[name] += after.terminal
        if before is None:
            return
        if before.terminal and after.status != "planned":
            self.broken.append(f"{before.status} was overwritten by {after.status}")
        if after.epoch < before.epoch:
            self.broken.append(f"the epoch went back from {before.epoch} to {after.epoch}")
        if after.epoch == before.epoch and after.nonce != before.nonce:
            self.broken.append("two claims have one epoch")
        if after.nonce == before.nonce and after.step < before.step:
            self.went_back.append(f"the step went back from {before.step} to {after.step}")


@dataclass
class Ground(World):
    """A world whose every request is counted, and whose workers and producers may die at any."""

    clock: Clock = field(default_factory=Clock)  # type: ignore[assignment]  # the same as the base's, but counted here
    durations: Durations = DURATIONS
    events: Counter[str] = field(default_factory=Counter)
    """What workers logged."""
    resumed: list[int] = field(default_factory=list)
    """At which steps they went on."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.blobs = self.watched = WatchedBlobs(self.clock)
        self._processes = itertools.count(1)

    def worker(
        self,
        vm: str,
        gate: Gate | None = None,
        *,
        trainers: Callable[[Callable[[], None]], Trainers] = tiny_trainers,
        at_step: Callable[[Slot], None] = lambda _: None,
    ) -> Slot:
        """Return the slot of a new process; `at_step` is called in it between steps."""
        runtime = SteadyRuntime(self.clock, next(self._processes))
        gate = gate or Gate()

        def pace() -> None:
            runtime.step()
            at_step(slot)

        made = trainers(pace)
        plain = super().slot(
            vm,
            trainers=made,
            blobs=BlobsThrough(self.blobs, gate.through),
            jobs=QueueThrough(self.jobs, gate.through),
            durations=self.durations,
        )
        slot = replace(
            plain,
            poison=QueueThrough(self.poison, gate.through),
            runtime=runtime,
            liveness=Liveness(runtime),
            stop=StopRequest(runtime),
            signs=Signs(vm, 0, "test", made.fingerprint, runtime),
            log=self._logger(),
        )
        return slot

    def session(self, gate: Gate | None = None) -> Session:
        """Return the session of a new producer."""
        gate = gate or Gate()
        return Session(
            target=TARGET,
            durations=self.durations,
            blobs=BlobsThrough(self.blobs, gate.through),
            jobs=QueueThrough(self.jobs, gate.through),
            poison=self.poison,
            runtime=ProducerRuntime(next(self._processes)),
            user="ada",
        )

    def copy(self) -> "Ground":
        """Return another ground with the same blobs and messages, on which nothing was logged yet."""
        other = Ground(Clock(self.clock.now_s), self.durations)
        other.blobs._blobs.update(self.blobs._blobs)
        other.jobs._entries.update(self.jobs._entries)
        other.jobs._ids = itertools.count(1_000_000)
        other._processes = itertools.count(next(self._processes))
        return other

    def _logger(self) -> Logger:
        def count(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
            self.events[event["event"]] += 1
            if event["event"] == "job.resumed":
                self.resumed.append(event["step"])
            raise structlog.DropEvent

        logger: Logger = structlog.wrap_logger(None, processors=[count])
        return logger

    # ---- what a crash leaves, and what becomes of it ---------------------------------------------------------------

    def recover(self, rounds: int = 30) -> None:
        """Let two workers, one of them in the middle of the other's steps, work until no message is left."""
        for _ in range(rounds):
            if not self.jobs.count():
                return
            self.clock.now_s += self.durations.visibility_timeout_s + 1
            other = Loop(self.worker("vm-c"))
            steps = itertools.count()

            def between(_: Slot, other: Loop = other, steps: "itertools.count[int]" = steps) -> None:
                if next(steps) % 5 == 0:
                    other._turn()

            work(self.worker("vm-b", at_step=between))
            while other._turn():
                pass
        raise AssertionError(f"{self.jobs.count()} messages are left")

    def find(self, job: Job) -> Manifest | None:
        """Return a job's manifest, if it was ever claimed."""
        found = self.blobs.get(names.SWEEPS, names.manifest(job.sweep, job.id))
        return Manifest.model_validate_json(found.body) if found else None

    def wrong(self, job: Job, ends: int = 1) -> list[str]:
        """Return what is wrong with a job that ought to be done, having ended so often."""
        manifest = self.find(job)
        if manifest is None or manifest.status != "done":
            return [f"{job.id} is {manifest.status if manifest else 'unclaimed'}"]
        assert manifest.outcome.result is not None
        found = self.blobs.get(names.SWEEPS, manifest.outcome.result.name)
        wrong = torn(self.blobs, manifest)
        if found is not None and Result.model_validate_json(found.body).state_digest != straight_digest(job):
            wrong.append(f"{job.id} has another digest")
        times = self.watched.ends[names.manifest(job.sweep, job.id)]
        if times != ends:
            wrong.append(f"{job.id} ended {times} times")
        return wrong

    def noticed(self) -> list[str]:
        """Return what ought never to happen, whoever dies."""
        never = ("checkpoint.lost", "checkpoint.corrupt", "job.raised", "message.rejected")
        wrong = [f"{self.events[event]} × {event}" for event in never if self.events[event]]
        if self.poison.count():
            wrong.append(f"{self.poison.count()} messages on the poison queue")
        return [*wrong, *self.watched.broken, *self.watched.went_back]


def work(slot: Slot) -> None:
    """Receive and run jobs until there is no message, or a stop is asked for."""
    loop = Loop(slot)
    while slot.stop.reason is None and loop._turn():
        pass
