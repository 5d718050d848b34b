"""Retry and delete: how a job that has ended begins anew, and how a sweep goes for good (rule 8)."""

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from producer.session import Session
from producer.sweep.hold import find_hold, lift, send_open, settle_hold
from producer.sweep.parallel import Progress, fan_out, silent
from producer.sweep.plans import (
    job_statuses,
    read_manifest,
    read_plan,
    reopen,
    reopened,
    write_plan,
)
from producer.sweep.sending import SentRecords, delete_messages
from worker.contract import names
from worker.contract.control import Hold
from worker.contract.errors import ConditionFailed, InputError, StorageUnavailable
from worker.contract.manifest import Counts, Manifest, Outcome
from worker.contract.plan import Plan
from worker.contract.plans import StoredPlan, find_plan
from worker.contract.records import Listed, Unchanged

FAILED: Final = frozenset({"failed", "poisoned"})
RETRIABLE: Final = FAILED | {"cancelled"}
REWRITES: Final = 10


@dataclass(frozen=True)
class Retried:
    """What a retry found and did."""

    sweep: str
    jobs: tuple[tuple[str, str], ...]
    """Jobs that begin anew, each with what had ended it."""
    sent: int
    hold: Hold | None
    """Why they may not run yet."""


@dataclass(frozen=True)
class Deleted:
    """What a delete found and did."""

    sweep: str
    blobs: int


def retry(
    session: Session,
    sweep: str,
    jobs: Collection[str] = (),
    *,
    cancelled: bool = False,
    progress: Progress = silent,
) -> Retried:
    """Let failed and poisoned jobs begin anew from their last commit; cancelled ones where asked for.

    Args:
        session: where.
        sweep: whose jobs.
        jobs: only these, whatever ended them.
        cancelled: whether cancelled jobs are meant too; this also lifts the hold of a cancelled sweep.
        progress: told of jobs and messages.

    Raises:
        InputError: there is nothing to retry, or the sweep is cancelled and that is to stay.
    """
    stored = read_plan(session.blobs, sweep)
    if stored.plan.deleted:
        raise InputError(f"{sweep} is being deleted. End that with: tranquility delete {sweep}")
    found = find_hold(session, sweep)
    lifted = False
    if found is not None and found.cancels_all:
        if not cancelled:
            raise InputError(f"{sweep} is cancelled. To run all of it again: tranquility retry {sweep} --cancelled")
        lifted = lift(session, sweep, found.etag)
    elif found is not None and found.hold.kind == "cancelled":
        settle_hold(session, stored.plan, found)
    chosen = _chosen(session, stored.plan, frozenset(jobs), cancelled=cancelled)
    opened = reopen(session, sweep)
    try:
        begun, sent = _begin_all(session, stored.plan, chosen, progress, after_hold=lifted)
    except InputError:
        reopened(session, opened)  # the sweep is deleted meanwhile: nothing of it stays
        raise
    reopened(session, opened)
    hold = find_hold(session, sweep)
    return Retried(sweep, tuple(sorted(begun)), sent, hold.hold if hold else None)


def _begin_all(
    session: Session, plan: Plan, chosen: Sequence[str], progress: Progress, *, after_hold: bool
) -> tuple[list[tuple[str, str]], int]:
    """Let jobs begin anew, and send what is open; return them with what had ended each, and how many were sent."""
    begun: list[tuple[str, str]] = []

    def begin(job: str) -> None:
        ended_by = _begin_anew(session, plan.sweep, job)
        if ended_by is not None:
            begun.append((job, ended_by))

    fan_out(session.runtime, begin, chosen, progress)
    if read_plan(session.blobs, plan.sweep).plan.deleted:
        raise InputError(f"{plan.sweep} is being deleted: nothing was sent.")
    return begun, send_open(session, plan, progress, after_hold=after_hold)


def _chosen(session: Session, plan: Plan, jobs: frozenset[str], *, cancelled: bool) -> list[str]:
    statuses = job_statuses(session, plan.sweep)
    kinds = RETRIABLE if cancelled or jobs else FAILED
    for job in sorted(jobs):
        status = statuses[job].status if job in statuses else "planned"
        if status not in RETRIABLE | {"planned"}:
            words = "has a result" if status == "done" else "has not ended"
            raise InputError(f"{plan.sweep}/{job} is {status}: it {words}, and cannot be retried.")
    wanted = jobs or frozenset(plan.by_id)
    return sorted(job for job, status in statuses.items() if job in wanted and status.status in kinds)


