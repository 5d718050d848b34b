"""The way from a process to storage and to Azure Resource Manager, and all that can happen to a request on it.

A request arrives after a while and is carried out at one moment, whatever has become of its sender meanwhile. Its
answer takes another while, or never comes; then the client asks again, as the SDK does, and gives up in the end.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Generic, Literal, TypeVar

from tests.simulator.scenario import PASSING, Fate, Scenario
from tests.simulator.scheduler import Process, Scheduler
from worker.contract.errors import AccessDenied, FleetError, StorageUnavailable

T = TypeVar("T")
Service = Literal["blobs", "queue", "arm", "imds"]

USUAL_S: Final = 0.005
TIMEOUT_S: Final = 0.35
"""PATIENCE's 10 s to read, as times are shrunk here."""
BACKOFF_S: Final = 0.05
ATTEMPTS: Final = 4
"""PATIENCE's retry_total, and the first."""
SLEEP_S: Final = 9.0
"""From one request to the next: so long that the holder of a message loses it, and its successor commits."""
LATE_S: Final = 12.0
"""A late request arrives at most so long after it was given up: three visibility timeouts."""


@dataclass
class Client:
    """A process as the world's services see it."""

    name: str
    kind: Literal["slot", "vm", "laptop", "wake"]
    process: Process
    crash: Callable[[], None]
    """Kills the process."""
    observed: Callable[[], None] = lambda: None
    cut_off: Callable[[], bool] = lambda: False
    """Whether nothing gets through to or from its machine."""
    holds: set[str] = field(default_factory=set)
    """Messages that it received and has not given back, deleted or lost."""
    received_s: dict[str, float] = field(default_factory=dict)
    """Message → when it last received it, whoever did so since."""
    uses: Counter[str] = field(default_factory=Counter)
    """Message → how many requests by its pop receipt are under way: one at a time, for each changes the receipt."""
    since_s: float = 0.0
    """When the command that it carries out began."""


class Flight(Generic[T]):
    """One attempt of a request."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._result: list[T] = []
        self._error: Exception | None = None
        self.answered = False

    def carry_out(self) -> None:
        try:
            self._result.append(self._work())
        except Exception as error:  # noqa: BLE001 - raised where the answer is read
            self._error = error

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]


class Network:
    """All ways there are."""

    def __init__(self, scheduler: Scheduler, scenario: Scenario) -> None:
        self._scheduler = scheduler
        self._loss = scenario.loss
        self._fates = {(one.who, one.number): one.fate for one in scenario.requests}
        self._counts = {"slot": 0, "vm": 0, "laptop": 0, "wake": 0}
        self._down_until_s: dict[Service, float] = {}
        self.applying: Client | None = None
        """Whose request is carried out right now."""
        self.told: Callable[[str, str], None] = lambda _who, _what: None
        self.requests = 0

    def outage(self, service: Service, seconds: float) -> None:
        """Let nothing get through to a service for so long."""
        self._down_until_s[service] = max(self._down_until_s.get(service, 0.0), self._scheduler.now_s + seconds)

    def heal(self) -> None:
        """Let everything through from now on."""
        self._loss = 0.0
        self._fates.clear()
        self._down_until_s.clear()

    def request(self, client: Client, service: Service, work: Callable[[], T]) -> T:
        """Carry a request out, or not. Raises what `work` raises, StorageUnavailable, AccessDenied or FleetError."""
        attempts = 1 if service == "arm" else ATTEMPTS
        for attempt in range(attempts):
            if attempt:
                self._scheduler.sleep(BACKOFF_S * 2**attempt)
            flight = self._attempt(client, service, work)
            client.observed()
            if flight.answered:
                return flight.result()
        raise FleetError("No answer.") if service == "arm" else StorageUnavailable("No answer.")

    def _attempt(self, client: Client, service: Service, work: Callable[[], T]) -> Flight[T]:
        scheduler, noise = self._scheduler, self._scheduler.noise
        thread, flight = scheduler.running(), Flight(work)
        self.requests += 1
        self._counts[client.kind] += 1
        fate = self._fate(client)
        if fate == "denied":
            scheduler.sleep(USUAL_S)
            raise FleetError("403") if service == "arm" else AccessDenied("403 AuthorizationPermissionMismatch.")
        way_s = self._way_there_s(fate)
        outlives = fate == "late" or (noise is not None and noise.random() < 0.5)

        def arrive() -> None:
            if fate == "crash before":
                client.crash()
            elif (client.process.alive or outlives) and self._open(client, service):
                self._carry_out(client, flight, fate)
            if fate != "late" and client.process.alive:
                pause_s = self._way_back_s() if flight.answered else TIMEOUT_S - way_s
                scheduler.go_on(thread, pause_s)

        if fate == "lost":
            scheduler.sleep(TIMEOUT_S)
            return flight
        scheduler.after(way_s, arrive)
        if fate == "late":
            scheduler.sleep(TIMEOUT_S)
        else:
            scheduler.hand_over()
        return flight

    def _carry_out(self, client: Client, flight: Flight[T], fate: Fate | None) -> None:
        self.applying = client
        try:
            flight.carry_out()
        finally:
            self.applying = None
        if fate == "crash after":
            client.crash()
        elif fate == "sleep":
            client.process.pause(SLEEP_S)
        flight.answered = fate not in {"unanswered", "late", "crash after"}

    def _fate(self, client: Client) -> Fate | None:
        noise = self._scheduler.noise
        fate = self._fates.get((client.kind, self._counts[client.kind]))
        if fate is None and self._loss and noise is not None and noise.random() < self._loss:
            fate = noise.choice(PASSING)
        if fate is not None:
            self.told(client.name, f"meets {fate!r} at its next request")
        return fate

    def _open(self, client: Client, service: Service) -> bool:
        return not client.cut_off() and self._down_until_s.get(service, 0.0) <= self._scheduler.now_s

    def _way_there_s(self, fate: Fate | None) -> float:
        noise = self._scheduler.noise
        if fate == "late":
            return TIMEOUT_S + (noise.random() * LATE_S if noise else LATE_S / 2)
        if fate == "slow":
            return TIMEOUT_S * (0.2 + 0.75 * (noise.random() if noise else 0.5))
        if noise is None:
            return USUAL_S
        quick = noise.random()
        return USUAL_S + 0.06 * quick * quick * quick * quick

    def _way_back_s(self) -> float:
        noise = self._scheduler.noise
        if noise is None:
            return 0.0
        slow = noise.random()
        return 0.1 * slow if slow > 0.98 else 0.0
