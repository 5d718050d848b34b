"""A producer's session over storage in memory, that dies, or is interrupted by others, at any request."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from producer.session import Session
from tests.fakes.storage import MemoryBlobs, MemoryQueue
from worker.contract import names
from worker.contract.errors import AccessDenied
from worker.contract.job import Job, decode
from worker.contract.manifest import Manifest
from worker.contract.plan import Plan
from worker.contract.queue import Message, MessageQueue, Receipt
from worker.contract.records import BlobStore, Condition, Listed, Stored
from worker.contract.runtime import Event, Task
from worker.contract.settings import Durations, Target

TARGET = Target(
    kind="local",
    subscription_id="00000000-0000-0000-0000-000000000000",
    resource_group="tests",
    scale_set="none",
    blob_endpoint="https://127.0.0.1:1/blobs",
    queue_endpoint="https://127.0.0.1:1/queues",
)


class Done:
    """A thread that has ended."""

    def join(self) -> None:
        return


class InlineRuntime:
    """No threads and no time but what waits add: every request happens in one order, the same each time."""

    def __init__(self, process: int = 0) -> None:
        self.now_s = 1000.0
        self.waits: list[float] = []
        self._nonces = itertools.count(process << 32)

    def monotonic(self) -> float:
        return self.now_s

    def utc(self) -> str:
        return "2026-11-22T10:00:00+00:00"

    def nonce(self) -> str:
        return f"{next(self._nonces):016x}"

    def event(self) -> Event:
        return threading.Event()

    def lock(self) -> AbstractContextManager[object]:
        return threading.RLock()

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        if not event.is_set() and timeout_s is not None:
            self.now_s += timeout_s
            self.waits.append(timeout_s)
        return event.is_set()

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        work()
        return Done()


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Storage:
    """The storage that all producers and workers of a test share."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.blobs = MemoryBlobs(lambda: self.now_s)
        self.jobs = MemoryQueue(lambda: self.now_s)
        self.poison = MemoryQueue(lambda: self.now_s)
        self._processes = itertools.count(1)

    def session(self, user: str = "ada", gate: "Gate | None" = None) -> Session:
        """Return the session of a new process."""
        blobs: BlobStore = self.blobs
        jobs: MessageQueue = self.jobs
        if gate is not None:
            blobs, jobs = GatedBlobs(blobs, gate), GatedQueue(jobs, gate)
        return Session(
            target=TARGET,
            durations=Durations(),
            blobs=blobs,
            jobs=jobs,
            poison=self.poison,
            runtime=InlineRuntime(next(self._processes)),
            user=user,
        )

    def queued(self) -> list[Job]:
        """Return the jobs of all messages, hidden ones too, in the order of their messages."""
        return [decode(entry.text) for entry in self.jobs._entries.values()]

    def queued_ids(self) -> set[str]:
        return {job.id for job in self.queued()}

    def plan(self, sweep: str) -> Plan:
        found = self.blobs.get(names.SWEEPS, names.plan(sweep))
        assert found is not None
        return Plan.model_validate_json(found.body)

    def manifest(self, sweep: str, job: str) -> Manifest | None:
        found = self.blobs.get(names.SWEEPS, names.manifest(sweep, job))
        return Manifest.model_validate_json(found.body) if found else None

    def put_manifest(self, manifest: Manifest) -> None:
        name = names.manifest(manifest.job.sweep, manifest.job.id)
        self.blobs.put(names.SWEEPS, name, manifest.canonical(), metadata=manifest.metadata())

    def put_status(self, job: Job, status: str, epoch: int = 1, **more: object) -> Manifest:
        """Write a manifest with this status; a running one has an attempt."""
        attempts = []
        if status == "running":
            attempts = [
                {
                    "epoch": epoch,
                    "worker": "vm1/0",
                    "release": "test",
                    "from_step": 0,
                    "to_step": 0,
                    "reached_step": 0,
                    "started": "2026-11-22T10:00:00+00:00",
                }
            ]
        manifest = Manifest.model_validate(
            {
                "job": job.model_dump(),
                "status": status,
                "epoch": epoch,
                "nonce": f"{epoch:016x}",
                "attempts": attempts,
                **more,
            }
        )
        self.put_manifest(manifest)
        return manifest

    def statuses(self, sweep: str) -> dict[str, str]:
        """Return the status of every job that has a manifest."""
        prefix = names.manifests(sweep)
        return {
            blob.name.removeprefix(prefix): blob.metadata["status"] for blob in self.blobs.list(names.SWEEPS, prefix)
        }

    def blob_names(self, sweep: str) -> set[str]:
        return {blob.name for container in names.CONTAINERS for blob in self.blobs.list(container, f"{sweep}/")}


