"""Enqueue: the plan first, then the messages; killed anywhere, started again, and never alone."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from producer.session import Session
from producer.sweep import sending
from producer.sweep.audit import audit
from producer.sweep.enqueue import Enqueued, NotConfirmed, difference, enqueue, merged
from producer.sweep.hold import cancel, find_hold, pause, resume
from producer.sweep.lifecycle import delete
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
)
from worker.contract import names
from worker.contract.errors import InputError, StorageUnavailable
from worker.contract.plan import Plan, resolve
from worker.contract.through import QueueThrough


@pytest.fixture(autouse=True)
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs a record, so that five jobs make three."""
    monkeypatch.setattr(sending, "JOBS_PER_RECORD", 2)


FIVE = plan_of()
SEVEN = plan_of(seeds="[0, 1, 2, 3, 4, 5, 6]")


def yes(_: str) -> bool:
    return True


def no(_: str) -> bool:
    return False


def send(session: Session, plan: Plan = FIVE, *, update: bool = False) -> Enqueued:
    return enqueue(session, plan, yes, update=update)


# ---- what it does --------------------------------------------------------------------------------------------------


def test_every_job_is_planned_and_sent_once() -> None:
    storage = Storage()
    found = send(storage.session())
    assert (found.jobs, found.added, found.sent, found.ended, found.unnamed) == (5, 5, 5, 0, ())
    assert sorted(job.id for job in storage.queued()) == sorted(FIVE.by_id)
    assert tuple(storage.queued()) == jobs_of(storage.plan("s"))


def test_the_plan_is_there_before_the_first_message() -> None:
    storage = Storage()
    gate = Gate()
    seen = []
    original = storage.jobs.send

    def watched(text: str) -> object:
        seen.append(storage.blobs.get(names.SWEEPS, names.plan("s")) is not None)
        return original(text)

    storage.jobs.send = watched  # type: ignore[method-assign, assignment] # the queue's own method, looked over
    send(storage.session(gate=gate))
    assert seen == [True] * 5


def test_what_was_sent_is_recorded_with_its_receipts() -> None:
    storage = Storage()
    send(storage.session())
    records = sending.SentRecords(storage.session(), "s").read().values()
    assert [len(record.messages) for record in records] == [2, 2, 1]
    receipts = {message.message_id: message.pop_receipt for record in records for message in record.messages}
    assert receipts == {entry.id: entry.pop_receipt for entry in storage.jobs._entries.values()}


def test_the_same_file_again_needs_nothing() -> None:
    storage = Storage()
    send(storage.session())
    before = storage.blob_names("s")
    found = send(storage.session())
    assert (found.added, found.sent) == (0, 0)
    assert storage.blob_names("s") == before


def test_the_plan_says_who_enqueued_it() -> None:
    storage = Storage()
    send(storage.session("ada"))
    send(storage.session("bob"))
    assert storage.plan("s").enqueued_by == "ada"


@pytest.mark.parametrize("status", ["done", "failed", "poisoned", "cancelled"])
def test_a_job_that_has_ended_is_not_sent(status: str) -> None:
    storage = Storage()
    first = jobs_of(FIVE)[0]
    storage.put_status(first, status)
    found = send(storage.session())
    assert (found.sent, found.ended) == (4, 1)
    assert first.id not in storage.queued_ids()


def test_a_job_that_a_worker_has_is_not_sent_though_nobody_recorded_its_message() -> None:
    storage = Storage()
    jobs = jobs_of(FIVE)
    storage.put_status(jobs[0], "running")
    assert send(storage.session()).sent == 4


# ---- another plan --------------------------------------------------------------------------------------------------


def test_another_plan_under_the_same_name_names_both_ways_out_and_changes_nothing() -> None:
    storage = Storage()
    send(storage.session())
    with pytest.raises(InputError, match=r'name: "s" .*2 jobs of this file are not in it.*--update.*another name:'):
        send(storage.session(), SEVEN)
    assert storage.plan("s").jobs == FIVE.jobs
    assert storage.jobs.count() == 5


