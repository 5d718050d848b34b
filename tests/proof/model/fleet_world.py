"""The state of the fleet model: a scale set, its VMs with their slots and retire services, a queue, and who scales.

What is abstracted, and why that hides nothing:

- **Jobs** are alike: what counts is how many wait, how many a slot holds, and how many hide behind a slot that is gone.
- **Names** of VMs are never used twice. A place is used again only when nobody remembers who was there.
- **Time.** Any time may pass between two moves, with these bounds of the protocol: a tick does nothing by what it read
  more than 30 s ago, so minutes that pass end all ticks that are under way; slots that live report every two minutes,
  so only the frozen are silent for ten.
- **The set's ETag** is a bit of everybody who has read it.
- **Reports** are published when they change; where that is late, which is a fault, the old one stands meanwhile.
- Rule 13, back-off of raises and droughts only slow things down, and are left out; the schedules have them.
"""

from typing import Final, Literal, NamedTuple

from worker.contract.control import Flag

IDLE, BUSY, STOPPED = "idle", "busy", "stopped"
LISTED: Final = frozenset({"booting", "running", "deleting"})


class Said(NamedTuple):
    """A slot's report, as it is published."""

    state: Literal["starting", "idle", "busy", "stopped"] = "starting"
    answers: Flag | None = None
    long: bool = False
    """Whether it has been idle for as long as retiring takes."""


class Slot(NamedTuple):
    """A slot's process."""

    at: str = "receive"
    """receive, flags (after a receive), flagged (before one), work, ended."""
    holds: bool = False
    """Whether it has a message."""
    said: Said = Said()
    now: Said = Said()
    """What it would say now: differs where publishing is late."""


class Service(NamedTuple):
    """A VM's retire service in the middle of a step."""

    at: str = ""
    drain: bool = False
    retire: bool = False
    slots: tuple[Said, ...] = ()
    step: object = None
    stopped: frozenset[int] = frozenset()
    """Slots that it has stopped, and answered for, under the flag that stands."""
    under: Flag | None = None
    """That flag."""


class Vm(NamedTuple):
    """A place for a VM."""

    state: str = ""
    """Empty, booting, running, deleting, gone (its flags remain)."""
    counted: bool = True
    """Whether the capacity includes it."""
    frozen: bool = False
    drain: bool = False
    retire: bool = False
    slots: tuple[Slot, ...] = ()
    service: Service = Service()


class Known(NamedTuple):
    """What a producer remembers from tick to tick."""

    zero: bool = False
    audited: bool = False
    empty: bool = False
    booked: frozenset[int] = frozenset()


class Seen(NamedTuple):
    """What a tick has read so far."""

    capacity: int = 0
    listed: tuple[str, ...] = ()
    drain: tuple[bool, ...] = ()
    retire: tuple[bool, ...] = ()
    slots: tuple[tuple[Said, ...], ...] = ()
    frozen: tuple[bool, ...] = ()


class Tick(NamedTuple):
    """A producer: a watch that ticks for ever, or the closing ticks of an enqueue; or the wake."""

    kind: str = ""
    """Empty = nobody; watch, close, wake."""
    at: str = ""
    """What it reads or does next; empty: between two ticks; wait: until nobody acts by older looks any more."""
    known: Known = Known()
    seen: Seen = Seen()
    fresh: bool = False
    """Whether the set's ETag is as it was read."""
    todo: tuple[tuple[str, object], ...] = ()
    short: int = 0
    """How many VMs are still missing; at 0 or less the laptop of an enqueue may close …"""
    shrinks: bool = False
    """… unless the capacity may still go down by itself."""


class Faults(NamedTuple):
    """How many of each kind there may still be, and how many in all."""

    evict: int = 0
    freeze: int = 0
    lost: int = 0
    """Answers of the resource manager."""
    late: int = 0
    """A PATCH that arrives late."""
    lag: int = 0
    """A report that is published late."""
    crash: int = 0
    """Of a watching producer, which starts again."""
    lid: int = 0
    """Of a watching producer, for good: its laptop closes."""
    total: int = 9


class Fleet(NamedTuple):
    """A state."""

    capacity: int
    vms: tuple[Vm, ...]
    ticks: tuple[Tick, ...]
    waiting: int
    hidden: int
    """Messages that nobody holds, and that are not visible yet."""
    to_come: int
    """Jobs that will be enqueued."""
    left: Faults
    late: tuple[int, bool] | None = None
    """A PATCH on its way: its capacity, and whether its ETag is still the set's."""

    @property
    def messages(self) -> int:
        """Return how many messages there are."""
        return self.waiting + self.hidden + sum(slot.holds for vm in self.vms for slot in vm.slots)


def with_vm(fleet: Fleet, place: int, vm: Vm) -> Fleet:
    """Return the fleet with another VM in a place."""
    return fleet._replace(vms=(*fleet.vms[:place], vm, *fleet.vms[place + 1 :]))


def with_tick(fleet: Fleet, number: int, tick: Tick) -> Fleet:
    """Return the fleet with another state of a producer."""
    return fleet._replace(ticks=(*fleet.ticks[:number], tick, *fleet.ticks[number + 1 :]))


def spend(left: Faults, kind: str) -> Faults | None:
    """Return the budget after one more fault, or None where there may be no more."""
    if not left.total or not getattr(left, kind):
        return None
    return left._replace(**{kind: getattr(left, kind) - 1, "total": left.total - 1})
