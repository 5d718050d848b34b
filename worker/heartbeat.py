"""While a job runs, its lease and its manifest follow the trainer's progress (rules 4 and 5)."""

from worker import decisions
from worker.attempt import Attempt
from worker.contract.errors import OwnershipLost, StorageError
from worker.contract.log import Logger
from worker.fence import Fence
from worker.lease import Lease
from worker.slot import Slot


class Heartbeat:
    """One thread a job. It is joined before the message is released or deleted."""

    def __init__(self, slot: Slot, claim: Fence, lease: Lease, attempt: Attempt, log: Logger) -> None:
        self._slot, self._claim, self._lease, self._attempt, self._log = slot, claim, lease, attempt, log
        self._ended = slot.runtime.event()
        self._lease_was_lost = False
        self._task = slot.spawn("heartbeat", self._work)

    def join(self) -> None:
        """End the thread and wait for its last request."""
        self._ended.set()
        self._task.join()

    def _work(self) -> None:
        pause_s = min(self._slot.durations.lease_renewal_s, self._slot.durations.manifest_write_s) / 4
        while not self._slot.runtime.wait(self._ended, pause_s):
            try:
                self._beat()
            except StorageError as error:
                self._log.warning("heartbeat.failed", error=str(error), next="trains on, tries again")
            except OwnershipLost as error:
                self._log.warning("ownership.lost", error=str(error))
                self._attempt.stop.ask("lost")
                return
            if self._claim.age_s() > self._slot.durations.storage_patience_s:
                self._log.error("storage.given_up", seconds=round(self._claim.age_s()))
                self._attempt.stop.ask("storage")

    def _beat(self) -> None:
        # A trainer that stands still loses its message: somebody else may fare better.
        if self._slot.liveness.without_progress_s() > self._slot.durations.visibility_timeout_s:
            return
        if self._lease.age_s() >= self._slot.durations.lease_renewal_s:
            self._lease.renew()
        if self._lease.lost and not self._lease_was_lost:
            self._log.warning("lease.lost", message=self._lease.message_id, next="trains on: the manifest is the fence")
            self._lease_was_lost = True
        if self._claim.age_s() >= self._slot.durations.manifest_write_s:
            self._claim.write(lambda manifest: decisions.progressed(manifest, self._attempt.progress()))
