"""Time, threads and processes of a simulated world: one thing at a time, in an order that a seed decides.

Every simulated thread is a greenlet. It runs until it asks for something that takes time (a request, a wait, a lock
that is held, a join) and hands over to the hub, which takes whatever is due next. Nothing else switches, so that a run
is decided by the times that are drawn, and the same draws give the same run.

A process that is killed never runs again: `Dead` unwinds its threads, and whatever they still try raises `Dead` too, so
that no `finally` of theirs reaches the world.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from types import TracebackType
from typing import Final, TypeVar

from greenlet import GreenletExit, getcurrent, greenlet

from worker.contract.runtime import Event, Task

T = TypeVar("T")
EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
JITTER_S: Final = 0.02
"""Timers are this late at most, where the world is noisy."""


class Dead(GreenletExit):
    """The process of this thread was killed."""


class Stuck(Exception):
    """The world does more in no time than any schedule can ask for: something spins."""


class Process:
    """An operating system's process: what is killed, or paused, as a whole."""

    def __init__(self, scheduler: "Scheduler", name: str, *, skew_s: float = 0.0, booted_s: float = 0.0) -> None:
        self.scheduler = scheduler
        self.name = name
        self.skew_s = skew_s
        """How far its clock is off. For people only: no decision reads it."""
        self.booted_s = booted_s
        """When its machine booted: where its monotonic clock begins."""
        self.alive = True
        self.paused_until_s = 0.0
        self.paused_s = float("-inf")
        """When it was last told to pause."""
        self.threads: dict[Thread, None] = {}
        """In the order of their start, so that whatever is done to all of them is done in one order."""

    def pause(self, seconds: float) -> None:
        """Let none of its threads run for so long (SIGSTOP, a frozen host, a closed laptop)."""
        self.paused_s = self.scheduler.now_s
        self.paused_until_s = max(self.paused_until_s, self.paused_s + seconds)

    def resume(self) -> None:
        """End a pause."""
        self.paused_until_s = 0.0
        for thread in list(self.threads):
            if thread.delayed:
                self.scheduler.ready(thread)

    @property
    def paused(self) -> bool:
        return self.paused_until_s > self.scheduler.now_s

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        if self.alive:
            self.alive = False
            self.scheduler.at(self.scheduler.now_s, self._bury)

    def spawn(self, name: str, work: Callable[[], None]) -> "Thread":
        """Start a thread. What it does not catch is a failure of the run."""
        if not self.alive:
            raise Dead
        thread = Thread(self, f"{self.name}:{name}", work)
        self.threads[thread] = None
        self.scheduler.ready(thread)
        return thread

    def _bury(self) -> None:
        for thread in list(self.threads):
            thread.unwind()


class Thread:
    """A thread of a process."""

    def __init__(self, process: Process, name: str, work: Callable[[], None]) -> None:
        self.process = process
        self.name = name
        self.ended = False
        self.delayed = False
        """It is due, and waits for its process to be resumed."""
        self.turn = 0
        self._work = work
        self._waiting: list[Thread] = []
        self._greenlet = greenlet(self._run, process.scheduler.hub)

    def join(self) -> None:
        """Wait until it has ended."""
        scheduler = self.process.scheduler
        me = scheduler.running()
        while not self.ended:
            self._waiting.append(me)
            scheduler.hand_over()

    def go_on(self) -> None:
        """Run it until it hands over; only by the hub."""
        self.process.scheduler.enter(self, self._greenlet.switch)

    def unwind(self) -> None:
        """Raise `Dead` in it; only by the hub."""
        if not self.ended:
            self.process.scheduler.enter(self, lambda: self._greenlet.throw(Dead))
            self._end()

    def _run(self) -> None:
        try:
            if self.process.alive:
                self._work()
        except Dead:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever a thread dies of is a finding
            self.process.scheduler.crashed(self, error)
        self._end()

    def _end(self) -> None:
        if not self.ended:
            self.ended = True
            self.process.threads.pop(self, None)
            for thread in self._waiting:
                self.process.scheduler.ready(thread)