@dataclass
class Gate:
    """Every storage request of one process passes here.

    Args:
        at: the number of the request (from 1) at which something happens.
        after: whether that is after the request was carried out.
        event: what happens; Killed means that nothing passes from then on.
        denied: so many requests are denied before any is let through.
    """

    at: int = 0
    after: bool = False
    event: Callable[[], None] = lambda: None
    denied: int = 0
    passed: int = field(default=0, init=False)
    _dead: bool = field(default=False, init=False)

    def enter(self) -> None:
        if self._dead:
            raise Killed
        if self.denied:
            self.denied -= 1
            raise AccessDenied("403 AuthorizationPermissionMismatch.")
        self.passed += 1
        if self.passed == self.at and not self.after:
            self._happen()

    def leave(self) -> None:
        if self.passed == self.at and self.after:
            self._happen()

    def _happen(self) -> None:
        try:
            self.event()
        except Killed:
            self._dead = True
            raise


def kill() -> None:
    raise Killed


class GatedBlobs:
    """A BlobStore behind a gate."""

    def __init__(self, blobs: BlobStore, gate: Gate) -> None:
        self._blobs = blobs
        self._gate = gate

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        self._gate.enter()
        found = self._blobs.get(container, name, beat)
        self._gate.leave()
        return found

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        self._gate.enter()
        etag = self._blobs.put(container, name, body, condition, metadata)
        self._gate.leave()
        return etag

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        self._gate.enter()
        self._blobs.delete(container, name, condition)
        self._gate.leave()

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        self._gate.enter()
        found = [*self._blobs.list(container, prefix)]
        self._gate.leave()
        yield from found

    def folders(self, container: str) -> Iterator[str]:
        self._gate.enter()
        found = [*self._blobs.folders(container)]
        self._gate.leave()
        yield from found


class GatedQueue:
    """A MessageQueue behind a gate."""

    def __init__(self, queue: MessageQueue, gate: Gate) -> None:
        self._queue = queue
        self._gate = gate

    def send(self, text: str) -> Receipt:
        self._gate.enter()
        receipt = self._queue.send(text)
        self._gate.leave()
        return receipt

    def receive(self, visibility_timeout_s: float) -> Message | None:
        self._gate.enter()
        message = self._queue.receive(visibility_timeout_s)
        self._gate.leave()
        return message

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        self._gate.enter()
        renewed = self._queue.renew(receipt, visibility_timeout_s)
        self._gate.leave()
        return renewed

    def delete(self, receipt: Receipt) -> None:
        self._gate.enter()
        self._queue.delete(receipt)
        self._gate.leave()

    def count(self) -> int:
        self._gate.enter()
        count = self._queue.count()
        self._gate.leave()
        return count


def requests_of(run: Callable[[Session], object], storage: Storage, user: str = "ada") -> int:
    """Return how many storage requests `run` makes."""
    gate = Gate()
    run(storage.session(user, gate))
    return gate.passed


def every_moment(make: Callable[[], Storage], run: Callable[[Session], object]) -> list[tuple[int, bool]]:
    """Return every point in `run` where something can happen: before and after each of its requests."""
    count = requests_of(run, make())
    return [(at, after) for at in range(1, count + 1) for after in (False, True)]


def as_user(session: Session, user: str) -> Session:
    return replace(session, user=user)
