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
from worker.contract.control import Hold
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


def audit(session: Session) -> AuditReport:
    """Compare the plans and manifests of all sweeps not marked complete, and send again what has not ended.

    To be called at count 0. It asks for the count once more before it sends: an enqueue that began meanwhile needs no
    help. Requests: 2 a sweep, and for an unmarked one 2 more, and 1 for every 5,000 of its jobs.

    Raises:
        StorageError: nothing is known; what was sent until then does no harm.
    """
    complete: list[str] = []
    held: list[str] = []
    due: list[tuple[Plan, list[Due]]] = []
    for sweep in sweeps(session.blobs):
        if is_marked_complete(session, sweep):
            continue
        stored = find_plan(session.blobs, sweep)
        if stored is None or stored.plan.deleted:
            continue
        found = find_hold(session, sweep)
        if found is not None and (found.hold.kind != "cancelled" or settle_hold(session, stored.plan, found)):
            held.append(sweep)
        hold: Hold | None = found.hold if found is not None else None
        statuses = job_statuses(session, sweep)
        if all_terminal(stored.plan, statuses):
            if mark_complete(session, stored.plan):
                complete.append(sweep)
            continue
        held_for_s = session.durations.visibility_timeout_s
        due.append((stored.plan, due_jobs(stored.plan, statuses, {}, hold, held_for_s=held_for_s)))
    resent = 0
    if any(jobs for _, jobs in due) and session.jobs.count() == 0:
        resent = sum(send(session, plan, jobs) for plan, jobs in due)
    return AuditReport(resent, tuple(complete), tuple(held))
