"""The fleet model: a scale set follows its queue, by the code's own reconcile and retire service (rules 10 and 11)."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from producer.fleet.look import Policy
from tests.proof.model.engine import Move
from tests.proof.model.fleet_rules import DURATIONS, FleetRules
from tests.proof.model.fleet_set import patched
from tests.proof.model.fleet_ticks import tick_moves
from tests.proof.model.fleet_vm import minutes_later, vm_moves
from tests.proof.model.fleet_world import Faults, Fleet, Known, Said, Seen, Slot, Tick, Vm, with_vm

Moves = Iterator[Move[Fleet]]
R = TypeVar("R")


@dataclass(frozen=True)
class FleetModel:
    """A set of at most `most` VMs in `places`. Who scales: watching producers, the wake, and each enqueue's end."""

    rules: FleetRules = field(default_factory=FleetRules)
    left: Faults = field(default_factory=Faults)
    most: int = 1
    places: int = 2
    slots: int = 1
    jobs: int = 1
    watches: int = 0
    wake: bool = False
    begun: bool = False
    """Whether it begins with one VM that has long been idle, and the watches have seen that."""
    answers: dict[Hashable, object] = field(default_factory=dict)

    @property
    def policy(self) -> Policy:
        """Return what reconcile is given."""
        return Policy(self.most, self.slots, DURATIONS)

    def start(self) -> Fleet:
        """Return an empty set, and jobs that will come."""
        known = Known(zero=True, audited=True) if self.begun else Known()
        ticks = (*(Tick("watch", known=known),) * self.watches, *((Tick("wake"),) if self.wake else ()), Tick())
        idle = Slot(said=Said("idle", long=True), now=Said("idle", long=True))
        first = Vm("running", slots=(idle,) * self.slots) if self.begun else Vm()
        vms = (first, *(Vm(),) * (self.places - 1))
        return Fleet(int(self.begun), vms, ticks, 0, 0, self.jobs, self.left)

    def settled(self, fleet: Fleet) -> bool:
        """Return whether all that came is done, and nothing is left running."""
        listed = any(vm.state not in {"", "gone"} for vm in fleet.vms)
        closed = all(tick.kind != "close" for tick in fleet.ticks)
        return not (listed or fleet.capacity or fleet.messages or fleet.late) and closed

    def moves(self, fleet: Fleet) -> Moves:
        """Yield what anybody can do, and say where that leaves work behind."""
        for move in self._moves(fleet):
            left = not move.wrong and _is_left(move.after)
            yield move._replace(wrong="Work is left at 0 with nobody to raise") if left else move

    def _moves(self, fleet: Fleet) -> Moves:
        for number, tick in enumerate(fleet.ticks):
            yield from tick_moves(self, fleet, number, tick)
        for place, vm in enumerate(fleet.vms):
            yield from vm_moves(self, fleet, place, vm)
        yield from self._azure(fleet)
        yield from self._people(fleet)
        yield from self._time(fleet)

    def ask(self, key: Hashable, answer: Callable[[], R]) -> R:
        """Return `answer()`, asked once for every key."""
        try:
            return self.answers[key]  # type: ignore[return-value]  # what is stored under a key came from its answer
        except KeyError:
            made = self.answers[key] = answer()
            return made

    def _people(self, fleet: Fleet) -> Moves:
        """A job is enqueued, by a laptop that stays open until its closing ticks are done."""
        last = len(fleet.ticks) - 1
        if fleet.to_come and not fleet.ticks[last].kind:
            begins = "wait" if self.rules.outlasts_looks and not self.wake else ""
            ticks = (*fleet.ticks[:last], Tick("close", begins))
            after = fleet._replace(waiting=fleet.waiting + 1, to_come=fleet.to_come - 1, ticks=ticks)
            yield Move("a job is enqueued", after)
        if fleet.hidden:
            back = fleet._replace(waiting=fleet.waiting + 1, hidden=fleet.hidden - 1)
            yield Move("a message is visible again", back)

    def _time(self, fleet: Fleet) -> Moves:
        """Minutes go by: who was idle is so for long, and what a tick has read is too old to act by (rule 10)."""
        vms = tuple(minutes_later(vm) for vm in fleet.vms)
        if vms == fleet.vms:
            return
        ticks = tuple(tick._replace(at="", seen=Seen(), todo=(), fresh=False) for tick in fleet.ticks)
        yield Move("minutes go by", fleet._replace(vms=vms, ticks=ticks))

    def _azure(self, fleet: Fleet) -> Moves:
        """What Azure does of its own accord."""
        counted = sum(vm.counted for vm in fleet.vms if vm.state)
        free = next((place for place, vm in enumerate(fleet.vms) if not vm.state), None)
        if counted < fleet.capacity and free is not None:
            yield Move(f"v{free} appears", with_vm(fleet, free, Vm("booting")))
        if fleet.late is not None:
            capacity, fresh = fleet.late
            dropped = fleet._replace(late=None)
            yield Move("a late PATCH gets lost", dropped)
            if fresh or not self.rules.conditional:
                yield from patched(dropped, capacity, f"a late PATCH to {capacity} arrives")


def _is_left(fleet: Fleet) -> bool:
    """Return whether there is work, and neither a VM nor anybody who would ask for one, or has."""
    if fleet.capacity or not fleet.messages or fleet.late is not None:
        return False
    return not any(tick.kind for tick in fleet.ticks) and all(vm.state in {"", "gone"} for vm in fleet.vms)
