"""A runtime on a virtual clock: waiting lets the world's agenda run, and no time passes otherwise."""

import heapq
import itertools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from worker.contract.runtime import Event, Task


class VirtualRuntime:
    """A Runtime for one thread. What others do stands in an agenda, and happens while this thread waits."""

    def __init__(self, now_s: float = 10_000.0) -> None:
        self.now_s = now_s
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()

    def monotonic(self) -> float:
        return self.now_s

    def utc(self) -> str:
        return "2026-01-01T00:00:00+00:00"

    def nonce(self) -> str:
        return f"{next(self._sequence):016x}"

    def event(self) -> Event:
        return threading.Event()

    def lock(self) -> AbstractContextManager[object]:
        return threading.Lock()

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        ends_s = self.now_s + (timeout_s if timeout_s is not None else float("inf"))
        while not event.is_set() and self._agenda and self._agenda[0][0] <= ends_s:
            self._next()
        if not event.is_set():
            if ends_s == float("inf"):
                raise AssertionError("waits for ever")
            self.now_s = max(self.now_s, ends_s)
        return event.is_set()

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        raise AssertionError("one thread only")

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Put something on the agenda."""
        heapq.heappush(self._agenda, (self.now_s + seconds, next(self._sequence), action))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.wait(threading.Event(), seconds)

    def _next(self) -> None:
        due_s, _, action = heapq.heappop(self._agenda)
        self.now_s = max(self.now_s, due_s)
        action()
