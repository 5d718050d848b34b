"""Claims about fresh seeds: which they are, and that the same call may be killed and repeated anywhere."""

import pytest

from producer.session import Session
from producer.sweep.confirm import confirm, fresh_seeds, with_fresh_seeds
from producer.sweep.enqueue import Enqueued, NotConfirmed, enqueue
from producer.sweep.hold import pause
from producer.sweep.plans import is_marked_complete, mark_complete
from tests.fakes.plans import jobs_of
from tests.fakes.producing import Gate, Killed, Storage, every_moment, kill, plan_of
from worker.contract.errors import InputError
from worker.contract.job import job_id

THREE_SETS = "search: {method: list}\nspace: [{tau: 0.1}, {tau: 0.2}, {tau: 0.3}]\n"
PLAN = plan_of(THREE_SETS, seeds="[0, 1, 7]")


def yes(_: str) -> bool:
    return True


def send(session: Session, sets: tuple[int, ...] = (0, 2), seeds: int = 2) -> Enqueued:
    return confirm(session, "s", sets, seeds, yes)


def ended() -> Storage:
    """Return storage in which every job of the plan is done, and the sweep marked complete."""
    storage = Storage()
    enqueue(storage.session(), PLAN, yes)
    while message := storage.jobs.receive(60):
        storage.jobs.delete(message.receipt)
    for job in jobs_of(PLAN):
        storage.put_status(job, "done")
    mark_complete(storage.session(), PLAN)
    return storage


def fresh(storage: Storage) -> list[tuple[int, int]]:
    return [(planned.set, planned.seed) for planned in storage.plan("s").jobs if planned.fresh]


def test_fresh_seeds_are_none_that_any_set_was_chosen_by() -> None:
    assert fresh_seeds(PLAN, 3) == (1000, 1001, 1002)
    assert fresh_seeds(plan_of(seeds="[1000, 5]"), 2) == (2000, 2001)
    assert fresh_seeds(plan_of(seeds=f"[{2**30 - 1}, 0]"), 2) == (1, 2)


def test_all_leaders_get_the_same_fresh_seeds_and_more_of_them_later() -> None:
    plan = with_fresh_seeds(PLAN, (0, 2), 2)
    assert [(one.set, one.seed) for one in plan.jobs if one.fresh] == [(0, 1000), (0, 1001), (2, 1000), (2, 1001)]
    plan = with_fresh_seeds(plan, (1, 2), 3)
    seeds = {index: [one.seed for one in plan.jobs if one.fresh and one.set == index] for index in range(3)}
    assert seeds == {0: [1000, 1001], 1: [1000, 1001, 1002], 2: [1000, 1001, 1002]}
    assert with_fresh_seeds(plan, (0,), 1) is plan


def test_a_seed_that_a_set_was_chosen_by_meanwhile_is_fresh_no_more() -> None:
    confirmed = with_fresh_seeds(PLAN, (0,), 1)
    grown = plan_of(THREE_SETS, seeds="[0, 1, 7, 1000]")
    storage = Storage()
    enqueue(storage.session(), confirmed, yes)
    enqueue(storage.session(), grown, yes, update=True)
    assert fresh_seeds(storage.plan("s"), 1) == (2000,)


def test_fresh_jobs_are_those_that_a_sweep_file_with_these_seeds_would_make() -> None:
    plan = with_fresh_seeds(PLAN, (2,), 1)
    assert plan.jobs[-1].id == job_id(PLAN.configurations[2], 1000)
    assert plan.job(plan.jobs[-1]).seed == 1000


def test_confirm_plans_and_sends_and_again_does_nothing() -> None:
    storage = ended()
    found = send(storage.session())
    assert (found.added, found.sent, found.ended, found.unnamed) == (4, 4, 9, ())
    assert not is_marked_complete(storage.blobs, "s")
    assert {job.seed for job in storage.queued()} == {1000, 1001}
    again = send(storage.session())
    assert (again.added, again.sent) == (0, 0)


def test_the_file_that_made_the_sweep_still_needs_nothing_and_misses_nothing() -> None:
    storage = ended()
    send(storage.session())
    found = enqueue(storage.session(), PLAN, yes)
    assert (found.added, found.sent, found.unnamed) == (0, 0, ())


@pytest.mark.parametrize(("at", "after"), every_moment(ended, send))
def test_a_kill_at_any_request_is_mended_by_the_same_command(at: int, after: bool) -> None:
    storage = ended()
    with pytest.raises(Killed):
        send(storage.session("ada", Gate(at, after, kill)))
    send(storage.session())
    assert fresh(storage) == [(0, 1000), (0, 1001), (2, 1000), (2, 1001)]
    assert {(job.configuration.hyperparameters.tau, job.seed) for job in storage.queued()} == {
        (tau, seed) for tau in (0.1, 0.3) for seed in (1000, 1001)
    }


@pytest.mark.parametrize(("at", "after"), every_moment(ended, send))
def test_two_laptops_at_once_add_the_same_seeds(at: int, after: bool) -> None:
    storage = ended()
    send(storage.session("ada", Gate(at, after, lambda: send(storage.session("bob")))))
    assert fresh(storage) == [(0, 1000), (0, 1001), (2, 1000), (2, 1001)]


def test_a_sweep_of_somebody_else_is_changed_only_after_asking() -> None:
    storage = ended()
    with pytest.raises(NotConfirmed):
        confirm(storage.session("bob"), "s", (0,), 2, lambda _: False)
    assert fresh(storage) == []
    asked: list[str] = []

    def ask(question: str) -> bool:
        asked.append(question)
        return True

    confirm(storage.session("bob"), "s", (0,), 2, ask)
    assert asked == ["s was enqueued by ada. Change it (2 jobs are added)?"]


def test_under_a_hold_the_seeds_are_planned_and_wait() -> None:
    storage = Storage()
    enqueue(storage.session(), PLAN, yes)
    pause(storage.session(), "s")
    found = send(storage.session())
    assert (found.added, found.sent) == (4, 0)
    assert found.hold is not None


def test_a_sweep_that_is_being_deleted_gets_no_seeds() -> None:
    storage = Storage()
    enqueue(storage.session(), PLAN.model_copy(update={"deleted": True}), yes)
    with pytest.raises(InputError, match="has been deleted"):
        send(storage.session())
