"""A producer's commands against real worker loops, over storage in memory."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from producer.session import Session
from producer.sweep.audit import audit
from producer.sweep.enqueue import enqueue
from producer.sweep.hold import cancel, pause, resume
from producer.sweep.lifecycle import delete, retry
from producer.sweep.plans import is_marked_complete
from tests.fakes.plans import jobs_of
from tests.fakes.producing import Storage, plan_of
from tests.fakes.slot import World, run_until_idle
from tests.fakes.trainer import TinyRun, straight_digest, tiny_trainers
from worker.contract import names
from worker.contract.errors import Diverged
from worker.contract.manifest import Manifest
from worker.contract.result import Result
from worker.contract.runtime import RealRuntime
from worker.slot import Trainers
from worker.training_run import Boundary, FinishedRun

PLAN = plan_of(
    "fixed: {policy_kwargs: {net_arch: [1]}, buffer_size: 1000}\n"
    "evaluation: {every: 100, episodes: 2, final_episodes: 3}\n",
    seeds="[0, 1, 2]",
)
JOBS = jobs_of(PLAN)


class Fleet:
    """Slots, and a person at a laptop, over the same storage."""

    def __init__(self) -> None:
        self.world = World()
        self.session: Session = replace(
            Storage().session(),
            blobs=self.world.blobs,
            jobs=self.world.jobs,
            poison=self.world.poison,
            runtime=RealRuntime(),
        )
        enqueue(self.session, PLAN, lambda _: True)

    def work(self, trainers: Trainers | None = None, vm: str = "vm1") -> None:
        """Let a slot work until the queue is empty."""
        run_until_idle(self.world.slot(vm, trainers=trainers))

    def at_step(self, number: int, act: Callable[[], object]) -> Trainers:
        """Return trainers at whose step `number` of all the person does something."""
        steps = iter(range(1, 10**9))

        def pace() -> None:
            if next(steps) == number:
                act()

        return tiny_trainers(pace)

    def manifests(self) -> dict[str, Manifest]:
        found = {}
        for job in JOBS:
            stored = self.world.blobs.get(names.SWEEPS, names.manifest("s", job.id))
            if stored is not None:
                found[job.id] = Manifest.model_validate_json(stored.body)
        return found

    def statuses(self) -> list[str]:
        """Return the states of the jobs in the order of the plan."""
        found = self.manifests()
        return [found[job.id].status if job.id in found else "-" for job in JOBS]

    def digest(self, job_id: str) -> str:
        reference = self.manifests()[job_id].outcome.result
        assert reference is not None
        stored = self.world.blobs.get(names.SWEEPS, reference.name)
        assert stored is not None
        return Result.model_validate_json(stored.body).state_digest


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_a_sweep_is_trained_and_found_complete(fleet: Fleet) -> None:
    fleet.work()
    assert fleet.statuses() == ["done", "done", "done"]
    assert audit(fleet.session).complete == ("s",)
    assert enqueue(fleet.session, PLAN, lambda _: True).sent == 0


@pytest.mark.parametrize("step", [1, 500, 1000, 1001, 2500])
def test_a_cancel_at_any_step_ends_running_jobs_at_their_next_commit(fleet: Fleet, step: int) -> None:
    fleet.work(fleet.at_step(step, lambda: cancel(fleet.session, "s")))
    done = fleet.statuses().count("done")
    assert fleet.statuses() == ["done"] * done + ["cancelled"] * (3 - done)
    assert done <= step // 1000 + 1  # a job may end before its next commit looks at the hold
    assert fleet.world.jobs.count() == 0
    cancel(fleet.session, "s")
    assert is_marked_complete(fleet.session.blobs, "s")


@pytest.mark.parametrize("step", [1, 500, 1001, 2999])
def test_a_paused_sweep_goes_on_exactly_where_it_was(fleet: Fleet, step: int) -> None:
    fleet.work(fleet.at_step(step, lambda: pause(fleet.session, "s")))
    assert fleet.statuses().count("released") <= 1  # none where the job ended before its next commit
    assert fleet.statuses().count("done") <= step // 1000 + 1
    resume(fleet.session, "s")
    fleet.work(vm="vm2")
    assert fleet.statuses() == ["done", "done", "done"]
    assert [fleet.digest(job.id) for job in JOBS] == [straight_digest(job) for job in JOBS]


def test_a_cancelled_sweep_that_is_retried_goes_on_where_it_was(fleet: Fleet) -> None:
    fleet.work(fleet.at_step(5, lambda: cancel(fleet.session, "s")))
    committed = fleet.manifests()[JOBS[0].id].step
    assert committed > 0
    retry(fleet.session, "s", cancelled=True)
    fleet.work()
    assert fleet.statuses() == ["done", "done", "done"]
    assert fleet.manifests()[JOBS[0].id].attempts[-1].from_step == committed
    assert [fleet.digest(job.id) for job in JOBS] == [straight_digest(job) for job in JOBS]


class Diverging(TinyRun):
    """A trainer whose loss is never finite."""

    def train(self, boundary: Boundary, beat: Callable[[], None]) -> FinishedRun:
        raise Diverged("The loss is NaN.")


def test_failed_jobs_are_retried_with_the_reason_shown(fleet: Fleet) -> None:
    fleet.work(Trainers(build=lambda job: Diverging(job, lambda: None), fingerprint={"cpu": "tiny"}))
    assert fleet.statuses() == ["failed"] * 3
    found = retry(fleet.session, "s")
    assert all("The loss is NaN." in reason for _, reason in found.jobs)
    fleet.work()
    assert fleet.statuses() == ["done", "done", "done"]


def test_a_deleted_sweep_stays_deleted_whatever_its_workers_do(fleet: Fleet) -> None:
    fleet.work()
    fleet.world.jobs.send(JOBS[0].encode())
    delete(fleet.session, "s")
    fleet.work(vm="vm2")
    assert list(fleet.world.blobs.list(names.SWEEPS, "s/")) == []
    assert list(fleet.world.blobs.list(names.CHECKPOINTS, "s/")) == []
