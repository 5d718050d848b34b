"""Claims about what a producer does for a budget: it tells the workers, and lifts the hold when the money suffices."""

from dataclasses import replace

import pytest

from producer.session import Session
from producer.sweep.budget import unwatched
from producer.sweep.enqueue import Enqueued, enqueue
from producer.sweep.hold import pause, resume
from tests.fakes.plans import jobs_of
from tests.fakes.producing import Gate, Killed, Storage, every_moment, kill, plan_of
from worker.contract import names
from worker.contract.budget import Budget, read_budget
from worker.contract.control import Hold, read_hold, write_hold
from worker.contract.errors import InputError


def priced(session: Session, usd: float | None = 0.5) -> Session:
    """Return the session on VMs of this price and 4 slots."""
    target = session.target.model_copy(update={"price_usd": usd, "slots_per_instance": 4})
    return replace(session, target=target)


def send(session: Session, budget: str = "") -> Enqueued:
    return enqueue(priced(session), plan_of(budget), lambda _: True)


def spent() -> Storage:
    """Return storage in which 3.01 $ of a budget of 3 $ are spent, and the sweep is held for it."""
    storage = Storage()
    send(storage.session(), "budget_usd: 3\n")
    while message := storage.jobs.receive(60):
        storage.jobs.delete(message.receipt)
    storage.put_status(jobs_of(plan_of())[0], "released", seconds=3.01 / 0.5 * 4 * 3600)
    write_hold(storage.blobs, "s", Hold(kind="budget", reason="3.01 $ of 3.00 $ are spent"))
    return storage


def test_workers_are_told_the_budget_in_time_of_slots() -> None:
    storage = Storage()
    send(storage.session(), "budget_usd: 3\n")
    budget = read_budget(storage.blobs, "s")
    assert budget is not None
    assert (budget.usd, budget.slot_seconds) == (3, 3 / 0.5 * 4 * 3600)
    assert budget.price == "0.5 $ per VM hour of 4 slots, the target's settings"


@pytest.mark.parametrize(("more", "usd"), [("", 0.5), ("budget_usd: 3\n", None)])
def test_without_a_budget_or_a_price_workers_watch_nothing(more: str, usd: float | None) -> None:
    storage = Storage()
    send(storage.session(), "budget_usd: 9\n")
    enqueue(priced(storage.session(), usd), plan_of(more), lambda _: True)
    assert read_budget(storage.blobs, "s") is None


def test_a_budget_of_a_newer_release_stops_no_job() -> None:
    storage = Storage()
    storage.blobs.put(names.SWEEPS, names.budget("s"), b'{"joules": 3}')
    assert read_budget(storage.blobs, "s") is None


@pytest.mark.parametrize(
    ("budget", "lifted"),
    [("budget_usd: 9\n", True), ("", True), ("budget_usd: 3.005\n", False), ("budget_usd: 2\n", False)],
)
def test_a_budget_that_suffices_again_lifts_the_hold_that_it_had_put(budget: str, lifted: bool) -> None:
    storage = spent()
    found = send(storage.session(), budget)
    assert found.lifted == lifted
    assert (found.hold is None) == lifted
    assert storage.jobs.count() == (5 if lifted else 0)


def test_a_higher_budget_lifts_no_pause() -> None:
    storage = Storage()
    send(storage.session(), "budget_usd: 3\n")
    pause(storage.session(), "s")
    assert not send(storage.session(), "budget_usd: 9\n").lifted
    assert storage.jobs.count() == 0


def test_resume_says_that_only_money_helps() -> None:
    storage = spent()
    with pytest.raises(InputError, match="raise budget_usd"):
        resume(storage.session(), "s")


def raised(session: Session) -> Enqueued:
    return send(session, "budget_usd: 9\n")


@pytest.mark.parametrize(("at", "after"), every_moment(spent, raised))
def test_a_kill_while_the_budget_is_raised_is_mended_by_the_same_command(at: int, after: bool) -> None:
    storage = spent()
    with pytest.raises(Killed):
        raised(storage.session("ada", Gate(at, after, kill)))
    raised(storage.session())
    assert read_hold(storage.blobs, "s") is None
    assert storage.queued_ids() == set(plan_of().by_id)


def test_a_hold_says_what_was_spent_at_which_price() -> None:
    budget = Budget(usd=3, slot_seconds=300, price="a price")
    assert budget.hold(299) is None
    assert budget.hold(310) == Hold(kind="budget", reason="3.10 $ of 3.00 $ are spent, at a price")


def test_a_budget_that_nobody_can_watch_is_spoken_of() -> None:
    session = Storage().session()
    unpriced = priced(session, None)
    (warning,) = unwatched(unpriced, plan_of("budget_usd: 3\n"))
    assert warning.startswith("Nobody watches budget_usd: ")
    assert unwatched(unpriced, plan_of()) == ()
    assert unwatched(priced(session), plan_of("budget_usd: 3\n")) == ()
