"""Every decision of a worker, as pure functions over frozen values. The simulator and the model checker call these.

The rules that they follow are numbered in docs/protocol.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from worker.contract.base import STATE_VERSION
from worker.contract.control import Hold
from worker.contract.endings import PROCESS_DIED, VM_SILENT, closed
from worker.contract.job import Job
from worker.contract.manifest import (
    KEPT_ATTEMPTS,
    KEPT_GENERATIONS,
    Attempt,
    Counts,
    Ended,
    Generation,
    Manifest,
    Outcome,
    PartialEvaluation,
    Status,
    trailed,
)

FAILURES_UNTIL_POISON: Final = 3
CLAIMS_UNTIL_POISON: Final = 20

IN_ORDER: Final = frozenset({"evicted", "stopped", "drained", "held"})
"""How a claim ends that is given back: it says nothing about the job."""


# ---- what to do with a message -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Seen:
    """A manifest as found: `age_s` is Date − Last-Modified of the one answer that brought it."""

    manifest: Manifest
    etag: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Claim:
    """Take the job."""


@dataclass(frozen=True, slots=True)
class Hide:
    """Leave the message alone for so long; `drain`: this VM's code is too old to ever do it."""

    seconds: float
    reason: str
    drain: bool = False


@dataclass(frozen=True, slots=True)
class Discard:
    """Delete the message: nothing is lost by it."""

    reason: str


@dataclass(frozen=True, slots=True)
class Bury:
    """Put the message on the poison queue, then delete it: its job was poisoned by whoever saw its worker die."""

    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """Write this status without training, so that whoever else is at the job loses it; then delete the message."""

    status: Status
    reason: str


Decision = Claim | Hide | Discard | Bury | End


def on_message(
    message_id: str,
    seen: Seen | None,
    *,
    planned: bool,
    hold: Hold | None,
    worker: str,
    visibility_timeout_s: float,
) -> Decision:
    """Decide about a received message whose text is a job (rules 4, 6, 7, 8).

    `planned` is looked at only where there is no manifest; `hold` is the hold that covers this job, if any.
    """
    if seen is None:
        return _on_first_message(planned=planned, hold=hold)
    manifest = seen.manifest
    if manifest.status == "poisoned" and manifest.message_id == message_id:
        return Bury(manifest.outcome.reason)
    if manifest.terminal:
        return Discard(f"the job is {manifest.status}")
    if manifest.status == "running" and seen.age_s < visibility_timeout_s:
        # On hold or not, and our own slot's or not: no message is deleted by which a job runs, and a claim by another
        # one than the manifest names would make it that.
        if manifest.message_id != message_id:
            return Discard(f"the job runs on {manifest.worker} by another message")
        if manifest.worker != worker:
            return Hide(visibility_timeout_s - seen.age_s, f"the job runs on {manifest.worker}")
    if hold is not None:
        return _on_held(hold)
    if manifest.state_version > STATE_VERSION:
        return Hide(visibility_timeout_s, "a newer release wrote its checkpoint", drain=True)
    if manifest.counts.claims_without_progress >= CLAIMS_UNTIL_POISON:
        return End("poisoned", f"{CLAIMS_UNTIL_POISON} claims in a row without progress")
    return Claim()


def _on_first_message(*, planned: bool, hold: Hold | None) -> Decision:
    # However often it was delivered: a storage that refused every claim says nothing about the job.
    if not planned:
        return Discard("no plan names this job")
    return Claim() if hold is None else _on_held(hold)


def _on_held(hold: Hold) -> Decision:
    """Never a mere deletion: a holder that is silent, or a claim that is under way, would run on without a message."""
    return End("cancelled", hold.reason) if hold.kind == "cancelled" else End("released", f"the sweep is {hold.kind}")


# ---- what a refused write means -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Adopt:
    """It stands: this very write, or the end of this claim, after which it writes nothing."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class Rebase:
    """An earlier write of this claim came through, unknown to it: change what that one made, and write again."""

    seen: Seen


@dataclass(frozen=True, slots=True)
class Lost:
    """The manifest is no longer of this claim."""

    reason: str


def on_refused_write(ours: Manifest, seen: Seen | None) -> Adopt | Rebase | Lost:
    """Decide by what is stored now after a write was refused: a retry of the SDK makes that ambiguous (rule 3)."""
    if seen is None:
        return Lost("The manifest is gone: the sweep was deleted.")
    if seen.manifest.nonce != ours.nonce:
        return Lost(f"Epoch {seen.manifest.epoch} belongs to {seen.manifest.worker or 'a person'}.")
    if seen.manifest == ours or seen.manifest.status != "running":
        return Adopt(seen)
    return Rebase(seen)


# ---- manifests that follow from one another -----------------------------------------------------------------------


def claimed(
    job: Job, before: Manifest | None, *, nonce: str, worker: str, message_id: str, release: str, utc: str
) -> Manifest:
    """Return the manifest of a new claim: epoch + 1, a new nonce, and the attempt before it closed."""
    if before is None:
        before = Manifest(job=job, status="planned", epoch=0, nonce=nonce)
    before = closed(before, "vanished", _why_vanished(before, worker)) if before.status == "running" else before
    attempt = Attempt(
        epoch=before.epoch + 1,
        worker=worker,
        release=release,
        from_step=before.step,
        to_step=before.step,
        reached_step=before.step,
        started=utc,
    )
    counts = before.counts
    return before.model_copy(
        update={
            "status": "running",
            "state_version": STATE_VERSION,
            "epoch": before.epoch + 1,
            "nonce": nonce,
            "worker": worker,
            "message_id": message_id,
            "reached": before.step,
            "attempts": (*before.attempts, attempt)[-KEPT_ATTEMPTS:],
            "attempt_count": before.attempt_count + 1,
            "counts": counts.model_copy(update={"claims_without_progress": counts.claims_without_progress + 1}),
            "steps_per_second": 0.0,
            "outcome": Outcome(),
        }
    )


def _why_vanished(before: Manifest, worker: str) -> str:
    return PROCESS_DIED if before.worker == worker else VM_SILENT


def committed(
    manifest: Manifest, generation: Generation, base: Generation | None, fingerprint: Mapping[str, str]
) -> Manifest:
    """Return the manifest with a new generation; `base` is the one that it continues, and is kept beside it."""
    progress = generation.step > manifest.step
    counts = Counts() if progress else manifest.counts.model_copy(update={"storage_failures": 0})
    kept = (generation,) if base is None else (generation, base)
    return manifest.model_copy(
        update={
            "generations": kept[:KEPT_GENERATIONS],
            "step": generation.step,
            "reached": max(generation.step, manifest.reached),
            "counts": counts,
            "fingerprint": fingerprint,
        }
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a trainer is, as the heartbeat sees it."""

    reached: int
    seconds: float
    """Since the claim."""
    steps_per_second: float
    latest_return: float | None
    evaluation: PartialEvaluation | None


