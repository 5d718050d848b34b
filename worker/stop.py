"""Why a slot should stop: one request, set by whoever learns of it first, answered at the next boundary."""

from typing import Literal

from worker.contract.runtime import Runtime

Reason = Literal["evicted", "stopped", "drained", "held", "storage", "lost"]


class Stopped(BaseException):
    """Unwinds the trainer at a boundary."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class StopRequest:
    """Raised once, for one slot or one job. What happens to the job is decided by its first reason."""

    def __init__(self, runtime: Runtime, parent: "StopRequest | None" = None) -> None:
        self._runtime = runtime
        self._parent = parent
        self._reason: Reason | None = None
        self._asked_s = 0.0
        self.event = runtime.event()
        """Set together with the reason, for waits. A job's request does not set its slot's."""

    def ask(self, reason: Reason) -> None:
        """Ask for a stop. Safe in a signal handler."""
        if self._reason is None:
            self._asked_s = self._runtime.monotonic()
            self._reason = reason
            self.event.set()

    @property
    def reason(self) -> Reason | None:
        """Return why to stop, or None."""
        return self._reason or (self._parent.reason if self._parent else None)

    def since_s(self) -> float:
        """Return the seconds since the stop was asked for; 0 while it was not."""
        if self._reason is not None:
            return self._runtime.monotonic() - self._asked_s
        return self._parent.since_s() if self._parent else 0.0
