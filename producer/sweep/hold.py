"""Hold: the one mechanism behind cancel, pause and budget (rule 8).

A hold stops a sweep at once: no job is claimed under it, and running ones see it at their next commit. Then whoever
placed it writes `cancelled` into every job that no worker has (that is the terminal record, rule 1), and deletes the
messages that nobody received. All of it may be killed at any line and done again.
"""

import contextlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from producer.session import Session
from producer.sweep.parallel import Progress, fan_out, silent
from producer.sweep.plans import all_terminal, job_statuses, mark_complete, read_manifest, read_plan
from producer.sweep.sending import SentRecords, due_jobs, forget_sent, send, withdraw, withdraw_jobs
from producer.words import plural
from worker.contract import names
from worker.contract.control import Hold, parse_hold, write_hold
from worker.contract.endings import ended_unclaimed
from worker.contract.errors import ConditionFailed, InputError, StorageUnavailable
from worker.contract.job import Job
from worker.contract.plan import Plan
from worker.contract.plans import StoredPlan
from worker.contract.records import Absent, Unchanged

REWRITES: Final = 10
"""So often in a row may somebody else write first before we give up."""


@dataclass(frozen=True)
class StoredHold:
    """A hold as found."""

    hold: Hold
    etag: str

    @property
    def cancels_all(self) -> bool:
        """Return whether the whole sweep is cancelled."""
        return self.hold.kind == "cancelled" and not self.hold.jobs


@dataclass(frozen=True)
class Cancelled:
    """What a cancel found and did."""

    sweep: str
    cancelled: int
    """Jobs that it ended."""
    stopping: tuple[str, ...]
    """Jobs that a worker has: they commit and end at their next commit."""
    ended: int
    """Jobs that had ended before."""


@dataclass(frozen=True)
class Paused:
    """What a pause found and did."""

    sweep: str
    hold: Hold
    """The one that stands now."""
    running: int
    """Jobs that a worker has: they commit and give their message back."""


@dataclass(frozen=True)
class Resumed:
    """What a resume found and did."""

    sweep: str
    lifted: bool
    sent: int


def find_hold(session: Session, sweep: str) -> StoredHold | None:
    """Return a sweep's hold, or None. Raises InputError where this release cannot read it."""
    found = session.blobs.get(names.SWEEPS, names.hold(sweep))
    if found is None:
        return None
    try:
        return StoredHold(parse_hold(sweep, found.body), found.etag)
    except StorageUnavailable as error:
        raise InputError(f"{error.detail} Take a newer one.") from error


def cancel(
    session: Session, sweep: str, jobs: Collection[str] = (), reason: str = "", progress: Progress = silent
) -> Cancelled:
    """End all jobs of a sweep, or only some. Raises InputError where there is no such sweep or job."""
    stored = _open_plan(session, sweep)
    reason = reason or f"cancelled by {session.user}"
    wanted = frozenset(jobs) or frozenset(stored.plan.by_id)
    statuses = job_statuses(session, sweep)
    open_before = frozenset(job for job in wanted if job not in statuses or not statuses[job].terminal)
    if jobs:
        stopping = settle(session, stored.plan, open_before, reason, progress)
        _cancel_running(session, sweep, stopping, reason)
        withdraw_jobs(session, sweep, wanted - frozenset(stopping))
    else:
        found = find_hold(session, sweep)
        if not open_before and (found is None or not found.cancels_all):
            return Cancelled(sweep, 0, (), len(wanted))
        _place(session, sweep, Hold(kind="cancelled", reason=reason))
        stopping = settle(session, stored.plan, open_before, reason, progress)
        withdraw(session, sweep, progress)
    if not stopping and all_terminal(stored.plan, job_statuses(session, sweep)):
        mark_complete(session, stored.plan)
    return Cancelled(sweep, len(open_before) - len(stopping), tuple(stopping), len(wanted) - len(open_before))


def pause(session: Session, sweep: str, reason: str = "", progress: Progress = silent) -> Paused:
    """Stop a sweep until it is resumed. Raises InputError where it is cancelled, or has no job left."""
    stored = _open_plan(session, sweep)
    if all_terminal(stored.plan, job_statuses(session, sweep)):
        raise InputError(f"Every job of {sweep} has ended: there is nothing to stop.")
    hold = _place(session, sweep, Hold(kind="paused", reason=reason or f"paused by {session.user}"))
    withdraw(session, sweep, progress)
    statuses = job_statuses(session, sweep).values()
    held_for_s = session.durations.visibility_timeout_s
    return Paused(sweep, hold, sum(status.held_by_worker(held_for_s) for status in statuses))


def resume(session: Session, sweep: str, progress: Progress = silent) -> Resumed:
    """Let a paused sweep go on, and send its open jobs. Raises InputError where a hold is there for another reason."""
    stored = _open_plan(session, sweep)
    found = find_hold(session, sweep)
    if found is not None and found.cancels_all:
        raise InputError(f"{sweep} is cancelled. To run it again: tranquility retry {sweep} --cancelled")
    if found is not None and found.hold.kind == "budget":
        raise InputError(
            f"{sweep} has used up its budget ({found.hold.reason}). To go on, raise budget_usd in its file and "
            "enqueue that again."
        )
    paused = found is not None and found.hold.kind == "paused"
    lifted = lift(session, sweep, found.etag) if found is not None and paused else False
    return Resumed(sweep, lifted, send_open(session, stored.plan, progress, after_hold=True))


