"""Runtimes on a clock that the test moves."""

from collections.abc import Callable

from tests.fakes.clock import VirtualRuntime
from worker.contract.runtime import RealRuntime, Task


class HandRuntime(RealRuntime):
    """Real threads, and a monotonic clock that only the test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


class _Unstarted:
    def __init__(self, work: Callable[[], None]) -> None:
        self._work: Callable[[], None] | None = work

    def join(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()


class InlineRuntime(VirtualRuntime):
    """A virtual clock whose threads run when they are joined: what happens meanwhile stands in the agenda."""

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        return _Unstarted(work)
