"""Retry and delete: begin anew, or go for good; never half."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from producer.session import Session
from producer.sweep import sending
from producer.sweep.audit import audit
from producer.sweep.enqueue import enqueue
from producer.sweep.hold import cancel, find_hold, pause
from producer.sweep.lifecycle import delete, planned_again, retry
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
    receive,
    receive_all,
)
from worker import decisions
from worker.contract import names
from worker.contract.errors import InputError
from worker.contract.manifest import Counts, Outcome
from worker.contract.plans import find_plan

PLAN = plan_of(seeds="[0, 1, 2, 3, 4]")
ALL = jobs_of(PLAN)
DONE, FAILED, POISONED, CANCELLED, WAITING = (job.id for job in ALL)
OUTCOME = {"reason": "diverged: the loss is not finite"}


@pytest.fixture(autouse=True)
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs a record."""
    monkeypatch.setattr(sending, "JOBS_PER_RECORD", 2)


def mixed() -> Storage:
    """Return a sweep with a job in each state that a retry meets; only the last one is queued."""
    storage = Storage()
    enqueue(storage.session(), PLAN, lambda _: True)
    for entry in list(storage.jobs._entries.values())[:-1]:
        storage.forget_message(entry.id, visible=False)
    for job, status in zip(ALL, ["done", "failed", "poisoned", "cancelled"], strict=False):
        storage.put_status(job, status, epoch=4, outcome=OUTCOME, counts={"failures_in_a_row": 3}, step=500)
    return storage


def ended() -> Storage:
    """Return a sweep whose jobs have all ended, with blobs of all kinds and a neighbour of nearly the same name."""
    storage = mixed()
    cancel(storage.session(), "s", [WAITING])
    for container, name in [
        (names.SWEEPS, names.result("s", DONE, "ab", "result.json")),
        (names.SWEEPS, names.log("s", DONE, 1, "ab")),
        (names.CHECKPOINTS, names.state("s", FAILED, "ab", 500, 1)),
    ]:
        storage.blobs.put(container, name, b"content")
    enqueue(storage.session(), plan_of(name="s-2", seeds="[0]"), lambda _: True)
    return storage


# ---- retry ---------------------------------------------------------------------------------------------------------


def test_failed_and_poisoned_jobs_begin_anew_and_others_stay() -> None:
    storage = mixed()
    found = retry(storage.session(), "s")
    assert found.jobs == tuple(sorted([(FAILED, OUTCOME["reason"]), (POISONED, OUTCOME["reason"])]))
    assert found.sent == 2
    assert storage.statuses("s") == {DONE: "done", FAILED: "planned", POISONED: "planned", CANCELLED: "cancelled"}
    assert storage.queued_ids() == {FAILED, POISONED, WAITING}


def test_a_retried_job_keeps_its_checkpoint_and_its_history_and_loses_what_ended_it() -> None:
    storage = mixed()
    before = storage.manifest("s", POISONED)
    retry(storage.session(), "s")
    after = storage.manifest("s", POISONED)
    assert before is not None
    assert after == planned_again(before, after.nonce if after else "")
    assert after is not None
    assert (after.epoch, after.step, after.counts, after.outcome) == (5, 500, Counts(), Outcome())
    assert after.nonce != before.nonce


def test_a_retried_job_is_claimed_and_ends() -> None:
    storage = mixed()
    retry(storage.session(), "s")
    receive_all(storage)
    commit_all(storage, "s")
    statuses = storage.statuses("s")
    assert (statuses[FAILED], statuses[POISONED]) == ("done", "done")


def test_cancelled_jobs_are_retried_where_asked_for() -> None:
    storage = mixed()
    assert {job for job, _ in retry(storage.session(), "s", cancelled=True).jobs} == {FAILED, POISONED, CANCELLED}


def test_a_job_named_is_retried_alone_whatever_ended_it() -> None:
    storage = mixed()
    assert [job for job, _ in retry(storage.session(), "s", [CANCELLED]).jobs] == [CANCELLED]


def test_what_has_a_result_or_runs_is_not_retried() -> None:
    storage = mixed()
    with pytest.raises(InputError, match=r"is done: it has a result"):
        retry(storage.session(), "s", [DONE])
    storage.put_status(ALL[0], "running", epoch=5)
    with pytest.raises(InputError, match=r"is running: it has not ended"):
        retry(storage.session(), "s", [DONE])


def test_a_second_retry_sends_nothing() -> None:
    storage = mixed()
    retry(storage.session(), "s")
    found = retry(storage.session(), "s")
    assert (found.jobs, found.sent) == ((), 0)


