"""The audit: when the queue is empty, are all jobs that were planned ended (rule 7)? What is not is sent again."""

from dataclasses import dataclass

from producer.session import Session
from producer.sweep.hold import find_hold, settle_hold
from producer.sweep.plans import (
    all_terminal,
    is_marked_complete,
    job_statuses,
    mark_complete,
    sweeps,
)
from producer.sweep.sending import Due, due_jobs, send
from worker.contract.errors import InputError
from worker.contract.plan import Plan
from worker.contract.plans import find_plan


@dataclass(frozen=True)
class AuditReport:
    """What an audit found and did."""

    resent: int = 0
    """Messages sent again."""
    complete: tuple[str, ...] = ()
    """Sweeps found to be complete, and marked so."""
    held: tuple[str, ...] = ()
    """Sweeps passed over because they are on hold."""
    unread: tuple[str, ...] = ()
    """Why sweeps were passed over that this release cannot read, a sentence each: their jobs may wait for a message."""


@dataclass(frozen=True)
class _Looked:
    """A sweep that is not marked complete."""

    plan: Plan
    complete: bool
    held: bool
    due: list[Due]


def audit(session: Session) -> AuditReport:
    """Compare the plans and manifests of all sweeps not marked complete, and send again what has not ended.

    To be called at count 0. It asks for the count once more before it sends: an enqueue that began meanwhile needs no
    help. Requests: 2 a sweep, and for an unmarked one 2 more, and 1 for every 5,000 of its jobs.

    Raises:
        StorageError: nothing is known; what was sent until then does no harm.
    """
    looked: list[_Looked] = []
    unread: list[str] = []
    for sweep in sweeps(session.blobs):
        try:
            found = _look(session, sweep)
        except InputError as error:  # a newer release wrote it: the other sweeps are none the worse for that
            unread.append(error.detail)
        else:
            looked += [found] if found else []
    resent = 0
    if any(one.due for one in looked) and session.jobs.count() == 0:
        resent = sum(send(session, one.plan, one.due) for one in looked)
    return AuditReport(
        resent,
        complete=tuple(one.plan.sweep for one in looked if one.complete),
        held=tuple(one.plan.sweep for one in looked if one.held),
        unread=tuple(unread),
    )


def _look(session: Session, sweep: str) -> _Looked | None:
    """Finish what a cancel began, mark the sweep where all has ended, and return what is due; None where nothing is.

    Raises InputError where this release cannot read the sweep, and StorageError.
    """
    if is_marked_complete(session.blobs, sweep):
        return None
    stored = find_plan(session.blobs, sweep)
    if stored is None or stored.plan.deleted:
        return None
    found = find_hold(session, sweep)
    held = found is not None and (found.hold.kind != "cancelled" or settle_hold(session, stored.plan, found))
    statuses = job_statuses(session, sweep)
    if all_terminal(stored.plan, statuses):
        return _Looked(stored.plan, mark_complete(session, stored.plan), held, [])
    held_for_s = session.durations.visibility_timeout_s
    hold = found.hold if found is not None else None
    return _Looked(stored.plan, False, held, due_jobs(stored.plan, statuses, {}, hold, held_for_s=held_for_s))
