"""Which jobs need a message: a table of what a job's plan, manifest, records and hold say together."""

import pytest

from producer.sweep.plans import JobStatus
from producer.sweep.sending import JOBS_PER_RECORD, SentMessage, SentRecord, due_jobs, send
from tests.fakes.producing import Storage, plan_of
from worker.contract import names
from worker.contract.control import Hold

PLAN = plan_of(seeds="[0]")
JOB = PLAN.jobs[0].id
V_S = 120.0


@pytest.mark.parametrize(
    ("status", "epoch", "age_s", "sent", "due"),
    [
        # never claimed
        (None, 0, 0.0, None, True),
        (None, 0, 0.0, 0, False),
        # ended
        ("done", 3, 0.0, None, False),
        ("failed", 3, 0.0, 0, False),
        ("poisoned", 3, 1e6, None, False),
        ("cancelled", 1, 0.0, None, False),
        # a worker has it, or had it
        ("running", 1, 10.0, None, False),
        ("running", 1, V_S, None, True),
        ("running", 1, V_S, 0, False),
        ("released", 1, 10.0, None, True),
        ("released", 1, 10.0, 0, False),
        # retried: what was sent before does not count
        ("planned", 4, 10.0, None, True),
        ("planned", 4, 10.0, 0, True),
        ("planned", 4, 10.0, 3, True),
        ("planned", 4, 10.0, 4, False),
        # of a release that we do not know
        ("", 0, 10.0, None, True),
    ],
)
def test_a_job_is_due_where_nothing_says_that_it_has_a_message(
    status: str | None, epoch: int, age_s: float, sent: int | None, due: bool
) -> None:
    statuses = {JOB: JobStatus(status, epoch, age_s)} if status is not None else {}
    records = {JOB: sent} if sent is not None else {}
    found = due_jobs(PLAN, statuses, records, None, held_for_s=V_S)
    assert [(one.planned.id, one.epoch) for one in found] == ([(JOB, epoch)] if due else [])


@pytest.mark.parametrize(
    ("hold", "due"),
    [
        (Hold(kind="paused"), False),
        (Hold(kind="budget"), False),
        (Hold(kind="cancelled"), False),
        (Hold(kind="cancelled", jobs=(JOB,)), False),
        (Hold(kind="cancelled", jobs=("0" * 16,)), True),
    ],
)
def test_a_job_on_hold_is_not_due(hold: Hold, due: bool) -> None:
    assert bool(due_jobs(PLAN, {}, {}, hold, held_for_s=V_S)) == due


def test_after_a_hold_a_running_job_is_due() -> None:
    assert due_jobs(PLAN, {JOB: JobStatus("running", 1, 0.0)}, {}, None, held_for_s=0.0)


def test_ten_thousand_jobs_make_twenty_records() -> None:
    plan = plan_of(seeds="10_000")
    storage = Storage()
    told: list[tuple[int, int]] = []
    due = due_jobs(plan, {}, {}, None, held_for_s=V_S)
    assert send(storage.session(), plan, due, progress=lambda *count: told.append(count)) == 10_000
    assert storage.jobs.count() == 10_000
    assert len(list(storage.blobs.list(names.SWEEPS, names.sent("s", "")))) == 10_000 / JOBS_PER_RECORD
    assert told[-1] == (10_000, 10_000)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_full_record_is_far_smaller_than_a_plan_may_be() -> None:
    message = SentMessage(job=JOB, epoch=0, message_id="x" * 36, pop_receipt="x" * 24)
    assert len(SentRecord(messages=(message,) * JOBS_PER_RECORD).canonical()) < 100_000