def test_a_job_that_fails_again_can_be_retried_again() -> None:
    storage = mixed()
    retry(storage.session(), "s", [FAILED])
    storage.put_status(ALL[1], "failed", epoch=6)
    for entry in list(storage.jobs._entries.values()):
        storage.forget_message(entry.id, visible=False)
    assert retry(storage.session(), "s", [FAILED]).sent >= 1
    assert FAILED in storage.queued_ids()


def test_a_cancelled_sweep_runs_again_as_a_whole_where_asked_for() -> None:
    storage = mixed()
    cancel(storage.session(), "s")
    with pytest.raises(InputError, match="tranquility retry s --cancelled"):
        retry(storage.session(), "s")
    retry(storage.session(), "s", cancelled=True)
    assert find_hold(storage.session(), "s") is None
    receive_all(storage)
    commit_all(storage, "s")
    assert storage.statuses("s") == dict.fromkeys([job.id for job in ALL], "done")


def test_jobs_of_a_paused_sweep_wait_for_its_resume() -> None:
    storage = mixed()
    pause(storage.session(), "s")
    found = retry(storage.session(), "s")
    assert (len(found.jobs), found.sent) == (2, 0)
    assert found.hold is not None


def test_a_retried_sweep_is_audited_again() -> None:
    storage = ended()
    audit(storage.session())
    retry(storage.session(), "s")
    assert not is_marked_complete(storage.blobs, "s")


# ---- delete --------------------------------------------------------------------------------------------------------


def test_a_deleted_sweep_leaves_nothing_and_its_neighbour_everything() -> None:
    storage = ended()
    neighbour = storage.blob_names("s-2")
    found = delete(storage.session(), "s")
    assert storage.blob_names("s") == set()
    assert storage.blob_names("s-2") == neighbour
    assert found.blobs >= 10
    assert {job.sweep for job in storage.queued()} == {"s-2"}


def test_a_sweep_with_open_jobs_is_not_deleted() -> None:
    storage = mixed()
    before = storage.blob_names("s")
    with pytest.raises(InputError, match=r"1 of 5 jobs of s have not ended\. Cancel them first"):
        delete(storage.session(), "s")
    assert storage.blob_names("s") == before
    assert not storage.plan("s").deleted


def test_a_message_that_outlives_its_sweep_is_deleted_by_whoever_receives_it() -> None:
    storage = ended()
    storage.jobs.send(ALL[0].encode())
    delete(storage.session(), "s")
    decided = [receive(storage), receive(storage)]
    assert decisions.Discard("no plan names this job") in decided
    assert storage.blob_names("s") == set()


def test_what_a_late_worker_left_behind_can_be_deleted() -> None:
    storage = ended()
    delete(storage.session(), "s")
    storage.blobs.put(names.SWEEPS, names.log("s", DONE, 2, "cd"), b"")
    assert delete(storage.session(), "s").blobs == 1
    with pytest.raises(InputError, match=r"There is no sweep 's'\. (Did you mean|Sweeps here)"):
        delete(storage.session(), "s")


# ---- killed, and not alone -----------------------------------------------------------------------------------------

COMMANDS: dict[str, tuple[Callable[[], Storage], Callable[[Session], Any]]] = {
    "retry": (mixed, lambda session: retry(session, "s")),
    "retry all": (ended, lambda session: retry(session, "s", cancelled=True)),
    "delete": (ended, lambda session: delete(session, "s")),
}
MOMENTS = [
    pytest.param(name, at, after, id=f"{name} {'after' if after else 'before'} {at}")
    for name, (make, run) in COMMANDS.items()
    for at, after in every_moment(make, run)
]


@pytest.mark.parametrize(("name", "at", "after"), MOMENTS)
def test_a_kill_at_any_request_is_mended_by_the_same_command(name: str, at: int, after: bool) -> None:
    make, run = COMMANDS[name]
    straight, storage = make(), make()
    run(straight.session())
    with pytest.raises(Killed):
        run(storage.session("ada", Gate(at, after, kill)))
    try:
        run(storage.session())
    except InputError as error:
        assert "There is no sweep" in str(error)  # noqa: PT017 - where the kill came after the last request
    assert storage.statuses("s") == straight.statuses("s")
    assert storage.queued_ids() == straight.queued_ids()
    assert is_marked_complete(storage.blobs, "s") == is_marked_complete(straight.blobs, "s")


BEGINS: dict[str, Callable[[Session], Any]] = {
    "retry": lambda session: retry(session, "s", cancelled=True),
    "update": lambda session: enqueue(session, plan_of(seeds="[0, 1, 2, 3, 4, 5]"), lambda _: True, update=True),
}
KILLED_WHILE_AUDITED = [
    pytest.param(name, marked, killed, id=f"{name} audited at {marked}, killed at {killed}")
    for name, begin in BEGINS.items()
    for marked, at_mark in every_moment(ended, begin)
    for killed, at_kill in every_moment(ended, begin)
    if not at_mark and not at_kill and marked < killed <= marked + 4
]


