"""What Azure does to a scale set: PATCHes, deletions, evictions."""

from collections.abc import Iterator
from itertools import combinations

from tests.proof.model.engine import Move
from tests.proof.model.fleet_world import Fleet, Service, with_vm

Moves = Iterator[Move[Fleet]]


def changed(fleet: Fleet) -> Fleet:
    """Return the fleet with another ETag of the set: what anybody read of it is old."""
    ticks = tuple(tick._replace(fresh=False, known=tick.known._replace(empty=False)) for tick in fleet.ticks)
    late = (fleet.late[0], False) if fleet.late else None
    return fleet._replace(ticks=ticks, late=late)


def patched(fleet: Fleet, capacity: int, label: str) -> Moves:
    """Yield what becomes of a PATCH of the capacity: where that is less than there are, Azure chooses who goes."""
    living = [place for place, vm in enumerate(fleet.vms) if vm.state in {"booting", "running"}]
    surplus = max(0, len(living) - capacity)
    for victims in combinations(living, surplus):
        after = changed(fleet._replace(capacity=capacity))
        wrong = ""
        for place in victims:
            wrong = wrong or works(fleet, place)
            after = deleted(after, place)
            after = with_vm(after, place, after.vms[place]._replace(counted=False))
        if not capacity:  # that includes nobody, however late Azure would have lowered it
            after = after._replace(vms=tuple(vm._replace(counted=vm.counted and not vm.state) for vm in after.vms))
        yield Move(label, after, wrong=wrong)


def works(fleet: Fleet, place: int) -> str:
    """Return what is wrong with deleting this VM."""
    vm = fleet.vms[place]
    working = not vm.frozen and any(slot.at == "work" for slot in vm.slots)
    return f"v{place} was deleted while it worked" if working else ""


def deleted(fleet: Fleet, place: int) -> Fleet:
    """Return the fleet with a VM on its way out; what it held hides for a while. The capacity is lowered later."""
    vm = fleet.vms[place]
    if vm.state not in {"booting", "running"}:
        return fleet
    held = sum(slot.holds for slot in vm.slots)
    fleet = fleet._replace(hidden=fleet.hidden + held)
    return with_vm(fleet, place, vm._replace(state="deleting", frozen=False, slots=(), service=Service()))


def lowered(fleet: Fleet, place: int) -> Fleet:
    """Return the fleet with a capacity that no longer includes a VM that goes."""
    fleet = with_vm(fleet, place, fleet.vms[place]._replace(counted=False))
    return changed(fleet._replace(capacity=max(0, fleet.capacity - 1)))
