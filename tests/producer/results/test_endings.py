"""Claims about what is said of jobs that ended without a result."""

from producer.results.endings import bad_endings, cancelled
from producer.results.progress import JobProgress, State, SweepProgress
from tests.fakes.sweeps import make_plan

PLAN = make_plan([{"tau": 0.01}], seeds=[0, 1, 2])
FIRST = PLAN.jobs[0].id[:6]


def sweep(*endings: tuple[State, str]) -> SweepProgress:
    jobs = (
        JobProgress(planned.id, 0, planned.seed, 1_000, state, reason=reason)
        for planned, (state, reason) in zip(PLAN.jobs, endings, strict=True)
    )
    return SweepProgress(PLAN, tuple(jobs))


def test_failed_and_poisoned_jobs_have_a_sentence_each_with_the_way_on() -> None:
    found = sweep(("failed", "diverged: NaN."), ("failed", "diverged: inf."), ("poisoned", "3 failures: SIGSEGV"))
    failed, poisoned = bad_endings(found)
    assert failed == (
        f"2 jobs failed (diverged: NaN; and 1 other reason). tranquility logs lunar/{FIRST} shows more; "
        "tranquility retry lunar runs them again."
    )
    assert poisoned == (
        f"1 job poisoned (3 failures: SIGSEGV). tranquility logs lunar/{PLAN.jobs[2].id[:6]} shows more; "
        "tranquility retry lunar runs it again."
    )


def test_the_same_reason_is_said_once_and_none_is_said_to_be_none() -> None:
    found = sweep(("failed", ""), ("failed", ""), ("done", ""))
    (said,) = bad_endings(found)
    assert said.startswith("2 jobs failed (no reason given). ")


def test_cancelled_jobs_are_no_trouble_and_have_a_sentence_of_their_own() -> None:
    found = sweep(("cancelled", "cancelled by ann"), ("cancelled", "cancelled by ann"), ("done", ""))
    assert list(bad_endings(found)) == []
    assert list(cancelled(found)) == [
        "2 jobs cancelled (cancelled by ann). tranquility retry lunar --cancelled brings them back."
    ]


def test_where_all_is_well_nothing_is_said() -> None:
    found = sweep(("done", ""), ("running", ""), ("waiting", ""))
    assert [*bad_endings(found), *cancelled(found)] == []
