"""The audit: what is planned and has not ended is sent again when nothing is queued; finished sweeps are left alone."""

from collections.abc import Callable
from functools import partial

import pytest

from producer.session import Session
from producer.sweep.audit import AuditReport, audit
from producer.sweep.enqueue import enqueue
from producer.sweep.hold import cancel, pause
from producer.sweep.lifecycle import retry
from producer.sweep.plans import is_marked_complete
from tests.fakes.plans import jobs_of
from tests.fakes.producing import (
    Gate,
    Killed,
    Storage,
    commit_all,
    every_moment,
    kill,
    plan_of,
    receive_all,
    requests_of,
)
from worker.contract import names
from worker.contract.control import Hold, write_hold
from worker.contract.plan import Plan
from worker.contract.settings import Durations

V_S = Durations().visibility_timeout_s
PLAN = plan_of(seeds="[0, 1, 2]")
JOBS = [planned.id for planned in PLAN.jobs]


def send(storage: Storage, plan: Plan = PLAN, *, update: bool = False) -> None:
    enqueue(storage.session(), plan, lambda _: True, update=update)


def lose_all_messages(storage: Storage) -> None:
    for entry in list(storage.jobs._entries.values()):
        storage.forget_message(entry.id, visible=False)


def enqueued(plan: Plan = PLAN) -> Storage:
    storage = Storage()
    send(storage, plan)
    return storage


def finished() -> Storage:
    """Return a sweep whose jobs have ended, one of them failed; nobody has marked it yet."""
    storage = enqueued()
    receive_all(storage)
    commit_all(storage, "s")
    storage.put_status(jobs_of(PLAN)[0], "failed", epoch=2)
    return storage


def test_what_has_not_ended_is_sent_again_whatever_the_records_say() -> None:
    storage = enqueued()
    lose_all_messages(storage)
    storage.put_status(jobs_of(PLAN)[0], "done")
    assert audit(storage.session()) == AuditReport(resent=2)
    assert storage.queued_ids() == set(JOBS[1:])


@pytest.mark.parametrize("status", ["planned", "released"])
def test_a_job_that_nobody_has_is_sent_again(status: str) -> None:
    storage = enqueued()
    lose_all_messages(storage)
    storage.put_status(jobs_of(PLAN)[0], status, epoch=3)
    assert audit(storage.session()).resent == 3


def test_a_running_job_is_sent_again_only_when_its_worker_fell_silent() -> None:
    storage = enqueued()
    receive_all(storage)
    lose_all_messages(storage)
    assert audit(storage.session()).resent == 0
    storage.now_s += V_S
    assert audit(storage.session()).resent == 3


def test_nothing_is_sent_while_anything_is_queued() -> None:
    """An enqueue that began after the count was read needs no help."""
    storage = enqueued()
    assert audit(storage.session()).resent == 0
    assert storage.jobs.count() == 3


def test_a_sweep_whose_jobs_have_all_ended_is_marked_and_never_read_again() -> None:
    storage = finished()
    send(storage, plan_of(name="t"))
    assert audit(storage.session()).complete == ("s",)
    assert audit(storage.session()).complete == ()
    only_marked = Storage()
    for number in range(3):
        name = f"s-{number}"
        send(only_marked, plan_of(name=name))
        cancel(only_marked.session(), name)
    assert requests_of(audit, only_marked) == 1 + 3  # one listing, and one look for each mark


def test_an_unmarked_sweep_costs_four_requests_more_at_most() -> None:
    assert requests_of(audit, enqueued()) == 1 + 1 + 3 + 1  # plan, hold, listing; and the count before sending


def test_a_sweep_on_hold_is_passed_over() -> None:
    storage = enqueued()
    pause(storage.session(), "s")
    assert audit(storage.session()) == AuditReport(held=("s",))
    assert storage.jobs.count() == 0


def test_the_jobs_beside_a_cancelled_one_are_audited() -> None:
    storage = enqueued()
    receive_all(storage)
    cancel(storage.session(), "s", JOBS[:1])
    lose_all_messages(storage)
    storage.put_status(jobs_of(PLAN)[1], "released", epoch=3)
    report = audit(storage.session())
    assert (report.resent, report.held) == (1, ("s",))
    assert storage.queued_ids() == {JOBS[1]}


@pytest.mark.parametrize(("at", "after"), every_moment(enqueued, lambda session: cancel(session, "s")))
def test_a_cancel_that_was_killed_is_finished_by_the_audit_once_its_hold_stands(at: int, after: bool) -> None:
    storage = enqueued()
    with pytest.raises(Killed):
        cancel(storage.session("ada", Gate(at, after, kill)), "s")
    stands = storage.blobs.get(names.SWEEPS, names.hold("s")) is not None
    audit(storage.session())
    assert storage.statuses("s") == (dict.fromkeys(JOBS, "cancelled") if stands else {})


