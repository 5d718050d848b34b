"""Time, threads and chance, injected: the simulator runs the same loops on a virtual clock."""

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol


class Event(Protocol):
    """A flag that threads wait for."""

    def set(self) -> None:
        """Raise the flag."""

    def clear(self) -> None:
        """Lower the flag."""

    def is_set(self) -> bool:
        """Return whether the flag is up."""


class Task(Protocol):
    """A running thread."""

    def join(self) -> None:
        """Wait until it has ended."""


class Runtime(Protocol):
    """What a loop needs of the world besides storage."""

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back and goes on while the machine sleeps."""

    def utc(self) -> str:
        """Return the date and time for people, ISO 8601. Never compared."""

    def nonce(self) -> str:
        """Return 16 random hex digits."""

    def event(self) -> Event:
        """Return a lowered flag."""

    def lock(self) -> AbstractContextManager[object]:
        """Return a mutex."""

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        """Wait until the flag is up or the time is over; return whether it is up."""

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        """Run `work` in a thread."""


class RealRuntime:
    """The machine's own clock and threads."""

    def monotonic(self) -> float:
        """Return CLOCK_BOOTTIME where there is one: a laptop's sleep counts."""
        clock: int | None = getattr(time, "CLOCK_BOOTTIME", None)
        return time.monotonic() if clock is None else time.clock_gettime(clock)

    def utc(self) -> str:
        """Return the wall clock's time."""
        return datetime.now(UTC).isoformat(timespec="seconds")

    def nonce(self) -> str:
        """Return random digits of the operating system, which a trainer's seeds do not touch."""
        return secrets.token_hex(8)

    def event(self) -> Event:
        """Return a threading.Event."""
        return threading.Event()

    def lock(self) -> AbstractContextManager[object]:
        """Return a threading.Lock."""
        return threading.Lock()

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        """Wait on a threading.Event."""
        if not isinstance(event, threading.Event):
            raise TypeError("this event belongs to another runtime")
        return event.wait(timeout_s)

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        """Start a daemon thread: a slot that must exit does not wait for a hung upload."""
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        return thread
