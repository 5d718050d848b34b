"""Outages in the middle of a job: the worker trains on or gives the job back, and nothing is lost (rules 5 and 6)."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from tests.fakes.slot import QUICK, World, listening, run_until_idle
from tests.fakes.trainer import TinyRun, straight_digest, tiny_job
from tests.fakes.trouble import Trouble
from worker import committer
from worker.contract import names
from worker.contract.errors import AccessDenied, StorageError, StorageUnavailable
from worker.contract.job import Job
from worker.contract.queue import Message, Receipt
from worker.contract.result import Result
from worker.contract.through import BlobsThrough, QueueThrough
from worker.loop import Loop
from worker.slot import Slot, Trainers

T = TypeVar("T")
ERRORS = [StorageUnavailable("An outage."), AccessDenied("The token has expired.")]
PATIENT = QUICK.model_copy(update={"lease_renewal_s": 0.01, "manifest_write_s": 0.01})
IMPATIENT = PATIENT.model_copy(update={"storage_patience_s": 0.05})


def slot_in(world: World, trouble: Trouble, job: Job, *, patient: bool, up_at: int) -> Slot:
    """Return a slot whose storage goes down at step 100, and comes up at step `up_at`, or when the test says so."""

    class Run(TinyRun):
        def _advance(self) -> None:
            if self.step == 100 and not trouble.refused:
                trouble.down = True
            if self.step == up_at:
                trouble.down = False
            if trouble.down:
                trouble.await_refusals()
            super()._advance()

    return world.slot(
        trainers=Trainers(build=lambda job: Run(job, lambda: None), fingerprint={"cpu": "tiny"}),
        blobs=BlobsThrough(world.blobs, trouble.through),
        jobs=QueueThrough(world.jobs, trouble.through),
        durations=PATIENT if patient else IMPATIENT,
    )


def digest(world: World, job: Job) -> str:
    reference = world.manifest(job).outcome.result
    assert reference is not None
    found = world.blobs.get(names.SWEEPS, reference.name)
    assert found is not None
    return Result.model_validate_json(found.body).state_digest


@pytest.mark.parametrize("error", ERRORS)
def test_a_worker_trains_on_through_a_short_outage_in_the_same_claim(error: StorageError) -> None:
    world, job, trouble = World(), tiny_job(timesteps=250), Trouble(error)
    world.enqueue(job)
    run_until_idle(slot_in(world, trouble, job, patient=True, up_at=110), until=lambda: world.jobs.count() == 0)
    manifest = world.manifest(job)
    assert trouble.refused >= 10
    assert (manifest.status, manifest.attempt_count, manifest.lost_steps) == ("done", 1, 0)
    assert digest(world, job) == straight_digest(job)


class Passing(Trouble):
    """A trouble that is over after so many refusals."""

    def __init__(self, refusals: int) -> None:
        super().__init__()
        self._refusals = refusals

    def through(self, request: Callable[[], T]) -> T:
        self.down = self.down and self.refused < self._refusals
        return super().through(request)


def test_an_outage_at_the_moment_of_an_eviction_costs_no_step_while_there_is_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(committer, "AGAIN_BEFORE_A_STOP_S", 0.001)
    world, job, trouble = World(), tiny_job(timesteps=250), Passing(5)
    world.enqueue(job)

    class Run(TinyRun):
        def _advance(self) -> None:
            super()._advance()
            if self.step == 150:
                trouble.down = True
                slot.stop.ask("evicted")

    trainers = Trainers(build=lambda job: Run(job, lambda: None), fingerprint={"cpu": "tiny"})
    slot = world.slot(trainers=trainers, blobs=BlobsThrough(world.blobs, trouble.through))
    Loop(slot).run()
    manifest = world.manifest(job)
    assert trouble.refused == 5
    assert (manifest.status, manifest.attempts[-1].ended) == ("released", "evicted")
    assert manifest.generations[0].step == 150


class UpWhenGivenUp(QueueThrough):
    """A queue that comes back with a receive: a worker receives only while it has no job, or has given it up."""

    def __init__(self, world: World, trouble: Trouble, after: int = 0) -> None:
        super().__init__(world.jobs, trouble.through)
        self._suffers_from = trouble
        self._after = after
        self.given_up = False

    def receive(self, visibility_timeout_s: float) -> Message | None:
        if self._suffers_from.down and self._suffers_from.refused >= self._after:
            self.given_up, self._suffers_from.down = True, False
        return super().receive(visibility_timeout_s)


@pytest.mark.parametrize("error", ERRORS)
def test_a_long_outage_gives_the_job_up_and_a_later_claim_trains_the_same(error: StorageError) -> None:
    world, job, trouble = World(), tiny_job(timesteps=400), Trouble(error)
    world.enqueue(job)
    queue = UpWhenGivenUp(world, trouble)
    slot = replace(slot_in(world, trouble, job, patient=False, up_at=-1), jobs=queue)

    def ended() -> bool:
        world.clock.now_s += 1.0
        return world.jobs.count() == 0

    run_until_idle(slot, until=ended)
    manifest = world.manifest(job)
    assert queue.given_up
    assert (manifest.status, manifest.counts.failures_in_a_row) == ("done", 0)
    assert manifest.attempt_count >= 2
    assert world.poison.count() == 0
    assert digest(world, job) == straight_digest(job)


def test_an_outage_of_the_blobs_alone_that_delivers_a_message_ever_again_poisons_nothing() -> None:
    world, job = World(), tiny_job()
    world.enqueue(job)
    trouble = Trouble()
    trouble.down = True
    loop = Loop(world.slot(blobs=BlobsThrough(world.blobs, trouble.through)))
    for _ in range(30):
        with pytest.raises(StorageUnavailable):
            loop._turn()
        world.clock.now_s += 1000
    run_until_idle(world.slot())
    assert world.manifest(job).status == "done"
    assert world.poison.count() == 0


def test_a_storage_that_is_down_from_the_start_is_waited_for() -> None:
    world, job, trouble = World(), tiny_job(), Trouble()
    world.enqueue(job)
    trouble.down = True

    slot = slot_in(world, trouble, job, patient=True, up_at=-1)
    run_until_idle(replace(slot, jobs=UpWhenGivenUp(world, trouble, after=3)))
    assert trouble.refused == 3
    assert (world.manifest(job).status, world.manifest(job).attempt_count) == ("done", 1)


class AnswerLost(QueueThrough):
    """A queue of whose renewals one is applied and answered to nobody: asked again, its pop receipt is an old one."""

    def __init__(self, world: World, which: int) -> None:
        super().__init__(world.jobs, lambda request: request())
        self.lost = threading.Event()
        self._left = which

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        renewed = super().renew(receipt, visibility_timeout_s)
        self._left -= 1
        if self._left:
            return renewed
        self.lost.set()
        return super().renew(receipt, visibility_timeout_s)


def test_a_lost_pop_receipt_costs_nothing_and_the_message_still_goes() -> None:
    world, job = World(), tiny_job(timesteps=250)
    world.enqueue(job)
    queue = AnswerLost(world, 2)  # the first is the claim's

    class Run(TinyRun):
        def _advance(self) -> None:
            assert self.step < 200 or queue.lost.wait(60)
            super()._advance()

    def ended() -> bool:
        if world.attempts(job) and world.manifest(job).terminal:
            world.clock.now_s += 1.0  # until the message that nobody holds comes back
        return world.jobs.count() == 0

    trainers = Trainers(build=lambda job: Run(job, lambda: None), fingerprint={"cpu": "tiny"})
    run_until_idle(world.slot(trainers=trainers, jobs=queue, durations=PATIENT), until=ended)
    manifest = world.manifest(job)
    assert (manifest.status, manifest.attempt_count, manifest.lost_steps) == ("done", 1, 0)
    assert world.poison.count() == 0
    assert digest(world, job) == straight_digest(job)


def test_by_a_message_that_it_lost_a_worker_claims_nothing() -> None:
    """Whoever has the message now may be deleting it: the job would run without one."""
    world, job = World(), tiny_job(timesteps=50)
    world.enqueue(job)
    queue, (log, events) = AnswerLost(world, 1), listening()

    def ended() -> bool:
        if queue.lost.is_set():
            world.clock.now_s += 1.0  # until the message that nobody holds comes back
        return world.jobs.count() == 0

    run_until_idle(replace(world.slot(jobs=queue, durations=PATIENT), log=log), until=ended)
    assert [event["event"] for event in events if event["event"] in {"claim.lost", "job.claimed"}] == [
        "claim.lost",
        "job.claimed",
    ]
    assert world.manifest(job).status == "done"