def test_a_deleted_sweep_is_passed_over() -> None:
    storage = Storage()
    storage.blobs.put(names.SWEEPS, names.plan("s"), PLAN.model_copy(update={"deleted": True}).canonical())
    storage.blobs.put(names.SWEEPS, names.log("gone", JOBS[0], 1, "ab"), b"")
    assert audit(storage.session()) == AuditReport()


def hide(storage: Storage, name: str, body: bytes = b'{"of": "a newer release"}') -> None:
    storage.blobs.put(names.SWEEPS, name, body)


def newer_manifest(storage: Storage) -> None:
    """Cancel a sweep of which one job's manifest is of a newer release."""
    found = storage.blobs.get(names.SWEEPS, names.manifest("odd", JOBS[0]))
    assert found is None
    write_hold(storage.blobs, "odd", Hold(kind="cancelled"))
    storage.blobs.put(
        names.SWEEPS, names.manifest("odd", JOBS[0]), b"{}", metadata={"status": "released", "summary": '{"epoch":"3"}'}
    )


def newer_listing(storage: Storage) -> None:
    """Leave a manifest whose listing only a newer release can read."""
    storage.blobs.put(names.SWEEPS, names.manifest("odd", JOBS[0]), b"{}", metadata={"status": "x", "summary": "[]"})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (newer_listing, f"odd/manifests/{JOBS[0]} is listed with metadata that this release cannot read"),
        (lambda storage: hide(storage, names.plan("odd")), "The plan of odd cannot be read by this release"),
        (lambda storage: hide(storage, names.hold("odd")), "The hold of odd cannot be read by this release. Take a"),
        (newer_manifest, f"The manifest of odd/{JOBS[0]} cannot be read by this release"),
    ],
    ids=["listing", "plan", "hold", "manifest"],
)
def test_a_sweep_that_cannot_be_read_is_passed_over_and_named_and_the_others_are_audited(
    spoil: Callable[[Storage], None], words: str
) -> None:
    storage = enqueued(plan_of(name="odd", seeds="[0, 1, 2]"))
    send(storage)
    lose_all_messages(storage)
    spoil(storage)
    found = audit(storage.session())
    assert found.resent == 3
    assert {job.sweep for job in storage.queued()} == {"s"}
    assert len(found.unread) == 1
    assert words in found.unread[0]


COMMANDS: dict[str, Callable[[Session], object]] = {
    "retry": lambda session: retry(session, "s"),
    "update": lambda session: enqueue(session, plan_of(seeds="[0, 1, 2, 3]"), lambda _: True, update=True),
}


@pytest.mark.parametrize("other", COMMANDS)
@pytest.mark.parametrize(("at", "after"), every_moment(finished, audit))
def test_no_sweep_with_an_open_job_is_ever_marked_complete(other: str, at: int, after: bool) -> None:
    storage = finished()
    audit(storage.session("ada", Gate(at, after, partial(COMMANDS[other], storage.session()))))
    assert not is_marked_complete(storage.blobs, "s")
    lose_all_messages(storage)
    assert audit(storage.session()).resent == 1


@pytest.mark.parametrize(("at", "after"), every_moment(finished, COMMANDS["retry"]))
def test_a_mark_is_not_believed_beside_what_a_killed_retry_has_said(at: int, after: bool) -> None:
    storage = finished()
    with pytest.raises(Killed):
        COMMANDS["retry"](storage.session("ada", Gate(at, after, kill)))
    storage.blobs.put(names.SWEEPS, names.complete("s"), b"{}")  # an audit had looked before, and was killed then, too
    audit(storage.session())
    open_jobs = {job for job, status in storage.statuses("s").items() if status == "planned"}
    assert storage.queued_ids() == open_jobs


def test_what_a_killed_retry_has_said_goes_when_the_sweep_has_ended_all_the_same() -> None:
    storage = finished()
    storage.blobs.put(names.SWEEPS, names.reopened("s", "killed"), b"")
    assert audit(storage.session()).complete == ()
    storage.now_s += Durations().flag_lifetime_s
    assert audit(storage.session()).complete == ("s",)
    assert is_marked_complete(storage.blobs, "s")


@pytest.mark.parametrize("other", COMMANDS)
def test_whoever_sends_takes_the_mark_away_wherever_an_audit_comes_between(other: str) -> None:
    command = COMMANDS[other]
    for at, after in every_moment(finished, command):
        storage = finished()
        audit(storage.session())
        command(storage.session("ada", Gate(at, after, partial(audit, storage.session()))))
        assert not is_marked_complete(storage.blobs, "s")
        assert len(storage.queued_ids()) == 1
