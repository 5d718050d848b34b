"""Whole fleets through random schedules: who scales, what Azure does to them, and what must never come of it.

The producer loop, the retire services and the wake's definition are the real ones. One seed is one schedule.
"""

import contextlib
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Final

from producer.fleet.look import Instance, ScaleSetState
from tests.fakes.clock import Ended
from tests.fakes.fleet import Fleet
from tests.fakes.fleet_clients import Weather
from worker.contract.errors import CapacityRefused, FleetError, SetChanged, Throttled

HOUR_S: Final = 3600.0
LIST_AGE_S: Final = 60.0
"""So old may Azure's list of instances be (azure-sdk-for-net#36946)."""
WHO: Final = ("nobody", "watches", "the wake", "watches and the wake", "a watch that closes")
"""Who scales besides the laptops that enqueue, and close when their closing ticks are through."""
UNATTENDED: Final = frozenset({"nobody", "a watch that closes"})
"""There a VM that Azure takes, or that breaks, is not replaced, and so none does. The watch dies at any request."""


@dataclass(frozen=True)
class Played:
    """What came of a schedule."""

    seed: int
    counts: Counter[str]
    wrong: str = ""
    """Which promise it broke."""


class Storm(Weather):
    """Azure Resource Manager on a bad day: 429, 500, 409, requests and answers that are late or lost, old lists."""

    def __init__(self, fleet: Fleet, rate: float, counts: Counter[str]) -> None:
        self._fleet, self._rate, self._counts = fleet, rate, counts
        self._lists: deque[tuple[float, tuple[Instance, ...]]] = deque()

    def before(self, what: str) -> None:
        fault = self._draw(["429", "500", "409", "refused", "late"])
        if fault == "429":
            raise Throttled("429", self._fleet.chance.choice([10.0, 40.0, 120.0]))
        if fault == "500":
            raise FleetError("500")
        if fault == "409" and what != "read":
            raise SetChanged("409")
        if fault == "refused" and what == "raise":
            raise CapacityRefused("quota")
        if fault == "late":
            self._fleet.runtime.advance(self._fleet.chance.choice([8.0, 25.0, 60.0]))

    def after(self, what: str) -> None:
        fault = self._draw(["lost", "slow"])
        if fault == "lost":
            raise FleetError("no answer")
        if fault == "slow":
            self._fleet.runtime.advance(self._fleet.chance.choice([8.0, 25.0, 60.0]))

    def listed(self, state: ScaleSetState) -> ScaleSetState:
        now_s = self._fleet.runtime.now_s
        self._lists.append((now_s, state.instances))
        while self._lists[0][0] < now_s - LIST_AGE_S:
            self._lists.popleft()
        return replace(state, instances=self._lists[0][1]) if self._draw(["old list"]) else state

    def _draw(self, kinds: list[str]) -> str:
        if self._fleet.chance.random() >= self._rate:
            return ""
        fault = self._fleet.chance.choice(kinds)
        self._counts[fault] += 1
        return fault


def misfortune(fleet: Fleet) -> None:
    """Let something go wrong."""
    living = fleet.living()
    what = fleet.chance.choice(["evict", "freeze", "stop", "drought", "throttle", "conflict", "outage", "nothing"])
    if what == "drought":
        fleet.inner.droughts += 2
    elif what == "throttle":
        fleet.inner.faults.append(Throttled("429", 40.0))
    elif what == "conflict":
        fleet.inner.faults.append(SetChanged("409"))
    elif what == "outage":
        fleet.outage = not fleet.outage
    elif living:
        vm = fleet.chance.choice(living)
        if what == "evict":
            fleet.inner.evict(vm.name)
        elif what == "freeze":
            vm.freeze()
        elif what == "stop":
            fleet.inner.break_down(vm.name)


def play(seed: int, folder: Path) -> Played:
    """Play one schedule to its end."""
    counts: Counter[str] = Counter()
    try:
        with _fleet(seed, folder) as fleet:
            who = WHO[seed % len(WHO)]
            sure = _live(fleet, who, counts)
            counts["requests"] = len(fleet.requests)
            counts["PATCHes"] = sum(what in {"raise", "clear"} for what, _ in fleet.inner.writes)
            counts["deletions"] = sum(what == "delete" for what, _ in fleet.inner.writes)
            return Played(seed, counts, _judge(fleet, who, sure=sure))
    except AssertionError as error:
        return Played(seed, counts, str(error))


