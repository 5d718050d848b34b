"""What follows from what: the decisions of rules 4, 6, 7 and 8, and the manifests that follow from one another."""

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.manifests import NONCE, OTHER_NONCE, claim, generation
from tests.fakes.trainer import tiny_job
from worker import decisions
from worker.contract.base import STATE_VERSION
from worker.contract.control import Hold
from worker.contract.endings import PROCESS_DIED, VM_SILENT
from worker.contract.manifest import (
    KEPT_ATTEMPTS,
    Counts,
    Ended,
    Generation,
    Manifest,
    Outcome,
    PartialEvaluation,
)
from worker.decisions import IN_ORDER, Bury, Claim, Decision, Discard, End, Hide, Progress, Seen

V = 120.0
CANCELLED, PAUSED, BUDGET = (
    Hold(kind="cancelled", reason="by ada"),
    Hold(kind="paused"),
    Hold(kind="budget", reason="USD 5"),
)


def decide(seen: Seen | None, message: str = "m1", **more: Any) -> Decision:
    asked: dict[str, Any] = {"planned": True, "hold": None, "worker": "vm2/0", "visibility_timeout_s": V}
    return decisions.on_message(message, seen, **(asked | more))


def seen(age_s: float = 0.0, **update: Any) -> Seen:
    return Seen(claim().model_copy(update=update), "e", age_s)


def progress(reached: int = 0, seconds: float = 0.0, evaluation: PartialEvaluation | None = None) -> Progress:
    return Progress(reached, seconds, 1.0, None, evaluation)


# ---- a message whose job has no manifest ---------------------------------------------------------------------------


def test_a_planned_job_without_a_manifest_is_claimed() -> None:
    assert decide(None) == Claim()


@pytest.mark.parametrize("hold", [None, CANCELLED, PAUSED])
def test_what_no_plan_names_is_discarded(hold: Hold | None) -> None:
    assert decide(None, planned=False, hold=hold) == Discard("no plan names this job")


@pytest.mark.parametrize(
    ("hold", "decision"),
    [
        (CANCELLED, End("cancelled", "by ada")),
        (PAUSED, End("released", "the sweep is paused")),
        (BUDGET, End("released", "the sweep is budget")),
    ],
)
@pytest.mark.parametrize(
    "found",
    [None, seen(status="planned"), seen(status="released"), seen(age_s=V), seen(age_s=0.0, worker="vm2/0")],
)
def test_a_hold_ends_or_releases_what_nobody_runs(found: Seen | None, hold: Hold, decision: Decision) -> None:
    """By a write: a silent holder, or a claim that is under way, would else run on without a message."""
    assert decide(found, hold=hold) == decision


# ---- a message whose job has one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["done", "failed", "poisoned", "cancelled"])
@pytest.mark.parametrize("hold", [None, CANCELLED])
def test_another_message_of_an_ended_job_is_discarded(status: str, hold: Hold | None) -> None:
    assert decide(seen(status=status), "m2", hold=hold) == Discard(f"the job is {status}")


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_the_message_of_an_ended_job_is_discarded(status: str) -> None:
    assert decide(seen(status=status)) == Discard(f"the job is {status}")


def test_the_message_of_a_job_that_a_witness_poisoned_is_buried_with_its_reason() -> None:
    assert decide(seen(status="poisoned", outcome=Outcome(reason="killed thrice"))) == Bury("killed thrice")


def test_a_job_that_runs_by_this_message_is_hidden_until_its_holder_would_be_silent() -> None:
    assert decide(seen(age_s=50.0)) == Hide(70.0, "the job runs on vm1/0")


def test_a_job_that_runs_by_another_message_makes_this_one_a_duplicate() -> None:
    assert decide(seen(age_s=50.0), "m2") == Discard("the job runs on vm1/0 by another message")


@pytest.mark.parametrize("hold", [CANCELLED, PAUSED, BUDGET])
def test_the_hold_of_a_job_that_runs_is_its_holders_business(hold: Hold) -> None:
    """Else a hold that is lifted before the holder has seen it leaves the job without a message."""
    for message in ("m1", "m2"):
        assert decide(seen(age_s=50.0), message, hold=hold) == decide(seen(age_s=50.0), message)


@pytest.mark.parametrize("age_s", [V, V + 1, 1e6])
@pytest.mark.parametrize("message", ["m1", "m2"])
def test_a_silent_holder_loses_its_job(age_s: float, message: str) -> None:
    assert decide(seen(age_s=age_s), message) == Claim()


