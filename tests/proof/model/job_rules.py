"""Each rule of a job taken away, and the small model in which that must show."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from tests.proof.model.job import JobModel
from tests.proof.model.job_core import JobRules
from tests.proof.model.job_world import Budget
from worker import decisions
from worker.contract.manifest import Counts, Ended, Manifest
from worker.decisions import Adopt, Claim, Decision, Discard, End, Hide, Lost, Rebase, Seen

NO_FAULTS: Final = Budget()


def _claims_the_young(message_id: str, seen: Seen | None, **given: Any) -> Decision:
    return decisions.on_message(message_id, replace(seen, age_s=1e9) if seen else None, **given)


def _deletes_its_own_message(message_id: str, seen: Seen | None, **given: Any) -> Decision:
    decision = decisions.on_message(message_id, seen, **given)
    return Discard(decision.reason) if isinstance(decision, Hide) else decision


def _claims_what_has_ended(message_id: str, seen: Seen | None, **given: Any) -> Decision:
    decision = decisions.on_message(message_id, seen, **given)
    return Claim() if isinstance(decision, Discard) and seen and seen.manifest.terminal else decision


def _ignores_holds(message_id: str, seen: Seen | None, **given: Any) -> Decision:
    return decisions.on_message(message_id, seen, **{**given, "hold": None})


def _discards_what_runs_under_a_hold(message_id: str, seen: Seen | None, **given: Any) -> Decision:
    decision = decisions.on_message(message_id, seen, **given)
    return Discard(decision.reason) if isinstance(decision, Hide) and given["hold"] else decision


def _lets_the_silent_keep_a_held_job(message_id: str, seen: Seen | None, **given: Any) -> Decision:
    decision = decisions.on_message(message_id, seen, **given)
    return Discard(decision.reason) if decision == End("released", "the sweep is paused") else decision


def _never_waits_to_the_end(message_id: str, seen: Seen | None, **given: Any) -> Decision:
    """Take a job for running elsewhere as long as its manifest says so, however old that is."""
    young = replace(seen, age_s=0.0) if seen else None
    return decisions.on_message(message_id, young, **{**given, "worker": "another"})


def _blames_evictions(job: Any, before: Manifest | None, **given: Any) -> Manifest:
    if before is not None and before.status == "running":
        before = decisions.failed(before, "killed", "it fell silent")
        if before.terminal:
            return before.model_copy(update={"nonce": given["nonce"]})
    return decisions.claimed(job, before, **given)


def _blames_stops(manifest: Manifest, ended: Ended) -> Manifest:
    return decisions.failed(manifest, ended, "told to stop")


def _takes_failures_for_stops(manifest: Manifest, ended: Ended, reason: str) -> Manifest:
    return decisions.given_back(manifest, "evicted", reason)


def _forgets_the_checkpoint(job: Any, before: Manifest | None, **given: Any) -> Manifest:
    claimed = decisions.claimed(job, before, **given)
    return claimed.model_copy(update={"generations": (), "step": 0, "reached": 0, "counts": Counts()})


def _takes_all_for_its_own(ours: Manifest, seen: Seen | None) -> Adopt | Rebase | Lost:
    decision = decisions.on_refused_write(ours, seen)
    return Rebase(replace(seen, manifest=ours)) if isinstance(decision, Lost) and seen else decision


def _takes_nothing_for_its_own(ours: Manifest, seen: Seen | None) -> Adopt | Rebase | Lost:
    return Lost("refused")


def _writes_over_its_own(ours: Manifest, seen: Seen | None) -> Adopt | Rebase | Lost:
    """Write the very same again, over whatever this claim has written meanwhile: its end, or a later commit."""
    decision = decisions.on_refused_write(ours, seen)
    if isinstance(decision, Lost) or seen is None or seen.manifest == ours:
        return decision
    return Rebase(Seen(ours, seen.etag, seen.age_s))


def _collects_too_much(before: Manifest, after: Manifest) -> frozenset[str]:
    """Collect all that the dropped generation named, segments included that those that stay share with it."""
    kept = {generation.step for generation in after.generations}
    dropped = [generation for generation in before.generations if generation.step not in kept]
    return frozenset[str]().union(*(generation.blob_names() for generation in dropped))


def _without(
    left: Budget = NO_FAULTS, *, messages: int = 1, steps: int = 3, begun: bool = False, **rules: Any
) -> JobModel:
    return JobModel(JobRules(**rules), left, messages=messages, steps=steps, begun=begun)


def _held(*wishes: str, left: Budget = NO_FAULTS, workers: int = 1, **rules: Any) -> JobModel:
    return JobModel(JobRules(**rules), left, workers=workers, wishes=wishes, audits=True, steps=3 - workers)


def _broken(**rules: Any) -> JobModel:
    return JobModel(JobRules(**rules), NO_FAULTS, steps=1, broken=True)


TAKEN_AWAY: Final[Mapping[str, JobModel]] = {
    "1: the message goes before the terminal record": _without(Budget(crash=1), steps=1, deleted_last=False),
    "1: what has ended is claimed again": _without(messages=2, steps=1, on_message=_claims_what_has_ended),
    "2: no If-Match": _without(Budget(pause=1), conditional=False),
    "2: a claim starts at step 0": _without(Budget(crash=1), claimed=_forgets_the_checkpoint),
    "2: names without the nonce": _without(Budget(pause=2), named_by_claim=False),
    "2: the manifest before what it names": _without(uploaded_first=False),
    "3: every nonce is mine": _without(Budget(pause=2), on_refused_write=_takes_all_for_its_own),
    "3: no nonce is mine": _without(Budget(lost=1), on_refused_write=_takes_nothing_for_its_own),
    "3: an older write of mine over a newer one": _without(Budget(lost=1), on_refused_write=_writes_over_its_own),
    "4: a young manifest is no heartbeat": _without(messages=2, on_message=_claims_the_young),
    "4: an old manifest is a heartbeat": _without(Budget(crash=1), on_message=_never_waits_to_the_end),
    "4: the message of a running job is deleted": _without(
        Budget(pause=1, crash=1), steps=1, on_message=_deletes_its_own_message
    ),
    "5: a trainer that hangs keeps its job": _without(Budget(crash=1), steps=1, follows_progress=False),
    "6: a vanished VM counts": _without(Budget(crash=3), claimed=_blames_evictions),
    "6: an eviction with a notice counts": _without(Budget(stop=3), given_back=_blames_stops),
    "6: witnessed failures do not count": _broken(failed=_takes_failures_for_stops),
    "7: no audit": _held("pause", "resume", left=Budget(crash=1, total=1), audited=False),
    "8: no hold before a claim": _held("cancel", on_message=_ignores_holds),
    "8: no hold at a commit": _held("pause", hold_at_commit=False),
    "8: the message of a held job goes while it runs": _held(
        "pause", "resume", left=Budget(pause=1, total=1), workers=2, on_message=_discards_what_runs_under_a_hold
    ),
    "8: who is silent keeps a held job": _held(
        "pause", "resume", left=Budget(pause=1, total=1), workers=2, on_message=_lets_the_silent_keep_a_held_job
    ),
    "8: a claim by a message that others have": _held(
        "pause", "resume", left=Budget(pause=1, total=1), workers=2, leased_before_claim=False
    ),
    "9: garbage before the commit": _without(collected_last=False),
    "9: more than what is named no more": _without(garbage=_collects_too_much),
    "9: what is missing is corrupt": _without(Budget(pause=2), begun=True, asked_before_corrupt=False),
    "15: messages with a time to live": _without(steps=1, never_expires=False),
}
"""By rule: the model without it."""
