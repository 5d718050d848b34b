"""Liveness is progress: whoever shows none for too long loses its message and its process (rule 5)."""

from worker.contract.runtime import Runtime


class Liveness:
    """Counts progress and storage requests; cheap enough to be told of every environment step."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._beats = 0
        self._requests = 0
        self._seen = (-1, -1)
        self._progress_s = runtime.monotonic()
        self._sign_s = self._progress_s

    def beat(self) -> None:
        """Tell of progress: an environment or gradient step, a downloaded block, a replayed step."""
        self._beats += 1

    def request_returned(self) -> None:
        """Tell of a storage request that came back, failed or not: an outage is not a hang."""
        self._requests += 1

    def without_progress_s(self) -> float:
        """Return the seconds since the last progress that was seen."""
        self._look()
        return self._runtime.monotonic() - self._progress_s

    def without_sign_s(self) -> float:
        """Return the seconds since the last progress or storage request that was seen."""
        self._look()
        return self._runtime.monotonic() - self._sign_s

    def _look(self) -> None:
        now = (self._beats, self._requests)
        if now == self._seen:
            return
        self._sign_s = self._runtime.monotonic()
        if now[0] != self._seen[0]:
            self._progress_s = self._sign_s
        self._seen = now