def test_update_adds_and_takes_nothing_away() -> None:
    storage = Storage()
    send(storage.session(), SEVEN)
    other = plan_of("fixed: {tau: 0.1}\n", seeds="[0, 9]")
    found = send(storage.session(), other, update=True)
    assert (found.jobs, found.added, found.sent) == (9, 2, 2)
    assert found.unnamed == tuple(one.id for one in SEVEN.jobs)
    assert [job.id for job in jobs_of(storage.plan("s"))] == [one.id for one in (*SEVEN.jobs, *other.jobs)]


def test_a_file_with_fewer_jobs_lists_the_others_and_they_stay() -> None:
    storage = Storage()
    send(storage.session(), SEVEN)
    found = send(storage.session(), FIVE)
    assert found.unnamed == tuple(one.id for one in SEVEN.jobs[5:])
    assert storage.plan("s").jobs == SEVEN.jobs


def test_more_seeds_join_the_set_that_is_there() -> None:
    storage = Storage()
    send(storage.session())
    send(storage.session(), SEVEN, update=True)
    assert len(storage.plan("s").sets) == 1
    assert storage.plan("s").jobs == SEVEN.jobs


def test_jobs_of_a_file_with_other_settings_are_planned_as_that_file_has_them() -> None:
    storage = Storage()
    send(storage.session(), plan_of("search: {method: grid}\nspace: {tau: {choices: [0.1]}}\n"))
    other = plan_of(
        "search: {method: grid}\nspace: {tau: {choices: [0.1, 0.2]}, env.kwargs.g: {choices: [5]}}\n"
        "fixed: {gamma: 0.9, policy_kwargs: {net_arch: [8]}}\nevaluation: {every: 500}\n"
    )
    send(storage.session(), other, update=True)
    stored = storage.plan("s")
    assert {job.id: job.configuration for job in jobs_of(stored)}.items() >= {
        job.id: job.configuration for job in jobs_of(other)
    }.items()
    assert dict(stored.sets[2].differs) == {
        "tau": 0.2,
        "env.kwargs.g": 5.0,
        "env.kwargs": {"g": 5.0},
        "gamma": 0.9,
        "policy_kwargs.net_arch": [8],
        "evaluation.every": 500,
    }


def test_a_difference_leads_back_to_the_configuration() -> None:
    one = plan_of("fixed: {tau: 0.1}\n").common
    other = plan_of("fixed: {gamma: 0.9, policy_kwargs: {activation_fn: tanh}}\nevaluation: {episodes: 3}\n").common
    assert resolve(one, difference(one, other)) == other
    assert difference(one, one) == {}


