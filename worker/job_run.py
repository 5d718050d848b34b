"""One job: claim → restore → train → commit → … → done → delete the message.

Every line of this may be the last that runs: a crash, an eviction and a normal start take the same path.
"""

import contextlib
import traceback
from collections.abc import Callable
from typing import TypeVar

from worker import decisions, fence
from worker.attempt import Attempt
from worker.contract.control import hold_on
from worker.contract.errors import BadConfiguration, Diverged, OwnershipLost, StorageError
from worker.contract.job import Job
from worker.contract.log import Logger
from worker.contract.manifest import Manifest, Outcome
from worker.fence import Fence
from worker.heartbeat import Heartbeat
from worker.lease import Lease
from worker.poison import send_to_poison
from worker.publish import publish
from worker.slot import Slot
from worker.stop import Reason, Stopped

AGAIN_S = 5.0
Change = Callable[[Manifest], Manifest]
T = TypeVar("T")


def run_job(slot: Slot, job: Job, lease: Lease, seen: decisions.Seen | None) -> None:
    """Claim `job` and bring it as far as it goes; then release or delete its message.

    Raises:
        OwnershipLost: another claim was quicker.
        StorageError: the claim, or what became of it, could not be said; the message comes back by itself.
    """
    claim = _claim(slot, job, lease, seen)
    log = slot.log.bind(sweep=job.sweep, job=job.id, epoch=claim.manifest.epoch, worker=slot.name)
    log.info("job.claimed", step=claim.manifest.step, attempt=claim.manifest.attempt_count, message=lease.message_id)
    attempt = Attempt(slot, claim, log)
    heartbeat = Heartbeat(slot, claim, lease, attempt, log)
    try:
        change = _until_it_ends(slot, claim, attempt, log)
        if change is not None:
            _write_the_end(slot, claim, attempt, change, log)
    finally:
        heartbeat.join()  # before the message is touched: one user of the receipt at a time
        slot.say_what_it_works_on(None)
        with contextlib.suppress(StorageError):
            slot.book.publish(slot.blobs, claim.manifest)
    if change is not None:
        _settle_message(slot, claim.manifest, lease, attempt)


def _claim(slot: Slot, job: Job, lease: Lease, seen: decisions.Seen | None) -> Fence:
    manifest = decisions.claimed(
        job,
        seen.manifest if seen else None,
        nonce=slot.runtime.nonce(),
        worker=slot.name,
        message_id=lease.message_id,
        release=slot.release,
        utc=slot.runtime.utc(),
    )
    # By a message that somebody else has received since, and may be deleting, no job begins. Whoever receives it after
    # this renewal, because we stand still, writes the manifest before he deletes it, and our claim is refused.
    lease.renew()
    if lease.lost:
        raise OwnershipLost("Another worker has received the message.")
    claim = fence.create(slot.blobs, slot.runtime, manifest, seen)
    slot.say_what_it_works_on(manifest)
    slot.book.begin()
    return claim


def _until_it_ends(slot: Slot, claim: Fence, attempt: Attempt, log: Logger) -> Change | None:
    """Train and publish. Return what the manifest becomes; None where it is another claim's.

    The one place where a job's errors are caught.
    """
    try:
        finished = attempt.train()
        manifest = decisions.progressed(claim.manifest, attempt.progress())
        outcome = _persistently(
            slot,
            log,
            lambda: publish(slot.blobs, manifest, finished, slot.trainers.fingerprint),
            lambda: attempt.stop.reason is not None,
        )
        return lambda manifest: decisions.done(manifest, finished.step, outcome)
    except Stopped as stopped:
        return _after_stop(slot, claim, stopped.reason)
    except OwnershipLost as error:
        log.warning("ownership.lost", error=str(error))
        return None
    except (StorageError, OSError) as error:
        log.error("storage.failed", error=str(error), next="the job goes back to the queue")
        return _after_stop(slot, claim, attempt.stop.reason or "storage")
    except (Diverged, BadConfiguration) as error:
        outcome = Outcome(reason=f"{'diverged' if isinstance(error, Diverged) else 'bad configuration'}: {error}")
        return lambda manifest: decisions.finished(manifest, "failed", "failed", outcome)
    except Exception as error:  # noqa: BLE001 - whatever training raises is counted and said (rule 6)
        log.error("job.raised", error=repr(error), trace=traceback.format_exc())
        reason = f"{type(error).__name__}: {error}"
        return lambda manifest: decisions.failed(manifest, "failed", reason)


def _after_stop(slot: Slot, claim: Fence, reason: Reason) -> Change | None:
    if reason == "lost":
        return None
    if reason == "held":
        with contextlib.suppress(StorageError):
            hold = hold_on(slot.blobs, claim.job.sweep, claim.job.id)
            if hold is not None and hold.kind == "cancelled":
                cancelled = Outcome(reason=hold.reason)
                return lambda manifest: decisions.finished(manifest, "cancelled", "held", cancelled)
    return lambda manifest: decisions.given_back(manifest, reason)


def _write_the_end(slot: Slot, claim: Fence, attempt: Attempt, change: Change, log: Logger) -> None:
    """Write how the claim ended. Raises StorageError when it is too late to say so: then the last commit stands."""

    def too_late() -> bool:
        stopping_s = slot.stop.since_s()
        return stopping_s > slot.durations.stop_deadline_s or claim.age_s() > slot.durations.storage_patience_s

    try:
        _, manifest = _persistently(
            slot,
            log,
            lambda: claim.write(lambda before: change(decisions.progressed(before, attempt.progress()))),
            too_late,
        )
    except OwnershipLost as error:
        log.warning("ownership.lost", error=str(error))
    else:
        _say_how_it_ended(manifest, log)


def _say_how_it_ended(manifest: Manifest, log: Logger) -> None:
    ended, score = manifest.attempts[-1], manifest.outcome.score
    why = {"reason": ended.reason} if ended.reason else {}
    result = {"mean_return": round(score.mean, 2)} if score else {}
    say = log.warning if ended.ended == "failed" else log.info
    say("job.ended", status=manifest.status, step=manifest.step, how=ended.ended, **why, **result)


def _settle_message(slot: Slot, manifest: Manifest, lease: Lease, attempt: Attempt) -> None:
    """Delete the message of a job that has ended; give another's back, at once or after a while."""
    if manifest.status == "running":
        return  # the end was written by another claim, which has a message of its own
    if manifest.terminal:
        if manifest.status == "poisoned":
            send_to_poison(slot, manifest.outcome.reason, manifest.job.encode(), lease.message_id)
        lease.delete()
        if manifest.status == "done":
            attempt.collect_checkpoint()
        return
    counts = manifest.counts
    errors = counts.storage_failures + counts.failures_in_a_row
    wait_s = decisions.retry_after_s(errors - 1, slot.durations.retry_base_s, slot.durations.retry_max_s)
    lease.give_back(wait_s if manifest.attempts[-1].ended not in decisions.IN_ORDER else 0.0)


def _persistently(slot: Slot, log: Logger, work: Callable[[], T], give_up: Callable[[], bool]) -> T:
    """Do `work` until Azure Storage answers, or `give_up` says that it is too late."""
    never = slot.runtime.event()
    while True:
        try:
            return work()
        except StorageError as error:
            if give_up():
                raise
            log.warning("storage.failed", error=str(error), next="tries again")
            slot.runtime.wait(never, min(AGAIN_S, slot.durations.lease_renewal_s))
