"""How a slot tells the world that it lives: pulse, slot report and watchdog; and how it hears of an eviction.

One thread for as long as the process lives, so that none of it depends on what the trainer does.
"""

from worker.contract.control import Control
from worker.contract.errors import StorageError
from worker.notify import Supervisor
from worker.slot import Slot
from worker.vm.files import notice_file, read_notice

LOOK_S = 0.5
"""An eviction notice is 30 s at best: it is looked for twice a second, and is one stat of a file in memory."""


class Presence:
    """The slot's signs of life."""

    def __init__(self, slot: Slot, supervisor: Supervisor) -> None:
        self._slot = slot
        self._supervisor = supervisor
        self._control = Control(slot.presence_blobs)
        self._notice = notice_file(slot.runtime_directory)
        self._ended = slot.runtime.event()
        self._reported_s = self._pulsed_s = float("-inf")
        self._task = slot.spawn("presence", self._work)

    def join(self) -> None:
        """End the thread and publish the last report, which may be the answer to a drain."""
        self._ended.set()
        self._task.join()
        try:
            self._publish()
        except StorageError as error:
            self._slot.log.warning("presence.failed", error=str(error), next="the retire service answers for this slot")

    def _work(self) -> None:
        look_s = min(LOOK_S, self._slot.durations.slot_report_s / 4)
        while not self._slot.runtime.wait(self._ended, look_s):
            self._hear_of_an_eviction()
            self._feed_the_watchdog()
            try:
                self._publish()
            except StorageError as error:
                self._slot.log.warning("presence.failed", error=str(error), next="tries again")
                self._reported_s = self._slot.runtime.monotonic() - self._slot.durations.slot_report_s + 2.0

    def _hear_of_an_eviction(self) -> None:
        if self._slot.stop.reason is None and read_notice(self._notice) is not None:
            self._slot.log.warning("eviction.noticed", next="commits, gives the message back, and receives no more")
            self._slot.stop.ask("evicted")

    def _feed_the_watchdog(self) -> None:
        if self._slot.liveness.without_sign_s() < self._slot.durations.watchdog_s:
            self._supervisor.alive()

    def _publish(self) -> None:
        now_s, durations = self._slot.runtime.monotonic(), self._slot.durations
        if self._slot.signs.changed.is_set() or now_s - self._reported_s >= durations.slot_report_s:
            self._slot.signs.changed.clear()
            self._control.report_slot(self._slot.signs.report())
            self._reported_s = now_s
        if now_s - self._pulsed_s >= durations.pulse_s:
            self._control.pulse(self._slot.name)
            self._pulsed_s = now_s
