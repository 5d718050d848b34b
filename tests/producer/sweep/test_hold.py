"""Cancel, pause and resume: one mechanism, safe against workers that run, and against being killed."""

from collections.abc import Callable

import pytest

from producer.session import Session
from producer.sweep import sending
from producer.sweep.audit import audit
from producer.sweep.enqueue import enqueue
from producer.sweep.hold import cancel, find_hold, pause, resume
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
from worker import decisions, fence
from worker.contract import names
from worker.contract.control import Hold, write_hold
from worker.contract.errors import InputError, OwnershipLost
from worker.contract.settings import Durations

PLAN = plan_of(seeds="[0, 1, 2, 3]")
JOBS = [planned.id for planned in PLAN.jobs]
V_S = Durations().visibility_timeout_s


@pytest.fixture(autouse=True)
def small_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two jobs a record."""
    monkeypatch.setattr(sending, "JOBS_PER_RECORD", 2)


def enqueued() -> Storage:
    storage = Storage()
    enqueue(storage.session(), PLAN, lambda _: True)
    return storage


def one_runs() -> Storage:
    """Return a sweep whose first job a worker has."""
    storage = enqueued()
    assert receive(storage) == decisions.Claim()
    return storage


def in_all_states() -> Storage:
    """Return a sweep with a done, a running, a released and a waiting job."""
    storage = enqueued()
    receive_all(storage)
    jobs = jobs_of(PLAN)
    storage.put_status(jobs[0], "done")
    storage.put_status(jobs[2], "released")
    storage.blobs.delete(names.SWEEPS, names.manifest("s", JOBS[3]))
    for entry in list(storage.jobs._entries.values()):
        waiting = JOBS[3] in entry.text
        if JOBS[1] not in entry.text:
            storage.forget_message(entry.id, visible=waiting)
    return storage


# ---- cancel --------------------------------------------------------------------------------------------------------


def test_a_cancelled_sweep_has_ended_in_every_job_and_leaves_no_message() -> None:
    storage = enqueued()
    found = cancel(storage.session(), "s")
    assert (found.cancelled, found.stopping, found.ended) == (4, (), 0)
    assert storage.statuses("s") == dict.fromkeys(JOBS, "cancelled")
    assert storage.jobs.count() == 0
    assert is_marked_complete(storage.blobs, "s")


def test_a_cancel_says_who_did_it() -> None:
    storage = enqueued()
    cancel(storage.session("bob"), "s")
    manifest = storage.manifest("s", JOBS[0])
    assert manifest is not None
    assert manifest.outcome.reason == "cancelled by bob"


def test_a_running_job_is_left_to_its_worker() -> None:
    storage = one_runs()
    found = cancel(storage.session(), "s")
    assert (found.cancelled, found.stopping) == (3, (JOBS[0],))
    assert not is_marked_complete(storage.blobs, "s")
    commit_all(storage, "s")
    assert storage.statuses("s") == dict.fromkeys(JOBS, "cancelled")
    assert cancel(storage.session(), "s").ended == 4
    assert is_marked_complete(storage.blobs, "s")


def test_a_holder_that_fell_silent_is_fenced_and_can_publish_nothing() -> None:
    storage = one_runs()
    seen = fence.read_manifest(storage.blobs, "s", JOBS[0])
    assert seen is not None
    holder = fence.Fence(storage.blobs, storage.session().runtime, seen.manifest, seen.etag)
    storage.now_s += V_S
    assert cancel(storage.session(), "s").stopping == ()
    after = storage.manifest("s", JOBS[0])
    assert after is not None
    assert (after.status, after.epoch, after.attempts[-1].ended) == ("cancelled", 2, "vanished")
    with pytest.raises(OwnershipLost):
        holder.write(lambda manifest: manifest)


def test_what_is_done_stays_done() -> None:
    storage = in_all_states()
    cancel(storage.session(), "s")
    commit_all(storage, "s")
    assert storage.statuses("s") == {JOBS[0]: "done"} | dict.fromkeys(JOBS[1:], "cancelled")


def test_a_sweep_that_has_ended_cannot_be_cancelled_and_gets_no_hold() -> None:
    storage = enqueued()
    for job in jobs_of(PLAN):
        storage.put_status(job, "done")
    assert cancel(storage.session(), "s").ended == 4
    assert find_hold(storage.session(), "s") is None


def test_some_jobs_are_cancelled_and_the_others_go_on() -> None:
    storage = enqueued()
    assert cancel(storage.session(), "s", JOBS[:2]).cancelled == 2
    assert find_hold(storage.session(), "s") is None
    assert storage.queued_ids() == set(JOBS[2:])
    receive_all(storage)
    commit_all(storage, "s")
    assert storage.statuses("s") == dict.fromkeys(JOBS[:2], "cancelled") | dict.fromkeys(JOBS[2:], "done")


def test_a_single_running_job_is_told_by_a_hold_of_its_own_that_goes_when_it_has_ended() -> None:
    storage = one_runs()
    assert cancel(storage.session(), "s", JOBS[:1]).stopping == (JOBS[0],)
    found = find_hold(storage.session(), "s")
    assert found is not None
    assert found.hold.jobs == (JOBS[0],)
    receive_all(storage)
    commit_all(storage, "s")
    assert storage.statuses("s") == {JOBS[0]: "cancelled"} | dict.fromkeys(JOBS[1:], "done")
    audit(storage.session())
    assert find_hold(storage.session(), "s") is None
    assert is_marked_complete(storage.blobs, "s")


def test_more_single_jobs_join_the_hold_that_stands() -> None:
    storage = enqueued()
    receive_all(storage)
    cancel(storage.session(), "s", JOBS[:1])
    cancel(storage.session(), "s", JOBS[1:2])
    found = find_hold(storage.session(), "s")
    assert found is not None
    assert set(found.hold.jobs) == set(JOBS[:2])


def test_a_cancelled_job_whose_worker_died_is_ended_by_the_audit() -> None:
    storage = one_runs()
    cancel(storage.session(), "s")
    storage.now_s += V_S
    receive_all(storage, "vm2/0")
    assert storage.jobs.count() == 0
    audit(storage.session())
    assert storage.statuses("s") == dict.fromkeys(JOBS, "cancelled")
    assert is_marked_complete(storage.blobs, "s")


def test_a_sweep_that_is_not_there_is_named_with_the_one_that_is() -> None:
    with pytest.raises(InputError, match=r"There is no sweep 't'\. Sweeps here: s"):
        cancel(enqueued().session(), "t")


# ---- pause and resume ----------------------------------------------------------------------------------------------


def test_a_paused_sweep_starts_nothing_and_empties_the_queue() -> None:
    storage = one_runs()
    found = pause(storage.session(), "s")
    assert (found.hold.kind, found.running) == ("paused", 1)
    commit_all(storage, "s")
    receive_all(storage, "vm2/0")
    assert storage.jobs.count() == 0
    assert storage.statuses("s") == {JOBS[0]: "released"}


def test_a_resumed_sweep_ends_every_job() -> None:
    storage = in_all_states()
    pause(storage.session(), "s")
    commit_all(storage, "s")
    receive_all(storage)
    found = resume(storage.session(), "s")
    assert (found.lifted, found.sent) == (True, 3)
    receive_all(storage)
    commit_all(storage, "s")
    assert storage.statuses("s") == dict.fromkeys(JOBS, "done")


def test_a_job_that_ran_on_through_a_short_pause_gets_a_message_again() -> None:
    """Whoever received its message under the pause has deleted it."""
    storage = one_runs()
    pause(storage.session(), "s")
    storage.now_s += V_S / 2
    message = storage.manifest("s", JOBS[0])
    assert message is not None
    storage.forget_message(message.message_id, visible=False)
    resume(storage.session(), "s")
    assert storage.queued_ids() == set(JOBS)


def test_an_audit_leaves_a_paused_sweep_alone() -> None:
    storage = enqueued()
    pause(storage.session(), "s")
    report = audit(storage.session())
    assert (report.resent, report.held) == (0, ("s",))


def test_pausing_and_resuming_twice_changes_nothing() -> None:
    storage = enqueued()
    first = pause(storage.session(), "s")
    assert not sending.SentRecords(storage.session(), "s").read()  # nothing is left to withdraw
    assert pause(storage.session("bob"), "s") == first
    resume(storage.session(), "s")
    assert resume(storage.session(), "s").sent == 0
    assert storage.jobs.count() == 4


@pytest.mark.parametrize("command", [pause, resume])
def test_a_cancelled_sweep_is_run_again_only_by_retry(command: Callable[[Session, str], object]) -> None:
    storage = enqueued()
    cancel(storage.session(), "s")
    with pytest.raises(InputError, match=r"nothing to stop|tranquility retry s --cancelled"):
        command(storage.session(), "s")
    assert storage.jobs.count() == 0


def test_a_sweep_that_is_being_cancelled_cannot_be_paused() -> None:
    storage = one_runs()
    cancel(storage.session(), "s")
    with pytest.raises(InputError, match="tranquility retry s --cancelled"):
        pause(storage.session(), "s")


def test_a_sweep_out_of_budget_goes_on_by_its_budget_alone() -> None:
    storage = enqueued()
    write_hold(storage.blobs, "s", Hold(kind="budget", reason="3.01 $ of 3 $ spent"))
    with pytest.raises(InputError, match=r"3.01 \$ of 3 \$ spent.*raise budget_usd"):
        resume(storage.session(), "s")
    assert pause(storage.session(), "s").hold.kind == "budget"


def test_a_paused_sweep_can_be_cancelled() -> None:
    storage = one_runs()
    pause(storage.session(), "s")
    assert cancel(storage.session(), "s").stopping == (JOBS[0],)
    commit_all(storage, "s")
    assert storage.statuses("s") == dict.fromkeys(JOBS, "cancelled")


def test_single_jobs_of_a_paused_sweep_can_be_cancelled() -> None:
    storage = enqueued()
    pause(storage.session(), "s")
    cancel(storage.session(), "s", JOBS[:1])
    assert resume(storage.session(), "s").sent == 3
    assert storage.statuses("s") == {JOBS[0]: "cancelled"}


def test_a_pause_waits_for_single_jobs_that_are_being_cancelled() -> None:
    """One hold at a time: a pause written over it would let them run again."""
    storage = one_runs()
    cancel(storage.session(), "s", JOBS[:1])
    with pytest.raises(InputError, match="1 cancelled job is still stopping in s: try again in a minute"):
        pause(storage.session(), "s")
    commit_all(storage, "s")
    assert pause(storage.session(), "s").hold.kind == "paused"
    resume(storage.session(), "s")
    assert storage.statuses("s") == {JOBS[0]: "cancelled"}
    assert storage.queued_ids() == set(JOBS[1:])


# ---- killed, and not alone -----------------------------------------------------------------------------------------

COMMANDS: dict[str, tuple[Callable[[], Storage], Callable[[Session], object]]] = {}


def paused() -> Storage:
    storage = in_all_states()
    pause(storage.session(), "s")
    commit_all(storage, "s")
    receive_all(storage)
    return storage


COMMANDS["cancel"] = (in_all_states, lambda session: cancel(session, "s"))
COMMANDS["cancel some"] = (in_all_states, lambda session: cancel(session, "s", JOBS[1:3]))
COMMANDS["pause"] = (in_all_states, lambda session: pause(session, "s"))
COMMANDS["resume"] = (paused, lambda session: resume(session, "s"))

MOMENTS = [
    pytest.param(name, at, after, id=f"{name} {'after' if after else 'before'} {at}")
    for name, (make, run) in COMMANDS.items()
    for at, after in every_moment(make, run)
]


def picture(storage: Storage) -> tuple[object, ...]:
    """Return what matters of a sweep: states, hold, messages, and whether it is complete."""
    found = find_hold(storage.session(), "s")
    return (
        storage.statuses("s"),
        found.hold if found else None,
        storage.queued_ids(),
        is_marked_complete(storage.blobs, "s"),
    )


@pytest.mark.parametrize(("name", "at", "after"), MOMENTS)
def test_a_kill_at_any_request_is_mended_by_the_same_command(name: str, at: int, after: bool) -> None:
    make, run = COMMANDS[name]
    straight, storage = make(), make()
    run(straight.session())
    with pytest.raises(Killed):
        run(storage.session("ada", Gate(at, after, kill)))
    run(storage.session())
    assert picture(storage) == picture(straight)


@pytest.mark.parametrize(("at", "after"), every_moment(enqueued, lambda session: cancel(session, "s")))
def test_workers_that_claim_during_a_cancel_cannot_keep_a_job_alive(at: int, after: bool) -> None:
    storage = enqueued()
    found = cancel(storage.session("ada", Gate(at, after, lambda: receive_all(storage))), "s")
    running = {job for job, status in storage.statuses("s").items() if status == "running"}
    assert running == set(found.stopping)
    commit_all(storage, "s")
    receive_all(storage)
    cancel(storage.session(), "s")
    assert storage.statuses("s") == dict.fromkeys(JOBS, "cancelled")
    assert storage.jobs.count() == 0
    assert is_marked_complete(storage.blobs, "s")


@pytest.mark.parametrize(("at", "after"), every_moment(in_all_states, lambda session: cancel(session, "s", JOBS)))
def test_a_job_that_is_claimed_and_ends_during_a_cancel_keeps_its_result(at: int, after: bool) -> None:
    storage = in_all_states()
    results: list[str] = []

    def work() -> None:
        receive_all(storage)
        commit_all(storage, "s")
        results.extend(job for job, status in storage.statuses("s").items() if status == "done")

    cancel(storage.session("ada", Gate(at, after, work)), "s", JOBS)
    assert {storage.statuses("s")[job] for job in results} == {"done"}


@pytest.mark.parametrize(("at", "after"), every_moment(paused, lambda session: resume(session, "s")))
def test_a_cancel_during_a_resume_is_not_lifted(at: int, after: bool) -> None:
    storage = paused()
    try:
        resume(storage.session("ada", Gate(at, after, lambda: cancel(storage.session("bob"), "s"))), "s")
    except InputError as error:
        assert "is cancelled" in str(error)  # noqa: PT017 - raised only where the cancel came first
    found = find_hold(storage.session(), "s")
    assert found is not None
    assert found.cancels_all
    receive_all(storage)
    assert storage.statuses("s") == {JOBS[0]: "done"} | dict.fromkeys(JOBS[1:], "cancelled")


@pytest.mark.parametrize(("at", "after"), every_moment(one_runs, lambda session: cancel(session, "s", JOBS)))
def test_a_job_that_ends_during_a_cancel_keeps_its_result(at: int, after: bool) -> None:
    storage = one_runs()
    cancel(storage.session("ada", Gate(at, after, lambda: commit_all(storage, "s"))), "s", JOBS)
    commit_all(storage, "s")
    assert storage.statuses("s")[JOBS[0]] in {"done", "cancelled"}
    assert {storage.statuses("s")[job] for job in JOBS[1:]} == {"cancelled"}


@pytest.mark.parametrize(("at", "after"), every_moment(paused, lambda session: resume(session, "s")))
def test_workers_that_receive_during_a_resume_lose_no_job(at: int, after: bool) -> None:
    storage = paused()
    resume(storage.session("ada", Gate(at, after, lambda: receive_all(storage))), "s")
    for _ in range(2):
        receive_all(storage)
        commit_all(storage, "s")
        if storage.jobs.count() == 0:
            audit(storage.session())
    assert storage.statuses("s") == dict.fromkeys(JOBS, "done")


@pytest.mark.parametrize(("at", "after"), every_moment(in_all_states, lambda session: pause(session, "s")))
def test_a_cancel_during_a_pause_wins(at: int, after: bool) -> None:
    storage = in_all_states()
    try:
        pause(storage.session("ada", Gate(at, after, lambda: cancel(storage.session("bob"), "s"))), "s")
    except InputError as error:
        assert "cancelled" in str(error)  # noqa: PT017 - raised only where the cancel came first
    commit_all(storage, "s")
    receive_all(storage)
    cancel(storage.session(), "s")
    assert storage.statuses("s") == {JOBS[0]: "done"} | dict.fromkeys(JOBS[1:], "cancelled")


@pytest.mark.parametrize("command", [cancel, pause, resume])
def test_a_hold_of_a_newer_release_is_wrong_input_for_this_one(command: Callable[[Session, str], object]) -> None:
    storage = enqueued()
    storage.blobs.put(names.SWEEPS, names.hold("s"), b'{"kind": "expired"}')
    with pytest.raises(InputError, match=r"The hold of s cannot be read by this release\. Take a newer one\."):
        command(storage.session(), "s")
