"""Claims about workers that watch a budget: real loops, the sweep held, and every job going on exactly afterwards."""

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from producer.session import Session
from producer.sweep.enqueue import enqueue
from tests.fakes.plans import jobs_of
from tests.fakes.producing import Storage, plan_of
from tests.fakes.slot import QUICK, World, run_until_idle
from tests.fakes.storage import MemoryBlobs
from tests.fakes.trainer import TinyRun, straight_digest, tiny_trainers
from worker.budget import watch_budget
from worker.contract import names
from worker.contract.budget import Budget, spent_seconds
from worker.contract.control import Hold, read_hold, write_hold
from worker.contract.errors import StorageUnavailable
from worker.contract.job import Job
from worker.contract.manifest import Manifest
from worker.contract.records import Listed
from worker.contract.result import Result
from worker.contract.runtime import RealRuntime
from worker.slot import BudgetLooks, Slot, Trainers

TINY = (
    "fixed: {policy_kwargs: {net_arch: [1]}, buffer_size: 1000}\n"
    "evaluation: {every: 100, episodes: 2, final_episodes: 3}\n"
)
NOTHING = Budget(usd=1e-9, slot_seconds=1e-9, price="a price")
PLENTY = Budget(usd=1e9, slot_seconds=1e9, price="a price")


class Fleet:
    """Slots that look at the budget at every commit, and a person at a laptop, over the same storage."""

    def __init__(self) -> None:
        self.world = World()
        base = Storage().session()
        self.session: Session = replace(
            base,
            target=base.target.model_copy(update={"price_usd": 1.0}),
            blobs=self.world.blobs,
            jobs=self.world.jobs,
            runtime=RealRuntime(),
        )

    def send(self, budget: str, name: str = "s") -> None:
        enqueue(self.session, plan_of(TINY + budget, name, "[0, 1, 2]"), lambda _: True)

    def spend(self, seconds: float) -> None:
        """Let the last job of sweep s have run for so long before, and be given back."""
        job = jobs_of(plan_of(TINY, "s", "[0, 1, 2]"))[-1]
        manifest = Manifest(job=job, status="released", epoch=1, nonce="0" * 16, seconds=seconds)
        name = names.manifest("s", job.id)
        self.world.blobs.put(names.SWEEPS, name, manifest.canonical(), metadata=manifest.metadata())

    def slot(self, trainers: Trainers | None = None, commit_s: float = QUICK.commit_s) -> Slot:
        durations = QUICK.model_copy(update={"budget_look_s": 1e-9, "commit_s": commit_s})
        return self.world.slot(durations=durations, trainers=trainers)

    def waiting_for_the_hold(self) -> Trainers:
        """Return trainers whose first run finds money spent, and waits until the committer has seen that."""
        never = threading.Event()
        runs = iter(range(10))

        def pace() -> None:
            while self.hold() is None:
                never.wait(0.01)

        def build(job: Job) -> TinyRun:
            if next(runs):
                return TinyRun(job, lambda: None)
            self.spend(360.0)  # after the claim, which looks too
            steps = iter(range(1, 10**9))
            return TinyRun(job, lambda: pace() if next(steps) == 500 else None)

        return Trainers(build, tiny_trainers().fingerprint)

    def manifests(self, sweep: str) -> list[Manifest]:
        found = (self.world.blobs.get(names.SWEEPS, blob.name) for blob in self.listed(sweep))
        return [Manifest.model_validate_json(one.body) for one in found if one]

    def listed(self, sweep: str) -> list[Listed]:
        return list(self.world.blobs.list(names.SWEEPS, names.manifests(sweep)))

    def put(self, budget: Budget | None) -> None:
        self.world.blobs.delete(names.SWEEPS, names.budget("s"))
        if budget is not None:
            self.world.blobs.put(names.SWEEPS, names.budget("s"), budget.canonical())

    def hold(self) -> Hold | None:
        return read_hold(self.world.blobs, "s")

    def digest(self, manifest: Manifest) -> str:
        assert manifest.outcome.result is not None
        stored = self.world.blobs.get(names.SWEEPS, manifest.outcome.result.name)
        assert stored is not None
        return Result.model_validate_json(stored.body).state_digest


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_a_spent_budget_stops_its_sweep_and_no_other_and_raising_it_goes_on_exactly(fleet: Fleet) -> None:
    fleet.send("budget_usd: 0.01\n")  # 36 s
    fleet.send("", "other")
    run_until_idle(fleet.slot(fleet.waiting_for_the_hold()))
    hold = fleet.hold()
    assert hold is not None
    assert hold.kind == "budget"
    assert hold.reason.startswith("0.10 $ of 0.01 $ are spent, at 1 $ per VM hour")
    begun = next(one for one in fleet.manifests("s") if one.attempts)
    assert (begun.status, begun.attempts[-1].ended) == ("released", "held")
    assert begun.step > 0
    assert [one.status for one in fleet.manifests("other")] == ["done"] * 3
    assert fleet.world.jobs.count() == 0
    fleet.send("budget_usd: 1000\n")
    run_until_idle(fleet.slot())
    assert fleet.hold() is None
    done = fleet.manifests("s")
    assert [one.status for one in done] == ["done"] * 3
    assert [fleet.digest(one) for one in done] == [straight_digest(one.job) for one in done]


