"""What a manifest carries, and what its listing shows of it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.contract.endings import PROCESS_DIED, VM_SILENT, closed, ended_unclaimed
from worker.contract.job import Configuration, EnvironmentSpec, Job
from worker.contract.manifest import (
    TERMINAL,
    Attempt,
    BlobRef,
    Generation,
    Manifest,
    Outcome,
    PartialEvaluation,
    SegmentRef,
    as_listed,
)

JOB = Job.of(
    "lunar",
    Configuration(environment=EnvironmentSpec(id="Pendulum-v1"), timesteps=1000, trainer="sb3"),
    0,
)
STATE = BlobRef(name="lunar/x/state", length=5, sha256="0" * 64)
SEGMENT = SegmentRef(name="lunar/x/rows", length=5, sha256="1" * 64, first_row=0, rows=100)


def manifest(**more: Any) -> Manifest:
    attempt = Attempt(
        epoch=2, worker="vm1/0", release="r", from_step=0, to_step=400, reached_step=470, started="2026-11-22T10:00:00"
    )
    values: dict[str, Any] = {
        "job": JOB,
        "status": "running",
        "epoch": 2,
        "nonce": "ab" * 8,
        "worker": "vm1/0",
        "step": 400,
        "reached": 470,
        "generations": (Generation(step=400, state=STATE, segments=(SEGMENT,)),),
        "attempts": (attempt,),
        "attempt_count": 2,
    }
    return Manifest(**(values | more))


def test_a_manifest_comes_back_from_its_own_json() -> None:
    found = manifest(evaluation=PartialEvaluation(step=400, final=False, returns=(1.5,), lengths=(200,)))
    assert Manifest.model_validate_json(found.canonical()) == found


def test_a_generation_names_all_its_blobs() -> None:
    assert manifest().generations[0].blob_names() == {STATE.name, SEGMENT.name}


@pytest.mark.parametrize("status", ["planned", "running", "released", "done", "failed", "poisoned", "cancelled"])
def test_four_states_are_terminal(status: str) -> None:
    assert manifest(status=status).terminal == (status in {"done", "failed", "poisoned", "cancelled"})
    assert (status in TERMINAL) == manifest(status=status).terminal


@given(st.text(max_size=500))
@settings(max_examples=60, deadline=None)
def test_any_reason_fits_into_a_listing(reason: str) -> None:
    """Metadata travels in HTTP headers: one line of ASCII, and all of it at most 8 KB."""
    listed = manifest(outcome=Outcome(reason=reason), status="failed").metadata()
    assert all(
        value and value.isascii() and value.isprintable() and value == value.strip() for value in listed.values()
    )
    assert sum(len(name) + len(value) for name, value in listed.items()) < 8_000


def test_a_listing_shows_status_steps_and_epoch() -> None:
    listed = as_listed(manifest().metadata())
    assert {name: listed[name] for name in ("status", "step", "reached", "total", "epoch", "worker")} == {
        "status": "running",
        "step": "400",
        "reached": "470",
        "total": "1000",
        "epoch": "2",
        "worker": "vm1/0",
    }


def test_a_listing_believes_no_other_status_than_the_one_that_people_see() -> None:
    assert as_listed({"status": "done", "summary": '{"status":"failed"}'})["status"] == "done"


@pytest.mark.parametrize("summary", ["", "[]", "{", "[" * 7_000, '{"step": 3}'])
def test_a_summary_that_is_none_is_refused(summary: str) -> None:
    with pytest.raises(ValueError, match=r"summary|Expecting"):
        as_listed({"status": "done", "summary": summary})


@pytest.mark.parametrize(
    "more",
    [{"nonce": "xyz"}, {"epoch": -1}, {"step": -1}, {"status": "lost"}, {"extra": 1}, {"latest_return": float("nan")}],
)
def test_what_is_no_manifest_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        manifest(**more)


def test_no_more_than_two_generations_are_kept() -> None:
    with pytest.raises(ValidationError):
        manifest(generations=manifest().generations * 3)


def test_a_blob_is_named_with_its_length_and_hash() -> None:
    with pytest.raises(ValidationError):
        BlobRef(name="x", length=-1, sha256="0" * 64)
    with pytest.raises(ValidationError):
        BlobRef(name="x", length=1, sha256="0" * 63)


# ---- endings -------------------------------------------------------------------------------------------------------


def test_an_attempt_that_ends_counts_what_it_lost() -> None:
    found = closed(manifest(), "vanished", VM_SILENT)
    assert (found.lost_steps, found.eviction_count, found.reached) == (70, 1, 400)
    assert (found.attempts[-1].ended, found.attempts[-1].reached_step) == ("vanished", 470)


@pytest.mark.parametrize(
    ("ended", "reason", "evictions"),
    [
        ("evicted", "", 1),
        ("vanished", VM_SILENT, 1),
        ("vanished", PROCESS_DIED, 0),
        ("failed", "", 0),
        ("stopped", "", 0),
    ],
)
def test_only_a_vm_that_went_counts_as_an_eviction(ended: Any, reason: str, evictions: int) -> None:
    assert closed(manifest(), ended, reason).eviction_count == evictions


def test_a_job_that_ends_unclaimed_fences_its_holder() -> None:
    found = ended_unclaimed(JOB, manifest(), "cancelled", "by ada", nonce="cd" * 8)
    assert (found.status, found.epoch, found.nonce, found.outcome.reason) == ("cancelled", 3, "cd" * 8, "by ada")
    assert found.attempts[-1].ended == "vanished"
    assert found.generations == manifest().generations


def test_a_job_that_was_never_claimed_ends_too() -> None:
    found = ended_unclaimed(JOB, None, "cancelled", "by ada", nonce="cd" * 8)
    assert (found.job, found.status, found.epoch, found.attempts) == (JOB, "cancelled", 1, ())


def test_a_slot_that_lets_its_own_job_go_knows_that_its_process_died_and_keeps_no_reason_of_the_hold() -> None:
    before = manifest()
    found = ended_unclaimed(JOB, before, "released", "the sweep is paused", nonce="cd" * 8, worker=before.worker)
    assert (found.attempts[-1].reason, found.eviction_count) == (PROCESS_DIED, 0)
    assert (found.status, found.outcome.reason) == ("released", "")