class Scheduler:
    """The clock, and what is due when."""

    def __init__(self, noise: Random | None = None) -> None:
        self.now_s = 1000.0
        self.noise = noise
        """Draws the times of all that is not in the scenario; None: everything takes its usual time."""
        self.on_crash: Callable[[Thread, BaseException], None] | None = None
        self.steps = 0
        self._due: list[tuple[float, int, Thread | None, int, Callable[[], None] | None]] = []
        self._sequence = itertools.count()
        self.hub = getcurrent()
        self._running: Thread | None = None

    # ---- for the world ----

    def at(self, due_s: float, action: Callable[[], None]) -> None:
        """Let something happen at a time: it must not wait for anything."""
        heapq.heappush(self._due, (max(due_s, self.now_s), next(self._sequence), None, 0, action))

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Let something happen after a while."""
        self.at(self.now_s + seconds, action)

    def run(self, until_s: float, done: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass until `done`, at most until a time; return whether it is done."""
        look_s = self.now_s
        while self._due and self._due[0][0] <= until_s:
            due_s, _, thread, turn, action = heapq.heappop(self._due)
            self.now_s = max(self.now_s, due_s)
            self.steps += 1
            if action is not None:
                action()
            elif thread is not None and thread.turn == turn:
                self._take_turn(thread)
            if self.now_s >= look_s:
                look_s = self.now_s + 0.5
                if done():
                    return True
        self.now_s = max(self.now_s, until_s)
        return done()

    def unwind(self, processes: list[Process]) -> None:
        """End a run: no thread outlives its world."""
        for process in processes:
            process.alive = False
        for process in processes:
            for thread in list(process.threads):
                thread.unwind()

    def crashed(self, thread: Thread, error: BaseException) -> None:
        if self.on_crash is None:
            raise error
        self.on_crash(thread, error)

    # ---- for threads ----

    def running(self) -> Thread:
        """Return the thread that runs now."""
        if self._running is None:
            raise RuntimeError("nothing of a simulated process runs")
        return self._running

    def in_thread(self) -> bool:
        """Return whether a simulated thread asks, and not the world."""
        return self._running is not None

    def ready(self, thread: Thread, after_s: float = 0.0) -> None:
        """Let a thread run when its time has come; an earlier date for it is void."""
        thread.turn += 1
        thread.delayed = False
        heapq.heappush(self._due, (self.now_s + after_s, next(self._sequence), thread, thread.turn, None))

    def go_on(self, thread: Thread, after_s: float) -> None:
        """Let a thread that handed over run after a while, or at once; only by the world."""
        if after_s > 0:
            self.ready(thread, after_s)
        else:
            self._take_turn(thread)

    def hand_over(self) -> None:
        """Let others run until somebody makes this thread ready. Raises Dead."""
        thread = self.running()
        if not thread.process.alive:
            raise Dead
        self.hub.switch()
        if not thread.process.alive:
            raise Dead

    def sleep(self, seconds: float) -> None:
        """Let others run for so long."""
        if not self.running().process.alive:
            raise Dead
        self.ready(self.running(), seconds)
        self.hand_over()

    def jitter_s(self) -> float:
        """Return how late a timer is."""
        return self.noise.random() * JITTER_S if self.noise else 0.0

    def _take_turn(self, thread: Thread) -> None:
        if thread.ended:
            return
        process = thread.process
        if process.paused_until_s > self.now_s:
            thread.turn += 1
            entry = (process.paused_until_s, next(self._sequence), thread, thread.turn, None)
            heapq.heappush(self._due, entry)
            thread.delayed = True
            return
        thread.delayed = False
        thread.go_on()

    def enter(self, thread: Thread, way: Callable[[], object]) -> None:
        """Switch to a thread, and back when it hands over."""
        self._running = thread
        try:
            way()
        finally:
            self._running = None


class SimulatedEvent:
    """A flag of one process."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._up = False
        self.waiting: list[Thread] = []

    def set(self) -> None:
        if not self._up:
            self._up = True
            waiting, self.waiting = self.waiting, []
            for thread in waiting:
                self._scheduler.ready(thread)

    def clear(self) -> None:
        self._up = False

    def is_set(self) -> bool:
        return self._up


class SimulatedLock:
    """A mutex of one process; first come, first served."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False
        self._waiting: deque[Thread] = deque()

    def __enter__(self) -> None:
        while self._held:
            self._waiting.append(self._scheduler.running())
            self._scheduler.hand_over()
        self._held = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = False
        if self._waiting:
            self._scheduler.ready(self._waiting.popleft())


class SimulatedRuntime:
    """The Runtime of one process."""

    def __init__(self, process: Process, nonces: Callable[[], str]) -> None:
        self._process = process
        self._scheduler = process.scheduler
        self._nonces = nonces

    def monotonic(self) -> float:
        return self._scheduler.now_s - self._process.booted_s

    def utc(self) -> str:
        moment = EPOCH + timedelta(seconds=self._scheduler.now_s + self._process.skew_s)
        return moment.isoformat(timespec="seconds")

    def nonce(self) -> str:
        return self._nonces()

    def event(self) -> Event:
        return SimulatedEvent(self._scheduler)

    def lock(self) -> SimulatedLock:
        return SimulatedLock(self._scheduler)

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        if not isinstance(event, SimulatedEvent):
            raise TypeError("this event belongs to another runtime")
        if event.is_set():
            return True
        if timeout_s is not None and timeout_s <= 0:
            return False
        scheduler, thread = self._scheduler, self._scheduler.running()
        event.waiting.append(thread)
        if timeout_s is not None:
            scheduler.ready(thread, timeout_s + scheduler.jitter_s())
        scheduler.hand_over()
        if thread in event.waiting:
            event.waiting.remove(thread)
        return event.is_set()

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        return self._process.spawn(name, work)