def _begin_anew(session: Session, sweep: str, job: str) -> str | None:
    """Write `planned` by CAS, as a claim would be written; return what had ended the job, None if it had not."""
    nonce = session.runtime.nonce()
    reason = None
    for _ in range(REWRITES):
        found = read_manifest(session, sweep, job)
        if found is None or found.manifest.status not in RETRIABLE:
            return reason
        before = found.manifest
        reason = before.outcome.reason or before.status
        with contextlib.suppress(ConditionFailed):
            after = planned_again(before, nonce)
            session.blobs.put(
                names.SWEEPS, names.manifest(sweep, job), after.canonical(), Unchanged(found.etag), after.metadata()
            )
            return reason
    raise StorageUnavailable(f"The manifest of {sweep}/{job} changed {REWRITES} times in a row while we wrote it.")


def planned_again(before: Manifest, nonce: str) -> Manifest:
    """Return the manifest of a job that begins anew: its checkpoint and its history stay, what ended it goes."""
    return before.model_copy(
        update={
            "status": "planned",
            "epoch": before.epoch + 1,
            "nonce": nonce,
            "worker": "",
            "message_id": "",
            "counts": Counts(),
            "outcome": Outcome(),
        }
    )


def delete(session: Session, sweep: str, progress: Progress = silent) -> Deleted:
    """Remove a sweep whose jobs have all ended: tombstone, then messages and blobs, then the plan.

    Raises:
        InputError: there is no such sweep, or jobs have not ended.
    """
    stored = find_plan(session.blobs, sweep)
    if stored is None and not _blobs(session, sweep):
        stored = read_plan(session.blobs, sweep)  # raises, and names the sweeps that there are
    tombstone = _bury(session, stored) if stored is not None and not stored.plan.deleted else stored
    # Whatever is read while the tombstone stands is of this sweep, and not of a new one under the same name.
    messages = [message for record in SentRecords(session, sweep).read().values() for message in record.messages]
    if _stands(session, sweep, tombstone):
        delete_messages(session, messages, progress)
    count = 0
    while (left := _blobs(session, sweep)) and _stands(session, sweep, tombstone):  # a worker's last log may come late
        fan_out(session.runtime, lambda found: _delete_blob(session, *found), left, progress)
        count += len(left)
    if tombstone is not None and _stands(session, sweep, tombstone):
        session.blobs.delete(names.SWEEPS, names.plan(sweep), Unchanged(tombstone.etag))
        count += 1
    return Deleted(sweep, count)


def _bury(session: Session, stored: StoredPlan) -> StoredPlan | None:
    """Write the tombstone and return it; None where somebody else has just deleted the sweep.

    A retry may come between the look and the tombstone: then the tombstone is taken back. Manifests that are missing
    by then are no sign of that, but of somebody else who deletes.
    """
    sweep = stored.plan.sweep
    found = find_hold(session, sweep)
    if found is not None and found.hold.kind == "cancelled":
        settle_hold(session, stored.plan, found)
    still_open = _open_jobs(session, stored.plan)
    tombstone: StoredPlan | None = None
    with contextlib.suppress(ConditionFailed):
        if not still_open:
            tombstone = write_plan(session, stored.plan.model_copy(update={"deleted": True}), stored)
    if tombstone is None:  # not by us
        now = find_plan(session.blobs, sweep)
        if now is not None and not now.plan.deleted:
            raise InputError(_refusal(stored.plan, still_open) if still_open else f"{sweep} changed: try again.")
        return now
    begun = [job for job, status in job_statuses(session, sweep).items() if not status.terminal]
    if begun:
        write_plan(session, stored.plan, tombstone)
        raise InputError(_refusal(stored.plan, len(begun)))
    return tombstone


def _open_jobs(session: Session, plan: Plan) -> int:
    statuses = job_statuses(session, plan.sweep)
    return sum(planned.id not in statuses or not statuses[planned.id].terminal for planned in plan.jobs)


def _refusal(plan: Plan, still_open: int) -> str:
    return (
        f"{still_open} of {len(plan.jobs)} jobs of {plan.sweep} have not ended. Cancel them first "
        f"(tranquility cancel {plan.sweep}); running ones end at their next commit."
    )


def _stands(session: Session, sweep: str, tombstone: StoredPlan | None) -> bool:
    """Return whether the plan is (still) this tombstone, or is (still) missing."""
    name = names.plan(sweep)
    etags = [blob.etag for blob in session.blobs.list(names.SWEEPS, name) if blob.name == name]
    return etags == ([tombstone.etag] if tombstone is not None else [])


def _blobs(session: Session, sweep: str) -> list[tuple[str, Listed]]:
    """Return all blobs of a sweep but its plan, each with its container."""
    return [
        (container, blob)
        for container in (names.CHECKPOINTS, names.SWEEPS)
        for blob in session.blobs.list(container, f"{sweep}/")
        if (container, blob.name) != (names.SWEEPS, names.plan(sweep))
    ]


def _delete_blob(session: Session, container: str, blob: Listed) -> None:
    with contextlib.suppress(ConditionFailed):  # written again meanwhile: the next listing decides
        session.blobs.delete(container, blob.name, Unchanged(blob.etag))
