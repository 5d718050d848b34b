"""A runtime on a virtual clock: waiting lets the world's agenda run, and no time passes otherwise.

What is spawned runs in a thread of its own, but never at the same time as anything else: it goes on when the agenda
says so, and whenever it waits it hands back. So each of several may stand still for long while the others go on, and
the same seed gives the same run.
"""

import heapq
import itertools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from worker.contract.runtime import Event, Task


class Ended(BaseException):
    """The world ends: unwinds what was spawned."""


class Strand:
    """A task that takes turns with the agenda."""

    def __init__(self, runtime: "VirtualRuntime", name: str, work: Callable[[], None]) -> None:
        self._runtime = runtime
        self._work = work
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._closing = self._done = False
        self._error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.thread.start()

    def resume(self) -> None:
        """Let it run until it waits, or ends; what it raises is raised here."""
        if self._done:
            return
        self._go.release()
        self._back.acquire()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def park(self, seconds: float) -> None:
        """Hand back, and go on after so long."""
        self._runtime.after(seconds, self.resume)
        self._back.release()
        self._go.acquire()
        if self._closing:
            raise Ended

    def join(self) -> None:
        """Wait for its end, while time goes by."""
        while not self._done:
            self._runtime.advance(1.0)

    def close(self) -> None:
        """End it where it is."""
        self._closing = True
        self.resume()
        self.thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            if not self._closing:
                self._work()
        except Ended:
            pass
        except BaseException as error:  # noqa: BLE001 - raised by `resume`, where the test is
            self._error = error
        finally:
            self._done = True
            self._back.release()


class VirtualRuntime:
    """A Runtime whose time passes only while somebody waits. What others do stands in an agenda."""

    def __init__(self, now_s: float = 10_000.0) -> None:
        self.now_s = now_s
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._strands: dict[threading.Thread, Strand] = {}

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
        strand = self._strands.get(threading.current_thread())
        if strand is not None:
            assert timeout_s is not None, "waits for ever"
            if not event.is_set():
                strand.park(timeout_s)
            return event.is_set()
        ends_s = self.now_s + (timeout_s if timeout_s is not None else float("inf"))
        while not event.is_set() and self._agenda and self._agenda[0][0] <= ends_s:
            self._next()
        if not event.is_set():
            if ends_s == float("inf"):
                raise AssertionError("waits for ever")
            self.now_s = max(self.now_s, ends_s)
        return event.is_set()

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        strand = Strand(self, name, work)
        self._strands[strand.thread] = strand
        self.after(0.0, strand.resume)
        return strand

    @property
    def in_strand(self) -> bool:
        """Return whether the caller was spawned."""
        return threading.current_thread() in self._strands

    def close(self) -> None:
        """End all that was spawned."""
        for strand in self._strands.values():
            strand.close()
        self._strands.clear()

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