def test_a_holder_is_not_silent_a_moment_before_the_timeout() -> None:
    assert isinstance(decide(seen(age_s=V - 0.001)), Hide)


def test_a_worker_that_started_anew_takes_its_own_job_at_once_by_the_message_that_the_manifest_names() -> None:
    assert decide(seen(age_s=0.0), worker="vm1/0") == Claim()
    assert isinstance(decide(seen(age_s=0.0), "m2", worker="vm1/0"), Discard)


@pytest.mark.parametrize("status", ["released", "planned"])
def test_a_free_job_is_claimed_however_young_its_manifest(status: str) -> None:
    assert decide(seen(status=status)) == Claim()


def test_a_checkpoint_of_a_newer_release_is_left_to_newer_vms() -> None:
    decision = decide(seen(status="released", state_version=STATE_VERSION + 1))
    assert isinstance(decision, Hide)
    assert (decision.seconds, decision.drain) == (V, True)


@pytest.mark.parametrize(("claims", "poisons"), [(0, False), (19, False), (20, True), (25, True)])
def test_the_twentieth_claim_without_progress_is_the_last(claims: int, poisons: bool) -> None:
    decision = decide(seen(status="released", counts=Counts(claims_without_progress=claims)))
    assert isinstance(decision, End if poisons else Claim)


# ---- a claim -------------------------------------------------------------------------------------------------------


def test_a_first_claim_is_of_epoch_1_and_has_lost_nothing() -> None:
    first = claim()
    assert (first.status, first.epoch, first.nonce, first.worker, first.message_id) == (
        "running",
        1,
        NONCE,
        "vm1/0",
        "m1",
    )
    assert (first.attempt_count, first.eviction_count, first.lost_steps) == (1, 0, 0)
    assert first.counts == Counts(claims_without_progress=1)


@pytest.mark.parametrize(("worker", "reason", "evictions"), [("vm2/0", VM_SILENT, 1), ("vm1/0", PROCESS_DIED, 0)])
def test_a_claim_over_a_running_one_closes_it_and_counts_what_it_lost(worker: str, reason: str, evictions: int) -> None:
    before = claim().model_copy(update={"step": 40, "reached": 55, "generations": (generation(40),)})
    after = claim(before=before, nonce=OTHER_NONCE, worker=worker)
    vanished, running = after.attempts
    assert (vanished.ended, vanished.reason, vanished.to_step, vanished.reached_step) == ("vanished", reason, 40, 55)
    assert (running.ended, running.epoch, running.from_step, running.worker) == ("running", 2, 40, worker)
    assert (after.epoch, after.nonce, after.reached, after.lost_steps) == (2, OTHER_NONCE, 40, 15)
    assert (after.eviction_count, after.attempt_count) == (evictions, 2)
    assert after.generations == before.generations


def test_a_claim_over_a_released_one_changes_nothing_that_was_said_of_it() -> None:
    before = decisions.given_back(claim(), "evicted")
    after = claim(before=before, nonce=OTHER_NONCE)
    assert after.attempts[:-1] == before.attempts
    assert after.eviction_count == before.eviction_count == 1


def test_a_claim_after_a_retry_forgets_the_last_outcome() -> None:
    ended = decisions.finished(claim(), "failed", "failed", Outcome(reason="diverged"))
    assert claim(before=ended.model_copy(update={"status": "planned"})).outcome == Outcome()


def test_old_attempts_are_dropped_but_stay_counted() -> None:
    manifest = claim()
    for _ in range(KEPT_ATTEMPTS + 5):
        manifest = claim(before=decisions.given_back(manifest, "stopped"))
    assert len(manifest.attempts) == KEPT_ATTEMPTS
    assert manifest.attempt_count == manifest.attempts[-1].epoch == KEPT_ATTEMPTS + 6


# ---- a commit, and what the heartbeat adds -------------------------------------------------------------------------


def test_a_commit_keeps_the_generation_that_it_continues() -> None:
    manifest = claim().model_copy(update={"generations": (generation(20), generation(10)), "step": 20})
    after = decisions.committed(manifest, generation(30), generation(20), {"cpu": "x"})
    assert [kept.step for kept in after.generations] == [30, 20]
    assert (after.step, after.reached, after.fingerprint) == (30, 30, {"cpu": "x"})


def test_a_commit_that_continues_nothing_drops_what_could_not_be_loaded() -> None:
    manifest = claim().model_copy(update={"generations": (generation(20), generation(10)), "step": 20})
    assert decisions.committed(manifest, generation(5), None, {}).generations == (generation(5),)