def test_somebody_elses_sweep_is_changed_only_after_asking() -> None:
    storage = Storage()
    send(storage.session("ada"))
    asked = []

    def refuse(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.raises(NotConfirmed):
        enqueue(storage.session("bob"), SEVEN, refuse, update=True)
    assert asked == ["s was enqueued by ada. Change it (2 jobs are added)?"]
    assert storage.plan("s").jobs == FIVE.jobs
    assert enqueue(storage.session("ada"), SEVEN, no, update=True).added == 2
    assert enqueue(storage.session("bob"), SEVEN, no).added == 0


def test_a_sweep_never_grows_beyond_ten_thousand_jobs() -> None:
    stored = plan_of(seeds="9_999")
    with pytest.raises(InputError, match="2 more would be above 10,000"):
        merged(stored, plan_of(seeds="[20_000, 20_001]"), update=True)


def test_a_sweep_that_is_being_deleted_takes_nothing() -> None:
    storage = Storage()
    tombstone = FIVE.model_copy(update={"deleted": True})
    storage.blobs.put(names.SWEEPS, names.plan("s"), tombstone.canonical())
    with pytest.raises(InputError, match=r"being deleted.*tranquility delete s.*another name"):
        send(storage.session())
    assert storage.jobs.count() == 0


def test_a_sweep_on_hold_is_planned_and_not_sent_and_that_is_said() -> None:
    storage = Storage()
    send(storage.session())
    pause(storage.session(), "s")
    found = send(storage.session(), SEVEN, update=True)
    assert (found.added, found.sent) == (2, 0)
    assert found.hold is not None
    assert found.hold.kind == "paused"
    assert resume(storage.session(), "s").sent == 7


# ---- budget --------------------------------------------------------------------------------------------------------


def test_a_new_budget_needs_no_update_and_changes_no_job() -> None:
    storage = Storage()
    send(storage.session(), plan_of("budget_usd: 3\n"))
    assert send(storage.session(), plan_of("budget_usd: 4\n")).sent == 0
    assert storage.plan("s").budget_usd == 4
    assert storage.plan("s").jobs == FIVE.jobs


# ---- killed, and not alone -----------------------------------------------------------------------------------------


def enqueued() -> Storage:
    storage = Storage()
    send(storage.session())
    return storage


def whole(storage: Storage, plan: Plan) -> None:
    """Every job can still end: it is planned, and its message is there."""
    assert storage.plan("s").by_id.keys() == plan.by_id.keys()
    assert storage.queued_ids() == set(plan.by_id)


@pytest.mark.parametrize(("at", "after"), every_moment(Storage, send))
def test_a_kill_at_any_request_is_mended_by_the_same_command(at: int, after: bool) -> None:
    storage = Storage()
    with pytest.raises(Killed):
        send(storage.session("ada", Gate(at, after, kill)))
    send(storage.session())
    whole(storage, FIVE)
    assert storage.jobs.count() <= 5 + 2  # at most what was sent and not yet recorded goes out twice
    assert send(storage.session()).sent == 0


UPDATE: Callable[[Session], object] = lambda session: send(session, SEVEN, update=True)  # noqa: E731


@pytest.mark.parametrize(("at", "after"), every_moment(enqueued, UPDATE))
def test_a_kill_at_any_request_of_an_update_is_mended_too(at: int, after: bool) -> None:
    storage = enqueued()
    with pytest.raises(Killed):
        UPDATE(storage.session("ada", Gate(at, after, kill)))
    UPDATE(storage.session())
    whole(storage, SEVEN)
    assert storage.jobs.count() <= 7 + 2


@pytest.mark.parametrize(("at", "after"), every_moment(Storage, send))
def test_a_kill_that_nobody_mends_is_mended_by_the_audit(at: int, after: bool) -> None:
    storage = Storage()
    with pytest.raises(Killed):
        send(storage.session("ada", Gate(at, after, kill)))
    planned = storage.blobs.get(names.SWEEPS, names.plan("s")) is not None
    while message := storage.jobs.receive(60):  # these were trained meanwhile
        job = next(job for job in storage.queued() if job.encode() == message.text)
        storage.jobs.delete(message.receipt)
        storage.put_status(job, "done")
    audit(storage.session())
    ended = storage.statuses("s").keys()
    assert not planned or storage.queued_ids() | ended == set(FIVE.by_id)
    assert not storage.queued_ids() & ended


@pytest.mark.parametrize(("at", "after"), every_moment(Storage, send))
def test_two_laptops_at_once_plan_once_and_lose_nothing(at: int, after: bool) -> None:
    storage = Storage()
    other = Gate(at, after, lambda: send(storage.session("bob")))
    send(storage.session("ada", other))
    whole(storage, FIVE)
    assert storage.jobs.count() <= 5 + 2


def test_a_second_laptop_begins_at_the_other_end() -> None:
    first_send = 0
    storage = Storage()
    while not storage.queued():
        storage, first_send = Storage(), first_send + 1
        with pytest.raises(Killed):
            send(storage.session("ada", Gate(first_send, after=True, event=kill)))
    send(storage.session("bob"))
    assert [job.id for job in storage.queued()[:2]] == [FIVE.jobs[0].id, FIVE.jobs[-1].id]


@pytest.mark.parametrize(("at", "after"), every_moment(Storage, send))
def test_two_files_of_the_same_name_at_once_leave_one_plan(at: int, after: bool) -> None:
    """Whoever comes second is told so, whichever that is, and every planned job is sent."""
    storage = Storage()
    refused = []

    def other() -> None:
        try:
            send(storage.session("bob"), SEVEN)
        except InputError as error:
            refused.append(error)

    try:
        send(storage.session("ada", Gate(at, after, other)))
    except InputError as error:  # not raised where the other file is the one refused, or holds all of this one's jobs
        refused.append(error)
    assert len(refused) <= 1
    plan = storage.plan("s")
    assert plan.by_id.keys() in (FIVE.by_id.keys(), SEVEN.by_id.keys())
    assert storage.queued_ids() == set(plan.by_id)


@pytest.mark.parametrize(("at", "after"), every_moment(enqueued, UPDATE))
def test_two_updates_at_once_add_what_both_want(at: int, after: bool) -> None:
    storage = enqueued()
    others = plan_of("fixed: {tau: 0.1}\n", seeds="[0, 1]")
    gate = Gate(at, after, lambda: send(storage.session("ada"), others, update=True))
    UPDATE(storage.session("ada", gate))
    assert storage.plan("s").by_id.keys() == SEVEN.by_id.keys() | others.by_id.keys()
    assert storage.queued_ids() == SEVEN.by_id.keys() | others.by_id.keys()


@pytest.mark.parametrize(("at", "after"), every_moment(Storage, send))
def test_a_cancel_while_it_sends_leaves_no_job_to_run(at: int, after: bool) -> None:
    storage = Storage()

    def cancelling() -> None:
        if storage.blobs.get(names.SWEEPS, names.plan("s")) is not None:
            cancel(storage.session("bob"), "s")

    found = send(storage.session("ada", Gate(at, after, cancelling)))
    if storage.statuses("s"):
        assert set(storage.statuses("s").values()) == {"cancelled"}
        assert storage.jobs.count() <= 2  # a worker deletes these: their jobs have ended
        assert found.sent <= 5


@pytest.mark.parametrize(("at", "after"), every_moment(Storage, send))
def test_a_pause_and_a_resume_while_it_sends_lose_nothing(at: int, after: bool) -> None:
    storage = Storage()

    def pausing() -> None:
        if storage.blobs.get(names.SWEEPS, names.plan("s")) is not None:
            pause(storage.session("bob"), "s")
            while message := storage.jobs.receive(60):  # a worker sees the hold, and deletes what it receives
                storage.jobs.delete(message.receipt)
            resume(storage.session("bob"), "s")

    send(storage.session("ada", Gate(at, after, pausing)))
    if storage.jobs.count() == 0:
        audit(storage.session())
    assert storage.queued_ids() == set(FIVE.by_id)


@pytest.mark.parametrize(("at", "after"), every_moment(Storage, send))
def test_what_is_recorded_under_a_pause_is_sent_by_the_resume(at: int, after: bool) -> None:
    storage = Storage()

    def pausing() -> None:
        if storage.blobs.get(names.SWEEPS, names.plan("s")) is not None:
            pause(storage.session("bob"), "s")

    send(storage.session("ada", Gate(at, after, pausing)))
    if find_hold(storage.session(), "s") is not None:
        receive_all(storage)  # workers delete what they receive
        resume(storage.session("bob"), "s")
    assert storage.queued_ids() == set(FIVE.by_id)


def all_done() -> Storage:
    storage = enqueued()
    receive_all(storage)
    commit_all(storage, "s")
    audit(storage.session())
    return storage


@pytest.mark.parametrize(("at", "after"), every_moment(all_done, UPDATE))
def test_a_killed_update_of_a_finished_sweep_that_nobody_mends_is_mended_by_the_audit(at: int, after: bool) -> None:
    storage = all_done()
    with pytest.raises(Killed):
        UPDATE(storage.session("ada", Gate(at, after, kill)))
    added = storage.plan("s").by_id.keys() - FIVE.by_id.keys()
    for entry in list(storage.jobs._entries.values()):
        storage.forget_message(entry.id, visible=False)
    audit(storage.session())
    assert storage.queued_ids() == added


def unavailable() -> None:
    raise StorageUnavailable("503")


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("after", [False, True])
def test_what_went_out_before_an_error_is_recorded_and_not_sent_again(at: int, after: bool) -> None:
    storage = Storage()
    queue = QueueThrough(storage.jobs, Gate(at, after, unavailable).through)
    with pytest.raises(StorageUnavailable):
        send(replace(storage.session(), jobs=queue))
    send(storage.session())
    whole(storage, FIVE)
    assert storage.jobs.count() == 5 + after  # only of the one whose answer was lost nobody knows


def test_after_a_delete_the_name_is_free() -> None:
    storage = enqueued()
    cancel(storage.session(), "s")
    delete(storage.session(), "s")
    assert send(storage.session(), SEVEN).sent == 7
