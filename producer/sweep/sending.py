"""Sends jobs' messages and keeps a record of each (rule 7): what was sent is not sent again, and can be withdrawn."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal

from pydantic import Field

from producer.session import Session
from producer.sweep.parallel import Progress, fan_out, silent
from producer.sweep.plans import JobStatus, unmark_complete
from worker.contract import names
from worker.contract.base import SCHEMA_VERSION, Frozen, JobId
from worker.contract.control import Hold, read_hold
from worker.contract.errors import ConditionFailed, MessageGone
from worker.contract.plan import Plan, PlannedJob
from worker.contract.queue import Receipt
from worker.contract.records import Absent

JOBS_PER_RECORD: Final = 500


class SentMessage(Frozen):
    """A message as it was sent. Until somebody receives it, its pop receipt is good to delete it."""

    job: JobId
    epoch: Annotated[int, Field(ge=0)]
    """Of the job's manifest when this was sent; 0 = it had none. A retry counts it up, and is sent anew."""
    message_id: str
    pop_receipt: str


class SentRecord(Frozen):
    """Up to 500 messages. Written once, under a name of its own; deleted when they are withdrawn."""

    schema_version: Literal[1] = SCHEMA_VERSION
    messages: Annotated[tuple[SentMessage, ...], Field(max_length=JOBS_PER_RECORD)]


@dataclass
class SentRecords:
    """The records of one sweep; `read` again costs one LIST and what is new."""

    session: Session
    sweep: str
    _known: dict[str, SentRecord] = field(default_factory=dict)

    def read(self) -> Mapping[str, SentRecord]:
        """Return the records by blob name."""
        listed = [blob.name for blob in self.session.blobs.list(names.SWEEPS, names.sent(self.sweep, ""))]
        for name in listed:
            if name not in self._known:
                found = self.session.blobs.get(names.SWEEPS, name)
                if found is not None:
                    self._known[name] = SentRecord.model_validate_json(found.body)
        self._known = {name: self._known[name] for name in listed if name in self._known}
        return self._known

    def newest_epochs(self) -> Mapping[str, int]:
        """Return for every job that was sent the epoch of its newest message."""
        epochs: dict[str, int] = {}
        for record in self.read().values():
            for message in record.messages:
                epochs[message.job] = max(message.epoch, epochs.get(message.job, 0))
        return epochs


@dataclass(frozen=True, slots=True)
class Due:
    """A job that needs a message, and its manifest's epoch."""

    planned: PlannedJob
    epoch: int


def due_jobs(
    plan: Plan,
    statuses: Mapping[str, JobStatus],
    sent: Mapping[str, int],
    hold: Hold | None,
    *,
    held_for_s: float,
) -> list[Due]:
    """Return the jobs that need a message: neither ended, nor on hold, nor sent, nor in a worker's hands.

    Args:
        plan: of the sweep.
        statuses: of the jobs that have a manifest.
        sent: epoch of each job's newest recorded message; empty where records prove nothing.
        hold: of the sweep.
        held_for_s: age up to which a running manifest means that a worker has the job; 0 = it proves nothing.
    """
    due = []
    for planned in plan.jobs:
        status = statuses.get(planned.id)
        if hold is not None and hold.covers(planned.id):
            continue
        if status is not None and (status.terminal or status.held_by_worker(held_for_s)):
            continue
        needed = status.epoch if status is not None and status.status == "planned" else 0
        if sent.get(planned.id, -1) >= needed:
            continue
        due.append(Due(planned, status.epoch if status is not None else 0))
    return due


def send(
    session: Session,
    plan: Plan,
    due: Sequence[Due],
    records: SentRecords | None = None,
    progress: Progress = silent,
) -> int:
    """Send messages and record them, 500 at a time; return how many. A hold that comes meanwhile ends it.

    `records` leaves out what somebody else, who enqueues the same sweep now, has recorded meanwhile.
    """
    if due:
        unmark_complete(session, plan.sweep)
    count = 0
    for start in range(0, len(due), JOBS_PER_RECORD):
        hold = read_hold(session.blobs, plan.sweep)
        elsewhere = records.newest_epochs() if records else {}
        part = [
            one
            for one in due[start : start + JOBS_PER_RECORD]
            if elsewhere.get(one.planned.id, -1) < one.epoch and not (hold and hold.covers(one.planned.id))
        ]
        before = start

        def tell(done: int, _of: int, before: int = before) -> None:
            progress(before + done, len(due))

        _send_part(session, plan, part, tell)
        count += len(part)
        progress(min(start + JOBS_PER_RECORD, len(due)), len(due))
    return count


def _send_part(session: Session, plan: Plan, part: Sequence[Due], progress: Progress) -> None:
    sent: list[SentMessage] = []

    def send_one(one: Due) -> None:
        receipt = session.jobs.send(plan.job(one.planned).encode())
        sent.append(
            SentMessage(
                job=one.planned.id, epoch=one.epoch, message_id=receipt.message_id, pop_receipt=receipt.pop_receipt
            )
        )

    try:
        fan_out(session.runtime, send_one, part, progress)
    finally:
        if sent:  # also after an error or Ctrl-C: what went out is not sent again
            _record(session, plan.sweep, sent)


def _record(session: Session, sweep: str, sent: Sequence[SentMessage]) -> None:
    record = SentRecord(messages=tuple(sent))
    with contextlib.suppress(ConditionFailed):  # the nonce is ours: the write that was there first is this one
        session.blobs.put(names.SWEEPS, names.sent(sweep, session.runtime.nonce()), record.canonical(), Absent())


def withdraw(session: Session, sweep: str, progress: Progress = silent) -> None:
    """Delete what was sent and never received, and then the records: after a hold they prove nothing.

    Only for a held sweep: without the hold, a job could lose its message and still count as sent.
    """
    for name, record in SentRecords(session, sweep).read().items():
        delete_messages(session, record.messages, progress)
        session.blobs.delete(names.SWEEPS, name)


def withdraw_jobs(session: Session, sweep: str, jobs: frozenset[str]) -> None:
    """Delete the undelivered messages of some jobs that have ended."""
    for record in SentRecords(session, sweep).read().values():
        delete_messages(session, [message for message in record.messages if message.job in jobs])


def forget_sent(session: Session, sweep: str) -> None:
    """Delete the records of a held sweep, so that lifting the hold sends every open job anew."""
    for blob in session.blobs.list(names.SWEEPS, names.sent(sweep, "")):
        session.blobs.delete(names.SWEEPS, blob.name)


def delete_messages(session: Session, messages: Sequence[SentMessage], progress: Progress = silent) -> None:
    """Delete messages that nobody received yet; the others are left to whoever received them."""

    def delete(message: SentMessage) -> None:
        with contextlib.suppress(MessageGone):
            session.jobs.delete(Receipt(message.message_id, message.pop_receipt))

    fan_out(session.runtime, delete, messages, progress)