@contextlib.contextmanager
def _fleet(seed: int, folder: Path) -> Iterator[Fleet]:
    shape = Random(seed)
    with contextlib.closing(
        Fleet(
            seed,
            folder,
            max_instances=shape.randint(1, 4),
            slots=shape.randint(1, 3),
            lowers_late=shape.random() < 0.5,
        )
    ) as fleet:
        yield fleet


def _live(fleet: Fleet, who: str, counts: Counter[str]) -> bool:
    """Let jobs come and things go wrong; return whether every enqueue closed knowing that VMs come for its jobs."""
    stop, closings = fleet.runtime.event(), list[bool]()
    fleet.clients.weather = Storm(fleet, fleet.chance.choice([0.0, 0.05, 0.2]), counts)
    if "watches" in who:
        for _ in range(fleet.chance.randint(1, 3)):
            fleet.watch(stop)
    if "wake" in who:
        fleet.wake()
    if who == "a watch that closes":
        fleet.watch(stop)
        _close_watch(fleet, counts, closings)
    else:
        _pause_producers(fleet, counts)
    for _ in range(fleet.chance.randint(2, 8)):
        if fleet.chance.random() < 0.5:
            closings.append(fleet.enqueue(fleet.chance.randint(1, 6)).enough)
        if who not in UNATTENDED:
            misfortune(fleet)
        # The next enqueue meets VMs that work, that are idle, that retire, or that have just gone.
        fleet.run(fleet.chance.choice([1.0, 30.0, 320.0, 340.0, 360.0, 700.0, 2000.0]))
    fleet.outage = False
    fleet.pause = lambda: 0.0
    fleet.clients.weather = Weather()
    fleet.run_until_quiet(40 * HOUR_S if who == "the wake" else 8 * HOUR_S)
    stop.set()
    return all(closings)


def _pause_producers(fleet: Fleet, counts: Counter[str]) -> None:
    """Let what scales stand still before any of its requests: a laptop sleeps, a Logic App is held up."""
    rate = fleet.chance.choice([0.0, 0.01, 0.05])

    def pause() -> float:
        if not fleet.runtime.in_strand or fleet.chance.random() >= rate:
            return 0.0
        counts["pauses"] += 1
        return fleet.chance.choice([20.0, 40.0, 120.0, 700.0])

    fleet.pause = pause


def _close_watch(fleet: Fleet, counts: Counter[str], closings: list[bool]) -> None:
    """Let the laptop that watches close for good: just after it has flagged a VM, or before any other request.

    While the flag is on its way an enqueue comes, which counts on that VM.
    """
    left = fleet.chance.randint(1, 600)

    def enqueue() -> None:
        closings.append(fleet.enqueue(fleet.chance.randint(1, 6)).enough)

    def close() -> float:
        nonlocal left
        if not fleet.runtime.in_strand:
            return 0.0
        left -= 1
        if left <= 0:
            counts["closed while watching"] += 1
            raise Ended
        if not fleet.requests[-1].startswith("put drain/") or fleet.chance.random() < 0.5:
            return 0.0
        left = 1
        counts["closed after a flag"] += 1
        fleet.runtime.after(0.0, enqueue)
        return fleet.chance.choice([1.0, 5.0, 20.0])

    fleet.pause = close


def _judge(fleet: Fleet, who: str, *, sure: bool) -> str:
    """Return which promise is broken at the end. An enqueue that said that it could not get VMs has told a person."""
    if fleet.left_to_do and (who not in UNATTENDED or sure):
        return f"{len(fleet.left_to_do)} jobs are left, the capacity is {fleet.inner.capacity} ({who} scaling)"
    if not fleet.left_to_do and (fleet.inner.capacity or fleet.inner.names):
        return f"the capacity stays {fleet.inner.capacity} with nothing to do ({who} scaling)"
    return ""