@pytest.mark.parametrize(("step", "resets"), [(21, True), (20, False), (19, False)])
def test_only_a_commit_that_goes_further_forgives(step: int, resets: bool) -> None:
    counts = Counts(failures_in_a_row=2, claims_without_progress=7, storage_failures=3)
    after = decisions.committed(claim().model_copy(update={"step": 20, "counts": counts}), generation(step), None, {})
    assert after.counts == (Counts() if resets else counts.model_copy(update={"storage_failures": 0}))


def test_progress_is_written_into_the_attempt_and_the_totals() -> None:
    before = claim().model_copy(update={"step": 20, "seconds": 100.0})
    once = decisions.progressed(before, progress(33, 5.0))
    twice = decisions.progressed(once, Progress(44, 9.0, 8.0, -3.5, None))
    assert (twice.reached, twice.seconds, twice.steps_per_second, twice.latest_return) == (44, 109.0, 8.0, -3.5)
    assert (twice.attempts[-1].to_step, twice.attempts[-1].reached_step, twice.attempts[-1].seconds) == (20, 44, 9.0)
    assert [(point.step, point.value) for point in twice.trail] == [(44, -3.5)]


def test_reached_never_falls_below_what_is_safe() -> None:
    assert decisions.progressed(claim().model_copy(update={"step": 20}), progress(0)).reached == 20


def test_a_return_once_seen_is_not_forgotten_where_there_is_no_new_one() -> None:
    before = claim().model_copy(update={"latest_return": 7.0})
    assert decisions.progressed(before, progress(5)).latest_return == 7.0


@pytest.mark.parametrize(("episodes", "resets"), [(2, False), (3, True)])
def test_a_finished_evaluation_episode_is_progress(episodes: int, resets: bool) -> None:
    counts = Counts(failures_in_a_row=2, claims_without_progress=7)
    partial = [PartialEvaluation(step=0, final=False, returns=(1.0,) * n, lengths=(1,) * n) for n in range(4)]
    before = claim().model_copy(update={"evaluation": partial[2], "counts": counts})
    after = decisions.progressed(before, progress(evaluation=partial[episodes]))
    assert after.counts == (Counts() if resets else counts)
    assert after.evaluation == partial[episodes]


@pytest.mark.parametrize("status", ["planned", "released", "done", "failed", "poisoned", "cancelled"])
def test_progress_changes_only_a_manifest_that_runs(status: str) -> None:
    ended = claim().model_copy(update={"status": status})
    assert decisions.progressed(ended, Progress(99, 9.0, 1.0, 1.0, None)) == ended


# ---- how a claim ends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ended", sorted(IN_ORDER))
def test_a_claim_given_back_in_order_takes_its_own_count_back(ended: Ended) -> None:
    before = claim().model_copy(update={"counts": Counts(claims_without_progress=5, failures_in_a_row=2)})
    after = decisions.given_back(before, ended)
    assert (after.status, after.attempts[-1].ended) == ("released", ended)
    assert after.counts == Counts(claims_without_progress=4, failures_in_a_row=2)
    assert after.eviction_count == (1 if ended == "evicted" else 0)


def test_a_storage_error_is_counted_apart_and_never_poisons() -> None:
    manifest = claim()
    for failures in range(1, 30):
        manifest = decisions.given_back(claim(before=manifest), "storage")
        assert decide(Seen(manifest, "e", 0.0)) == Claim()
        assert (manifest.status, manifest.counts.storage_failures) == ("released", failures)
    assert manifest.counts.failures_in_a_row == 0
    assert manifest.eviction_count == 0


def test_given_back_counts_what_was_not_committed() -> None:
    after = decisions.given_back(claim().model_copy(update={"step": 20, "reached": 26}), "storage")
    assert (after.lost_steps, after.reached) == (6, 20)


def test_the_third_failure_poisons_and_says_why() -> None:
    manifest = claim()
    for _ in range(2):
        manifest = decisions.failed(manifest, "killed", "out of memory")
        assert manifest.status == "released"
        manifest = claim(before=manifest)
    manifest = decisions.failed(manifest, "killed", "out of memory")
    assert manifest.status == "poisoned"
    assert manifest.outcome.reason == "3 failures without progress: out of memory"
    assert manifest.attempts[-1].ended == "killed"


