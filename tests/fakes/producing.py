"""A producer's session over storage in memory, that dies, or is interrupted by others, at any request."""

import itertools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TypeVar

from producer.session import Session
from producer.sweep.document import parse_document
from producer.sweep.planning import make_plan
from producer.sweep.sweep_file import parse_sweep_file
from tests.fakes.storage import MemoryBlobs, MemoryQueue
from worker import decisions, fence
from worker.contract import names
from worker.contract.control import hold_on
from worker.contract.endings import ended_unclaimed
from worker.contract.errors import AccessDenied
from worker.contract.job import Job, decode
from worker.contract.manifest import Manifest, Outcome
from worker.contract.plan import Plan
from worker.contract.queue import MessageQueue, Receipt
from worker.contract.records import BlobStore
from worker.contract.runtime import Event, Task
from worker.contract.settings import Durations, Target
from worker.contract.through import BlobsThrough, QueueThrough
from worker.plans import Plans

T = TypeVar("T")

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


def plan_of(text: str = "", name: str = "s", seeds: str = "[0, 1, 2, 3, 4]") -> Plan:
    """Return the plan of a small sweep file."""
    top = f"name: {name}\nenv: Pendulum-v1\ntimesteps: 1000\nseeds: {seeds}\n"
    document = parse_document("s.yaml", (top + text).encode())
    return make_plan(parse_sweep_file(document), document).plan


class Storage:
    """The storage that all producers and workers of a test share."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.blobs = MemoryBlobs(lambda: self.now_s)
        self.jobs = MemoryQueue(lambda: self.now_s)
        self.poison = MemoryQueue(lambda: self.now_s)
        self.processes = itertools.count(1)

    def session(self, user: str = "ada", gate: "Gate | None" = None) -> Session:
        """Return the session of a new process."""
        blobs: BlobStore = self.blobs
        jobs: MessageQueue = self.jobs
        if gate is not None:
            blobs, jobs = BlobsThrough(blobs, gate.through), QueueThrough(jobs, gate.through)
        return Session(
            target=TARGET,
            durations=Durations(),
            blobs=blobs,
            jobs=jobs,
            poison=self.poison,
            runtime=InlineRuntime(next(self.processes)),
            user=user,
        )

    def queued(self) -> list[Job]:
        """Return the jobs of all messages, hidden ones too, in the order of their messages."""
        return [decode(entry.text) for entry in self.jobs._entries.values()]

    def forget_message(self, message_id: str, *, visible: bool) -> None:
        """Delete the message of a worker, or give it back; one that is gone is no error."""
        entry = self.jobs._entries.get(message_id)
        if entry is None:
            return
        receipt = Receipt(entry.id, entry.pop_receipt)
        if visible:
            self.jobs.renew(receipt, 0)
        else:
            self.jobs.delete(receipt)

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
    event: Callable[[], object] = lambda: None
    denied: int = 0
    passed: int = field(default=0, init=False)
    _dead: bool = field(default=False, init=False)

    def through(self, request: Callable[[], T]) -> T:
        """Carry a request out, with what happens before or after it."""
        if self._dead:
            raise Killed
        if self.denied:
            self.denied -= 1
            raise AccessDenied("403 AuthorizationPermissionMismatch.")
        self.passed += 1
        here = self.passed == self.at
        if here and not self.after:
            self._happen()
        try:
            return request()
        finally:
            if here and self.after:
                self._happen()

    def _happen(self) -> None:
        try:
            self.event()
        except Killed:
            self._dead = True
            raise


def kill() -> None:
    raise Killed


def requests_of(run: Callable[[Session], object], storage: Storage, user: str = "ada") -> int:
    """Return how many storage requests `run` makes."""
    gate = Gate()
    run(storage.session(user, gate))
    return gate.passed


def every_moment(make: Callable[[], Storage], run: Callable[[Session], object]) -> list[tuple[int, bool]]:
    """Return every point in `run` where something can happen: before and after each of its requests."""
    count = requests_of(run, make())
    return [(at, after) for at in range(1, count + 1) for after in (False, True)]


# ---- workers, as far as the producer meets them: the real decisions over the shared storage -----------------------


def receive(storage: Storage, worker: str = "vm1/0") -> decisions.Decision | None:
    """Let a worker receive one message and do what it decides; None where there was none."""
    visibility_timeout_s = Durations().visibility_timeout_s
    message = storage.jobs.receive(int(visibility_timeout_s))
    if message is None:
        return None
    job = decode(message.text)
    seen = fence.read_manifest(storage.blobs, job.sweep, job.id)
    decision = decisions.on_message(
        message.receipt.message_id,
        seen,
        planned=seen is not None or Plans(storage.blobs).names(job),
        hold=hold_on(storage.blobs, job.sweep, job.id),
        worker=worker,
        visibility_timeout_s=visibility_timeout_s,
    )
    runtime = InlineRuntime(next(storage.processes))
    match decision:
        case decisions.Claim():
            manifest = decisions.claimed(
                job,
                seen.manifest if seen else None,
                nonce=runtime.nonce(),
                worker=worker,
                message_id=message.receipt.message_id,
                release="test",
                utc=runtime.utc(),
            )
            fence.create(storage.blobs, runtime, manifest, seen)
        case decisions.End(status, reason):
            before = seen.manifest if seen else None
            ended = ended_unclaimed(job, before, status, reason, nonce=runtime.nonce())
            fence.create(storage.blobs, runtime, ended, seen)
            storage.jobs.delete(message.receipt)
        case decisions.Discard():
            storage.jobs.delete(message.receipt)
        case decisions.Hide(seconds):
            storage.jobs.renew(message.receipt, int(seconds))
    return decision


def receive_all(storage: Storage, worker: str = "vm1/0") -> None:
    """Let a worker receive until nothing is visible."""
    while receive(storage, worker) is not None:
        pass


def commit_all(storage: Storage, sweep: str) -> None:
    """Let every worker that runs a job of this sweep come to its next commit, where it sees a hold, or finish."""
    for job, status in storage.statuses(sweep).items():
        if status != "running":
            continue
        manifest = storage.manifest(sweep, job)
        assert manifest is not None
        hold = hold_on(storage.blobs, sweep, job)
        if hold is None:
            storage.put_manifest(decisions.done(manifest, 1, Outcome()))
        elif hold.kind == "cancelled":
            storage.put_manifest(decisions.finished(manifest, "cancelled", "held", Outcome(reason=hold.reason)))
        else:
            storage.put_manifest(decisions.given_back(manifest, "held"))
        storage.forget_message(manifest.message_id, visible=hold is not None and hold.kind != "cancelled")
