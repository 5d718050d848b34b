"""Row 4: the answer to one request is lost after it was carried out, while commits, beats and an eviction overlap."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from tests.fakes.trainer import TinyRun, straight_digest, tiny_job
from tests.proof.proxy import Fault, FaultProxy, Request
from tests.proof.real_processes import Account
from tests.proof.real_slots import Heard, Running, real_slot
from tests.proof.stage import Stage
from worker.contract.job import Job
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations, Target
from worker.slot import Slot, Trainers
from worker.training_run import TrainingRun

OPERATIONS: Final = ("send", "receive", "update", "delete", "put state", "put manifest")
TIMES: Final = {"send": 1, "receive": 1, "update": 2, "delete": 1, "put state": 6, "put manifest": 8}
"""Which of its kind is lost: drawn from so many, and the first where a run had fewer."""
# The SDK waits up to 3.5 s before it asks again, and that must not make the job look abandoned.
DURATIONS: Final = Durations().model_copy(
    update={
        "visibility_timeout_s": 10.0,
        "lease_renewal_s": 0.4,
        "manifest_write_s": 0.5,
        "commit_s": 1e-9,
        "idle_receive_min_s": 0.05,
        "idle_receive_max_s": 0.2,
    }
)
STEPS: Final = 40
EVICTED_AT: Final = 20
STEP_S: Final = 0.05


class LostReplies:
    """Decides for many accounts behind one proxy: of each, the n-th answer to one kind of request is lost."""

    def __init__(self) -> None:
        self._wanted: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()

    def lose(self, account: str, operation: str, number: int) -> None:
        """Lose the answer to the n-th such request from now on, and no other."""
        with self._lock:
            self._wanted[account] = (operation, number)

    def pending(self, account: str) -> bool:
        """Return whether that request is yet to come."""
        with self._lock:
            return account in self._wanted

    def __call__(self, request: Request) -> Fault:
        """Decide about a request."""
        account = request.path.split("/")[1]
        with self._lock:
            operation, number = self._wanted.get(account, ("", 0))
            if operation != request.operation:
                return Fault()
            if number > 1:
                self._wanted[account] = (operation, number - 1)
                return Fault()
            del self._wanted[account]
            return Fault("drop")


@dataclass(frozen=True)
class Trial:
    """One lost answer."""

    operation: str
    number: int
    lost: bool
    """Whether the run had such a request."""
    wrong: tuple[str, ...]


def lose_one(stage: Stage, proxy: FaultProxy, lost: LostReplies, operation: str, seed: int) -> Trial:
    """Run a job on two workers, evict the first in the middle, and lose one answer."""
    number = random.Random(seed).randint(1, TIMES[operation])
    found = _lose_the(number, stage, proxy, lost, operation, seed)
    return found if found.lost or found.wrong else _lose_the(1, stage, proxy, lost, operation, seed)


def _lose_the(number: int, stage: Stage, proxy: FaultProxy, lost: LostReplies, operation: str, seed: int) -> Trial:
    straight = stage.target()
    account = straight.blob_endpoint.rstrip("/").rpartition("/")[2]
    target = proxy.behind(straight)
    job = tiny_job("lost", seed, timesteps=STEPS)
    lost.lose(account, operation, number)
    heard = Heard()
    Account(target, stage.credential).enqueue([job])
    workers = [Running(_worker(target, stage, vm, heard)) for vm in ("vm-a", "vm-b")]
    outside = Account(straight, stage.credential)
    try:
        outside.until("the job has ended", lambda: outside.ended(job.sweep) == 1)
        outside.until("every message is gone", lambda: outside.jobs.count() == 0)
    finally:
        for worker in workers:
            worker.end()
    return Trial(operation, number, not lost.pending(account), tuple(_wrong(outside, job, heard, operation)))


def _worker(target: Target, stage: Stage, vm: str, heard: Heard) -> Slot:
    """Return a slot that is evicted in the middle of a job's first claim."""
    runtime = RealRuntime()
    never = runtime.event()

    def build(job: Job) -> TrainingRun:
        run = TinyRun(job, lambda: pace(run))
        return run

    def pace(run: TinyRun) -> None:
        runtime.wait(never, STEP_S)
        if run.step == EVICTED_AT and heard.events["job.claimed"] == 1:
            slot.stop.ask("evicted")

    trainers = Trainers(build=build, fingerprint={"cpu": "tiny"})
    slot = real_slot(target, stage.credential, vm, heard, durations=DURATIONS, trainers=trainers)
    return slot


def _wrong(account: Account, job: Job, heard: Heard, operation: str) -> Iterator[str]:
    manifest = account.manifest(job)
    assert manifest is not None
    if manifest.status != "done":
        yield f"the job is {manifest.status}"
        return
    if account.digest(job) != straight_digest(job):
        yield "another digest"
    if manifest.attempt_count != 2:
        yield f"{manifest.attempt_count} claims, for one eviction"
    never = {"ownership.lost", "claim.lost", "checkpoint.corrupt", "checkpoint.lost", "job.raised"}
    if operation == "send":  # asked again, it leaves two messages, and of two claims at once one is lost rightly
        never.remove("claim.lost")
    for event in sorted(never):
        if heard.events[event]:
            yield f"{heard.events[event]} × {event}"
    ended = sum(line["event"] == "job.ended" and line["status"] == "done" for line in heard.lines)
    if ended != 1:
        yield f"it was finished {ended} times"
    if account.poison.count():
        yield "poisoned"


def lose_many(stage: Stage, times: int, lanes: int, count: Callable[[Trial], None], done: int = 0) -> None:
    """Lose so many answers of each kind, but for the first `done`; `count` is told of each trial, one at a time."""
    lost = LostReplies()
    one_at_a_time = threading.Lock()

    def trial(operation: str, seed: int) -> None:
        found = lose_one(stage, proxy, lost, operation, seed)
        with one_at_a_time:
            count(found)

    with FaultProxy(stage.certificates, stage.target()) as proxy, ThreadPoolExecutor(lanes) as pool:
        proxy.decide = lost
        every = [(operation, seed) for seed in range(times) for operation in OPERATIONS]
        trials = [pool.submit(trial, operation, seed) for operation, seed in every[done:]]
        try:
            for one in trials:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