def lift(session: Session, sweep: str, etag: str) -> bool:
    """Remove the hold with this ETag; return whether it was there.

    Messages of a held sweep are deleted when received, so the records of what was sent go first: from then on every
    open job counts as not sent, and whoever sends next, even after a crash right here, sends it.
    """
    forget_sent(session, sweep)
    try:
        session.blobs.delete(names.SWEEPS, names.hold(sweep), Unchanged(etag))
    except ConditionFailed:
        return False
    return True


def send_open(session: Session, plan: Plan, progress: Progress = silent, *, after_hold: bool) -> int:
    """Send every open job without a recorded message; after a hold running ones too, whose messages may be deleted."""
    found = find_hold(session, plan.sweep)
    records = SentRecords(session, plan.sweep)
    due = due_jobs(
        plan,
        job_statuses(session, plan.sweep),
        records.newest_epochs(),
        found.hold if found else None,
        held_for_s=0.0 if after_hold else session.durations.visibility_timeout_s,
    )
    return send(session, plan, due, records, progress)


def settle(session: Session, plan: Plan, jobs: Collection[str], reason: str, progress: Progress = silent) -> list[str]:
    """Write `cancelled` for each of these jobs that no worker has; return those that one has."""
    stopping: list[str] = []
    claimed = job_statuses(session, plan.sweep)

    def end(job_id: str) -> None:
        if not _end_job(session, plan.job(plan.by_id[job_id]), reason, claimed=job_id in claimed):
            stopping.append(job_id)

    fan_out(session.runtime, end, sorted(jobs), progress)
    return sorted(stopping)


def settle_hold(session: Session, plan: Plan, found: StoredHold) -> bool:
    """Finish what a cancel began: end the jobs that workers gave up since. Return whether the hold still stands.

    A hold of single jobs goes when they have ended; that of a whole sweep stays, as the word that it is cancelled.
    """
    covered = [planned.id for planned in plan.jobs if found.hold.covers(planned.id)]
    statuses = job_statuses(session, plan.sweep)
    still_open = [job for job in covered if job not in statuses or not statuses[job].terminal]
    if settle(session, plan, still_open, found.hold.reason) or found.cancels_all:
        return True
    with contextlib.suppress(ConditionFailed):
        session.blobs.delete(names.SWEEPS, names.hold(plan.sweep), Unchanged(found.etag))
    return find_hold(session, plan.sweep) is not None


def _open_plan(session: Session, sweep: str) -> StoredPlan:
    stored = read_plan(session.blobs, sweep)
    if stored.plan.deleted:
        raise InputError(f"{sweep} is being deleted. End that with: tranquility delete {sweep}")
    return stored


def _place(session: Session, sweep: str, hold: Hold) -> Hold:
    """Put a hold on a whole sweep; return the one that stands. Cancelled is the strongest."""
    for _ in range(REWRITES):
        found = find_hold(session, sweep)
        if found is not None:
            if found.cancels_all and hold.kind != "cancelled":
                raise InputError(f"{sweep} is cancelled. To run it again: tranquility retry {sweep} --cancelled")
            if found.cancels_all or (found.hold.kind != "cancelled" and hold.kind != "cancelled"):
                return found.hold
            if found.hold.jobs and hold.kind != "cancelled":
                if settle_hold(session, read_plan(session.blobs, sweep).plan, found):
                    raise InputError(
                        f"{plural(len(found.hold.jobs), 'cancelled job', 'are')} still stopping in {sweep}: "
                        "try again in a minute."
                    )
                continue
        with contextlib.suppress(ConditionFailed):
            write_hold(session.blobs, sweep, hold, Unchanged(found.etag) if found else Absent())
            return hold
    raise StorageUnavailable(f"The hold of {sweep} changed {REWRITES} times in a row while we wrote it.")


def _cancel_running(session: Session, sweep: str, jobs: Collection[str], reason: str) -> None:
    """Tell the workers that have these jobs. Under a pause they stop anyway, and a later call ends them."""
    for _ in range(REWRITES):
        found = find_hold(session, sweep)
        if not jobs or (found is not None and (found.hold.kind != "cancelled" or found.cancels_all)):
            return
        together = frozenset(jobs) | frozenset(found.hold.jobs if found else ())
        hold = Hold(kind="cancelled", jobs=tuple(sorted(together)), reason=reason)
        if found is not None and found.hold.jobs == hold.jobs:
            return
        with contextlib.suppress(ConditionFailed):
            write_hold(session.blobs, sweep, hold, Unchanged(found.etag) if found else Absent())
            return
    raise StorageUnavailable(f"The hold of {sweep} changed {REWRITES} times in a row while we wrote it.")


def _end_job(session: Session, job: Job, reason: str, *, claimed: bool) -> bool:
    """Write `cancelled` as a claim would be written, by CAS; return False where a worker has the job (rule 4)."""
    nonce = session.runtime.nonce()
    for attempt in range(REWRITES):
        found = read_manifest(session, job.sweep, job.id) if claimed or attempt else None
        before = found.manifest if found else None
        if before is not None and before.terminal:
            return True
        silent_after_s = session.durations.visibility_timeout_s
        if found is not None and found.manifest.status == "running" and found.age_s < silent_after_s:
            return False
        after = ended_unclaimed(job, before, "cancelled", reason, nonce=nonce)
        condition = Unchanged(found.etag) if found else Absent()
        name = names.manifest(job.sweep, job.id)
        with contextlib.suppress(ConditionFailed):
            session.blobs.put(names.SWEEPS, name, after.canonical(), condition, after.metadata())
            return True
    raise StorageUnavailable(f"The manifest of {job.sweep}/{job.id} changed {REWRITES} times in a row.")