def progressed(manifest: Manifest, progress: Progress) -> Manifest:
    """Return the manifest brought up to date: the heartbeat's part, which every write takes along.

    Finished evaluation episodes are progress, so a job whose evaluation goes on is not taken for one that hangs.
    """
    if manifest.status != "running":
        return manifest
    attempt = manifest.attempts[-1].model_copy(
        update={"to_step": manifest.step, "reached_step": progress.reached, "seconds": progress.seconds}
    )
    latest, total = progress.latest_return, manifest.job.configuration.timesteps
    more = _episodes(progress.evaluation) > _episodes(manifest.evaluation)
    return manifest.model_copy(
        update={
            "reached": max(progress.reached, manifest.step),
            "attempts": (*manifest.attempts[:-1], attempt),
            "seconds": manifest.seconds + progress.seconds - manifest.attempts[-1].seconds,
            "steps_per_second": progress.steps_per_second,
            "latest_return": manifest.latest_return if latest is None else latest,
            "trail": manifest.trail if latest is None else trailed(manifest.trail, progress.reached, latest, total),
            "evaluation": progress.evaluation,
            "counts": Counts() if more else manifest.counts,
        }
    )


def inexact(manifest: Manifest) -> Manifest:
    """Return the manifest of a job that goes on where the machine before it was another one."""
    attempt = manifest.attempts[-1].model_copy(update={"exact": False})
    return manifest.model_copy(update={"exact": False, "attempts": (*manifest.attempts[:-1], attempt)})


def _episodes(evaluation: PartialEvaluation | None) -> int:
    return len(evaluation.returns) if evaluation else 0


def given_back(manifest: Manifest, ended: Ended, reason: str = "") -> Manifest:
    """Return the manifest of a job that is released for the next claim, by a stop or an error not its own."""
    counts = manifest.counts
    if ended == "storage" or ended in IN_ORDER:
        counts = counts.model_copy(update={"claims_without_progress": max(0, counts.claims_without_progress - 1)})
    if ended == "storage":
        counts = counts.model_copy(update={"storage_failures": counts.storage_failures + 1})
    return closed(manifest, ended, reason).model_copy(update={"status": "released", "counts": counts})


def failed(manifest: Manifest, ended: Ended, reason: str) -> Manifest:
    """Return the manifest after a witnessed failure: released, or poisoned when it is the third without progress."""
    failures = manifest.counts.failures_in_a_row + 1
    counts = manifest.counts.model_copy(update={"failures_in_a_row": failures})
    if failures >= FAILURES_UNTIL_POISON:
        return finished(manifest, "poisoned", ended, Outcome(reason=f"{failures} failures without progress: {reason}"))
    return closed(manifest, ended, reason).model_copy(update={"status": "released", "counts": counts})


def done(manifest: Manifest, step: int, outcome: Outcome) -> Manifest:
    """Return the terminal manifest of a job whose result is published."""
    whole = manifest.model_copy(update={"step": step, "reached": step})
    return finished(whole, "done", "done", outcome)


def finished(manifest: Manifest, status: Status, ended: Ended, outcome: Outcome) -> Manifest:
    """Return the terminal manifest."""
    return closed(manifest, ended, outcome.reason).model_copy(
        update={"status": status, "outcome": outcome, "evaluation": None}
    )


# ---- how long to wait, and what to collect ------------------------------------------------------------------------


def retry_after_s(failures: int, base_s: float, longest_s: float) -> float:
    """Return how long a message is hidden after the n-th error in a row that is not the job's own (rule 6)."""
    return min(base_s * 2.0 ** min(failures, 30), longest_s)


def garbage(before: Manifest, after: Manifest) -> frozenset[str]:
    """Return the blobs that a confirmed commit leaves unnamed: what it dropped and keeps nowhere (rule 9)."""
    named_before = frozenset[str]().union(*(generation.blob_names() for generation in before.generations))
    named_after = frozenset[str]().union(*(generation.blob_names() for generation in after.generations))
    return named_before - named_after