def test_a_done_job_keeps_its_outcome_and_drops_its_evaluation() -> None:
    partial = PartialEvaluation(step=60, final=True, returns=(1.0,), lengths=(3,))
    running = claim().model_copy(update={"step": 50, "reached": 60, "evaluation": partial})
    outcome = Outcome(reason="", result=generation(1).state)
    after = decisions.done(running, 60, outcome)
    assert (after.status, after.step, after.reached, after.evaluation, after.lost_steps) == ("done", 60, 60, None, 0)
    assert after.outcome == outcome
    assert after.attempts[-1].ended == "done"


@pytest.mark.parametrize("status", ["failed", "cancelled", "poisoned"])
def test_a_finished_job_is_terminal_and_keeps_its_generations(status: Any) -> None:
    running = claim().model_copy(update={"generations": (generation(20),), "step": 20})
    after = decisions.finished(running, status, "failed", Outcome(reason="why"))
    assert after.terminal
    assert (after.status, after.generations, after.attempts[-1].reason) == (status, running.generations, "why")


def test_an_inexact_resume_marks_the_job_and_this_attempt_only() -> None:
    second = claim(before=decisions.given_back(claim(), "evicted"))
    after = decisions.inexact(second)
    assert (after.exact, [attempt.exact for attempt in after.attempts]) == (False, [True, False])


# ---- waiting, and garbage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 15.0), (1, 30.0), (5, 480.0), (6, 900.0), (1000, 900.0), (-1, 7.5)]
)
def test_a_message_waits_twice_as_long_each_time_up_to_the_longest(failures: int, seconds: float) -> None:
    assert decisions.retry_after_s(failures, 15.0, 900.0) == seconds


def test_garbage_is_what_the_dropped_generation_named_alone() -> None:
    old = Generation(step=1, state=generation(1).state, segments=generation(9).segments)
    kept = Generation(step=2, state=generation(2).state, segments=generation(9).segments)
    before = claim().model_copy(update={"generations": (kept, old)})
    after = decisions.committed(before, generation(3), kept, {})
    assert decisions.garbage(before, after) == {"state-1"}


GENERATIONS = st.builds(
    lambda step, pool: Generation(
        step=step, state=generation(step).state, segments=tuple(generation(n).segments[0] for n in pool)
    ),
    st.integers(0, 30),
    st.lists(st.integers(0, 5), max_size=3, unique=True),
)


@given(st.lists(GENERATIONS, max_size=2), GENERATIONS, st.integers(-1, 1))
@settings(max_examples=100, deadline=None)
def test_garbage_never_names_a_kept_blob(before: list[Generation], new: Generation, base: int) -> None:
    manifest = claim().model_copy(update={"generations": tuple(before)})
    continued = before[base] if 0 <= base < len(before) else None
    after = decisions.committed(manifest, new, continued, {})
    garbage = decisions.garbage(manifest, after)
    for kept in after.generations:
        assert not garbage & kept.blob_names()
    everything = frozenset[str]().union(*(one.blob_names() for one in before))
    assert garbage <= everything
    assert everything - garbage <= frozenset[str]().union(*(one.blob_names() for one in after.generations))


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "no progress", "failure", *sorted({*get_args(Ended)} & {*IN_ORDER, "storage"})])
    ),
    max_size=40,
)


def apply(manifest: Manifest, event: str) -> Manifest:
    """Let something happen to a claim; after an end the job is claimed again."""
    if event == "commit":
        return decisions.committed(manifest, generation(manifest.step + 1), None, {})
    if event == "no progress":
        return claim(before=manifest, worker="vm2/0")
    if event == "failure":
        return decisions.failed(manifest, "failed", "boom")
    ended: Any = event
    return decisions.given_back(manifest, ended)


@given(EVENTS)
@settings(max_examples=100, deadline=None)
def test_counts_are_never_negative_and_only_failures_raise_the_failures(events: list[tuple[str]]) -> None:
    manifest, failures = claim(job=tiny_job()), 0
    for (event,) in events:
        before = manifest.counts
        manifest = apply(manifest, event)
        after = manifest.counts
        assert min(after.claims_without_progress, after.failures_in_a_row, after.storage_failures) >= 0
        if event in IN_ORDER:
            assert after.failures_in_a_row == before.failures_in_a_row
            assert after.claims_without_progress <= before.claims_without_progress
            assert after.storage_failures == before.storage_failures
        failures = {"commit": 0, "failure": failures + 1}.get(event, failures)
        assert (manifest.status == "poisoned") == (failures >= decisions.FAILURES_UNTIL_POISON)
        if manifest.status == "poisoned":
            return
        if manifest.status == "released":
            manifest = claim(before=manifest)
