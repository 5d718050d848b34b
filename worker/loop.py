"""What a slot does all day: receive, hand over, drain. The file to read first; `job_run.py` is the second."""

from collections.abc import Callable
from typing import Final

from worker import decisions, fence
from worker.budget import watch_budget
from worker.contract.control import hold_on
from worker.contract.endings import ended_unclaimed
from worker.contract.errors import AccessDenied, MessageRejected, NewerSchema, OwnershipLost, StorageError
from worker.contract.job import Job, decode
from worker.contract.manifest import Status
from worker.contract.queue import Message
from worker.exit_status import LEAVES, STOPPED
from worker.job_run import run_job
from worker.lease import Lease
from worker.plans import Plans
from worker.poison import send_to_poison
from worker.slot import Slot

LONGEST_PAUSE_S: Final = 30.0


class Loop:
    """A slot at work."""

    def __init__(self, slot: Slot, answered: Callable[[], None] = lambda: None) -> None:
        """`answered` is called whenever queue and flags could be read: a slot without its roles never gets so far."""
        self._slot = slot
        self._answered = answered
        self._plans = Plans(slot.blobs)
        self._errors = 0
        self._flagged = False
        self._pause_s = slot.durations.idle_receive_min_s

    def run(self) -> int:
        """Receive and run jobs until a stop is asked for; return the exit status."""
        slot = self._slot
        while slot.stop.reason is None:
            try:
                worked = self._turn()
            except StorageError as error:
                self._after_error(error)
            else:
                self._errors = 0
                self._wait_after(worked=worked)
        slot.signs.stopped()
        slot.log.info("slot.stopped", reason=slot.stop.reason)
        return STOPPED if slot.stop.reason == "stopped" else LEAVES

    def _turn(self) -> bool:
        """Receive once; return whether there was a message.

        The flags are read after every receive, empty ones too, and before any claim (rule 10): whoever raised a flag
        and then saw this slot's answer knows that it holds no message.
        """
        slot = self._slot
        if self._flagged and self._is_flagged():
            return False
        message = slot.jobs.receive(slot.durations.visibility_timeout_s)
        lease = Lease(slot.jobs, message, slot.durations.visibility_timeout_s, slot.runtime) if message else None
        flagged = self._is_flagged()
        self._answered()
        if flagged:
            if lease:
                lease.give_back()
            return False
        slot.signs.idle()
        if message is None or lease is None:
            return False
        self._handle(message, lease)
        return True

    def _is_flagged(self) -> bool:
        """Read this VM's flags, and answer. A drain is for good; a retiring VM may yet be needed."""
        flags = self._slot.control.flags(self._slot.vm)
        if flags.drain:
            self._slot.signs.answers("drain")
            self._slot.stop.ask("drained")
        elif flags.retire:
            self._slot.signs.answers("retire")
        self._flagged = flags.drain or flags.retire
        return self._flagged

    # ---- a message -------------------------------------------------------------------------------------------------

    def _handle(self, message: Message, lease: Lease) -> None:
        slot = self._slot
        try:
            job = decode(message.text)
        except NewerSchema as error:
            slot.log.warning("message.newer", error=str(error), next="this VM drains: its code is old")
            self._hide(lease, slot.durations.visibility_timeout_s)
            slot.control.raise_flag("drain", slot.vm, str(error))
            return
        except MessageRejected as error:
            slot.log.error("message.rejected", error=str(error), message=lease.message_id)
            send_to_poison(slot, str(error), message.text, lease.message_id)
            lease.delete()
            return
        try:
            self._decide(job, message, lease)
        except OwnershipLost as error:
            slot.log.info("claim.lost", job=job.id, error=str(error))  # its message comes back after the timeout
        except StorageError:
            durations = slot.durations
            self._hide(lease, decisions.retry_after_s(self._errors, durations.retry_base_s, durations.retry_max_s))
            raise

    def _decide(self, job: Job, message: Message, lease: Lease) -> None:
        slot = self._slot
        watch_budget(slot, job.sweep)
        seen = fence.read_manifest(slot.blobs, job.sweep, job.id)
        decision = decisions.on_message(
            lease.message_id,
            seen,
            planned=seen is not None or self._plans.names(job),
            hold=hold_on(slot.blobs, job.sweep, job.id),
            worker=slot.name,
            visibility_timeout_s=slot.durations.visibility_timeout_s,
        )
        match decision:
            case decisions.Claim():
                slot.signs.busy(job.sweep, job.id)
                run_job(slot, job, lease, seen)
            case decisions.Hide(seconds, reason, drain):
                slot.log.info("message.hidden", job=job.id, seconds=round(seconds), reason=reason)
                self._hide(lease, seconds)
                if drain:
                    slot.control.raise_flag("drain", slot.vm, reason)
            case decisions.Discard(reason):
                slot.log.info("message.discarded", job=job.id, reason=reason)
                lease.delete()
            case decisions.Bury(reason):
                send_to_poison(slot, reason, message.text, lease.message_id)
                lease.delete()
            case decisions.End(status, reason):
                self._end(job, seen, lease, status, reason)

    def _end(self, job: Job, seen: decisions.Seen | None, lease: Lease, status: Status, reason: str) -> None:
        slot = self._slot
        before = seen.manifest if seen else None
        manifest = ended_unclaimed(
            job,
            before,
            status,
            reason,
            nonce=slot.runtime.nonce(),
            message_id=lease.message_id,
            worker=slot.name,
        )
        fence.create(slot.blobs, slot.runtime, manifest, seen)
        slot.log.warning("job.ended", job=job.id, status=status, reason=reason)
        if status == "poisoned":
            send_to_poison(slot, reason, job.encode(), lease.message_id)
        lease.delete()

    def _hide(self, lease: Lease, seconds: float) -> None:
        lease.give_back(max(seconds, 1.0))

    # ---- between messages ------------------------------------------------------------------------------------------

    def _wait_after(self, *, worked: bool) -> None:
        durations = self._slot.durations
        if worked:
            self._pause_s = durations.idle_receive_min_s
            return
        self._slot.runtime.wait(self._slot.stop.event, self._pause_s)
        self._pause_s = min(self._pause_s * 1.5, durations.idle_receive_max_s)

    def _after_error(self, error: StorageError) -> None:
        """A token, a role or the storage is missing: wait and try again, for as long as it takes."""
        self._errors += 1
        pause_s = min(self._slot.durations.idle_receive_min_s * 2.0 ** min(self._errors, 10), LONGEST_PAUSE_S)
        event = "storage.denied" if isinstance(error, AccessDenied) else "storage.failed"
        self._slot.log.warning(event, error=str(error), again_in_s=round(pause_s, 1))
        self._slot.runtime.wait(self._slot.stop.event, pause_s)