def test_jobs_too_short_for_a_commit_are_held_at_their_claim(fleet: Fleet) -> None:
    fleet.send("budget_usd: 0.01\n")
    fleet.spend(360.0)
    run_until_idle(fleet.slot(commit_s=300.0))
    assert [one.status for one in fleet.manifests("s")] == ["released"] * 3
    assert fleet.hold() is not None
    assert fleet.world.jobs.count() == 0


@pytest.fixture
def trained(fleet: Fleet) -> Fleet:
    """A fleet that has spent some time on sweep s; its other jobs are done."""
    fleet.send("")
    run_until_idle(fleet.slot())
    fleet.spend(1.0)
    return fleet


def test_a_budget_that_is_left_or_none_holds_nothing(trained: Fleet) -> None:
    for budget in (PLENTY, None):
        trained.put(budget)
        watch_budget(trained.slot(), "s")
        assert trained.hold() is None


def test_a_pause_stays_a_pause(trained: Fleet) -> None:
    write_hold(trained.world.blobs, "s", Hold(kind="paused"))
    trained.put(NOTHING)
    watch_budget(trained.slot(), "s")
    assert trained.hold() == Hold(kind="paused")


@pytest.mark.parametrize(("ended", "kind"), [(True, "budget"), (False, "cancelled")])
def test_a_hold_of_single_jobs_makes_room_when_they_have_ended(trained: Fleet, ended: bool, kind: str) -> None:
    job = next(one.job.id for one in trained.manifests("s") if one.terminal == ended)
    write_hold(trained.world.blobs, "s", Hold(kind="cancelled", jobs=(job,)))
    trained.put(NOTHING)
    watch_budget(trained.slot(), "s")
    hold = trained.hold()
    assert hold is not None
    assert hold.kind == kind


def test_a_hold_that_this_release_cannot_read_stands_and_counts_against_no_job(trained: Fleet) -> None:
    trained.put(NOTHING)
    of_tomorrow = b'{"schema_version": 2}'
    trained.world.blobs.put(names.SWEEPS, names.hold("s"), of_tomorrow)
    with pytest.raises(StorageUnavailable, match="hold of s cannot be read"):
        watch_budget(trained.slot(), "s")
    found = trained.world.blobs.get(names.SWEEPS, names.hold("s"))
    assert found is not None
    assert found.body == of_tomorrow


class Between(MemoryBlobs):
    """Something happens right after the hold was written."""

    def __init__(self, inner: MemoryBlobs, happens: Callable[[], None]) -> None:
        self.__dict__.update(inner.__dict__)
        self._happens = happens

    def put(self, container: str, name: str, *rest: object, **more: object) -> str:
        etag = super().put(container, name, *rest, **more)  # type: ignore[arg-type] # as it came
        if name == names.hold("s"):
            self._happens()
        return etag


def test_a_budget_raised_while_a_worker_looks_is_not_held_against_the_sweep(trained: Fleet) -> None:
    trained.put(NOTHING)
    slot = replace(trained.slot(), blobs=Between(trained.world.blobs, lambda: trained.put(PLENTY)))
    watch_budget(slot, "s")
    assert trained.hold() is None


def test_looks_are_apart_for_each_sweep() -> None:
    looks = BudgetLooks()
    assert looks.is_due("a", 0.0, 300)
    assert not looks.is_due("a", 299.0, 300)
    assert looks.is_due("b", 299.0, 300)
    assert looks.is_due("a", 300.0, 300)


def test_a_listing_that_this_release_cannot_read_counts_nothing() -> None:
    known = Listed("s/manifests/a", "1", 2, 0.0, {"status": "done", "summary": '{"seconds":"7.5"}'})
    newer = Listed("s/manifests/b", "1", 2, 0.0, {"status": "done", "summary": "[]"})
    assert spent_seconds([known, newer]) == 7.5
