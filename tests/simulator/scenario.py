"""What happens in a run, drawn before it begins: from a seed, or by hypothesis, which then shrinks it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Any, Final, Literal, Protocol, TypeVar

T = TypeVar("T")

FleetKind = Literal["slots", "fleet"]
Fate = Literal["lost", "unanswered", "late", "slow", "denied", "crash before", "crash after", "sleep"]
"""What becomes of one request: it never arrives; its answer never comes; it arrives long after it was given up; it
takes long; it is refused as for a missing role; its sender is killed before it leaves, or right after it was carried
out, or does not run for a while from then on."""
PASSING: Final[tuple[Fate, ...]] = ("unanswered", "late", "lost", "slow")
"""Those that any request may meet where the network is bad."""
FATES: Final[tuple[Fate, ...]] = ("crash after", "crash before", *PASSING, "denied", "sleep")


class Chooser(Protocol):
    """Where choices come from. Simpler ones are lower numbers and earlier items."""

    def integer(self, low: int, high: int) -> int:
        """Return a number from `low` to `high`, both included."""

    def item(self, items: Sequence[T]) -> T:
        """Return one of these."""


class SeededChooser:
    """Choices of a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def integer(self, low: int, high: int) -> int:
        return self._random.randint(low, high)

    def item(self, items: Sequence[T]) -> T:
        return self._random.choice(items)


@dataclass(frozen=True)
class Mishap:
    """Something happens at a time: to whom is `which` (modulo how many there are), for how long is `seconds`."""

    at_s: float
    what: str
    which: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class RequestMishap:
    """The n-th request of a kind of client meets a fate."""

    who: Literal["slot", "vm", "laptop", "wake"]
    number: int
    fate: Fate


@dataclass(frozen=True)
class Scenario:
    """One run."""

    kind: FleetKind
    jobs: int = 1
    timesteps: int = 60
    machines: int = 1
    """Largest number of VMs."""
    slots: int = 1
    stride_s: float = 0.2
    sick_jobs: int = 0
    """So many of the jobs raise from the middle of their training on, whoever trains them."""
    watched: bool = False
    """Whether a laptop runs `scale --watch` while things go wrong, and after."""
    wake: bool = True
    competitor: bool = True
    """Whether a slot outside of the set receives all the time, and takes whatever comes free."""
    noise: int = 0
    """Seed of all times that are not in this scenario; 0: everything takes its usual time."""
    loss: float = 0.0
    """Share of requests that meet a random fate short of a crash."""
    mishaps: tuple[Mishap, ...] = ()
    requests: tuple[RequestMishap, ...] = ()
    lowers_late: bool = False
    """Whether Azure lowers the capacity only when a deleted VM is gone."""

    @property
    def undisturbed(self) -> bool:
        """Return whether nothing goes wrong at all."""
        return not self.mishaps and not self.requests and not self.loss and not self.sick_jobs

    def told(self) -> str:
        """Return this as Python, without what is as usual."""
        given = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        parts = [f"{name}={value!r}" for name, value in given.items()]
        return f"Scenario({', '.join(parts)})"


WORKERS: Final = (
    "kill slot",
    "evict",
    "evict with notice",
    "freeze",
    "pause slot",
    "stop slot",
    "crash slot",
    "hang",
    "outage",
    "partition",
    "flag",
    "show message",
    "duplicate message",
    "junk message",
    "newer message",
    "other cpu",
)
USERS: Final = (
    "enqueue again",
    "enqueue more",
    "enqueue other",
    "pause",
    "resume",
    "cancel jobs",
    "cancel",
    "budget",
    "confirm",
    "retry",
    "retry cancelled",
    "delete",
    "audit",
    "kill laptop",
    "close lid",
)
FLEET: Final = (
    "evict all",
    "evict all with notice",
    "evict at boot",
    "foreign event",
    "power off",
    "dead for good",
    "no boot",
    "allocation fails",
    "quota",
    "throttle",
    "conflict",
    "arm outage",
    "scale once",
    "watch",
    "close watch",
    "resume fleet",
    "new release",
)
LENGTHS_S: Final = (0.5, 2.0, 4.5, 6.0, 10.0, 25.0, 60.0, 140.0)
"""From less than a heartbeat to beyond the visibility timeout (4 s), the reap limit (20 s) and all patience (120 s)."""


def _whats(chooser: Chooser, every: tuple[str, ...]) -> tuple[str, ...]:
    """Return what may go wrong in one run: often only a few things, so that they come together more than once."""
    kinds = chooser.item((0, 0, 2, 4))
    return tuple(chooser.item(every) for _ in range(kinds)) or every


def draw(chooser: Chooser) -> Scenario:
    """Draw a scenario."""
    kind: FleetKind = chooser.item(("slots", "slots", "fleet"))
    noisy = chooser.integer(0, 9) > 0
    disturbed = chooser.integer(0, 15) > 0
    busy_s = 40 if kind == "slots" else 80
    whats = _whats(chooser, WORKERS * 2 + USERS if kind == "slots" else WORKERS + USERS + FLEET * 2)
    watched = chooser.item((False, True))
    values: dict[str, Any] = {
        "jobs": chooser.integer(1, 4),
        "timesteps": chooser.item((60, 130, 230)),
        "machines": chooser.integer(1, 3),
        "slots": chooser.item((1, 1, 2)),
        "stride_s": chooser.item((0.2, 0.4)),
        "sick_jobs": chooser.item((0, 0, 0, 1)) if disturbed else 0,
        "watched": watched,
        "wake": not watched or chooser.item((True, False)),
        "competitor": chooser.item((True, True, False)),
        "noise": chooser.integer(1, 10**9) if noisy else 0,
        "loss": chooser.item((0.0, 0.01, 0.05, 0.2)) if noisy and disturbed else 0.0,
        "lowers_late": chooser.item((False, True)),
    }
    mishaps = tuple(
        sorted(
            (
                Mishap(
                    at_s=chooser.integer(0, busy_s * 10) / 10,
                    what=chooser.item(whats),
                    which=chooser.integer(0, 7),
                    seconds=chooser.item(LENGTHS_S),
                )
                for _ in range(chooser.integer(0, 8) if disturbed else 0)
            ),
            key=lambda mishap: mishap.at_s,
        )
    )
    requests = tuple(
        RequestMishap(
            who=chooser.item(("slot", "slot", "slot", "vm", "laptop", "wake")),
            number=chooser.integer(1, 300),
            fate=chooser.item(FATES),
        )
        for _ in range(chooser.integer(0, 4) if disturbed else 0)
    )
    return Scenario(kind, mishaps=mishaps, requests=requests, **values)


def scenario_of(seed: int) -> Scenario:
    """Return the scenario of a seed."""
    return draw(SeededChooser(seed))


def at_every_request(fate: Fate, requests: int) -> tuple[Scenario, ...]:
    """Return one job that meets a fate at the first request of a slot, one at the second, and so on."""
    one = Scenario("slots", timesteps=130, machines=2)
    return tuple(replace(one, requests=(RequestMishap("slot", number, fate),)) for number in range(1, requests + 1))