@pytest.mark.parametrize(("name", "marked", "killed"), KILLED_WHILE_AUDITED)
def test_no_audit_ever_passes_over_what_a_killed_command_let_begin(name: str, marked: int, killed: int) -> None:
    storage, gate = ended(), Gate(marked)

    def audited() -> None:
        audit(storage.session())
        gate.at, gate.event = killed, kill

    gate.event = audited
    with pytest.raises(Killed):
        BEGINS[name](storage.session("ada", gate))
    stored, found = find_plan(storage.blobs, "s"), storage.statuses("s")
    assert stored is not None
    if any(found.get(job, "planned") == "planned" for job in stored.plan.by_id):
        assert not is_marked_complete(storage.blobs, "s")


@pytest.mark.parametrize(("at", "after"), every_moment(ended, lambda session: delete(session, "s")))
def test_a_retry_during_a_delete_leaves_the_sweep_whole_or_gone(at: int, after: bool) -> None:
    storage = ended()
    refused = []

    def retrying() -> None:
        try:
            retry(storage.session("bob"), "s")
        except InputError as error:
            refused.append(error)

    try:
        delete(storage.session("ada", Gate(at, after, retrying)), "s")
    except InputError as error:
        refused.append(error)
        assert not storage.plan("s").deleted
        assert {FAILED, POISONED} <= storage.queued_ids()
    else:
        assert storage.blob_names("s") == set()
    assert len(refused) == 1


@pytest.mark.parametrize(("at", "after"), every_moment(ended, lambda session: retry(session, "s")))
def test_a_delete_during_a_retry_leaves_the_sweep_whole_or_gone(at: int, after: bool) -> None:
    storage = ended()
    gone = []

    def deleting() -> None:
        try:
            gone.append(delete(storage.session("bob"), "s"))
        except InputError:
            return

    try:
        retry(storage.session("ada", Gate(at, after, deleting)), "s")
    except InputError:
        assert gone
    receive_all(storage)
    if gone:
        assert storage.blob_names("s") == set()
    else:
        commit_all(storage, "s")
        assert (storage.statuses("s")[FAILED], storage.statuses("s")[POISONED]) == ("done", "done")


@pytest.mark.parametrize(("at", "after"), every_moment(ended, lambda session: delete(session, "s")))
def test_two_deletes_at_once_leave_nothing(at: int, after: bool) -> None:
    storage = ended()
    delete_or_find_nothing(storage.session("ada", Gate(at, after, lambda: delete_or_find_nothing(storage.session()))))
    assert storage.blob_names("s") == set()


def delete_or_find_nothing(session: Session) -> None:
    try:
        delete(session, "s")
    except InputError as error:
        assert "There is no sweep" in str(error)  # noqa: PT017 - where the other had just finished


@pytest.mark.parametrize(("at", "after"), every_moment(ended, lambda session: delete(session, "s")))
def test_a_slow_delete_spares_a_new_sweep_of_the_same_name(at: int, after: bool) -> None:
    storage = ended()
    again = plan_of(name="s", seeds="[0, 7, 8]")
    made = []

    def deleted_and_enqueued_anew() -> None:
        delete(storage.session("bob"), "s")
        made.append(enqueue(storage.session("bob"), again, lambda _: True).sent)

    try:
        delete(storage.session("ada", Gate(at, after, deleted_and_enqueued_anew)), "s")
    except InputError as error:
        assert re.search("have not ended|There is no sweep|changed", str(error))  # noqa: PT017 - it met the new one
    if made:
        assert storage.plan("s").jobs == again.jobs
        assert {job.id for job in storage.queued() if job.sweep == "s"} == set(again.by_id)
        assert sending.SentRecords(storage.session(), "s").newest_epochs().keys() == again.by_id.keys()


@pytest.mark.parametrize(("at", "after"), every_moment(ended, lambda session: retry(session, "s")))
def test_a_killed_retry_that_nobody_mends_is_mended_by_the_audit(at: int, after: bool) -> None:
    storage = ended()
    audit(storage.session())
    with pytest.raises(Killed):
        retry(storage.session("ada", Gate(at, after, kill)), "s")
    for entry in list(storage.jobs._entries.values()):
        storage.forget_message(entry.id, visible=False)
    begun = {job for job, status in storage.statuses("s").items() if status == "planned"}
    audit(storage.session())
    assert {job.id for job in storage.queued() if job.sweep == "s"} == begun
