"""Who scales in the fleet model: watching producers, the closing ticks of an enqueue, and the wake's raise."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tests.proof.model.engine import Move
from tests.proof.model.fleet_rules import decide_tick
from tests.proof.model.fleet_set import deleted, patched, works
from tests.proof.model.fleet_world import LISTED, Fleet, Known, Seen, Tick, spend, with_tick, with_vm

if TYPE_CHECKING:
    from tests.proof.model.fleet import FleetModel

Moves = Iterator[Move[Fleet]]


def tick_moves(model: "FleetModel", fleet: Fleet, number: int, tick: Tick) -> Moves:
    """Yield what this producer does next."""
    if not tick.kind:
        return
    name = f"{tick.kind} {number}"
    if tick.at == "wait":
        yield Move(f"{name} waits until looks from before it are too old", _outlasted(fleet, number))
    elif tick.at == "":
        yield Move(f"{name} reads the set", with_tick(fleet, number, _read_set(fleet, tick)))
    elif tick.at == "flags":
        yield Move(f"{name} reads flags and slots", with_tick(fleet, number, _read_flags(fleet, tick)))
    elif tick.at == "count" and tick.kind == "wake":
        yield _wake(model, fleet, number, tick, fleet.messages)
    elif tick.at == "count":
        yield from _decide(model, fleet, number, tick, fleet.messages)
    else:
        yield from _do(model, fleet, number, tick, name)
    left = spend(fleet.left, "crash")
    if left and tick.kind == "watch" and (tick.at or tick.known != Known()):
        yield Move(f"{name} starts anew", with_tick(fleet._replace(left=left), number, Tick("watch")), fault=True)
    left = spend(fleet.left, "lid")
    if left and tick.kind == "watch":
        yield Move(f"{name} closes for good", with_tick(fleet._replace(left=left), number, Tick()), fault=True)


def _outlasted(fleet: Fleet, number: int) -> Fleet:
    """Return the fleet when whoever had read the count before this enqueue acts by it no more.

    What such a tick still did meanwhile are its own moves; a tick that began later can begin after this as well.
    """
    ticks = tuple(Tick(tick.kind, known=tick.known) if tick.kind == "watch" else tick for tick in fleet.ticks)
    return with_tick(fleet._replace(ticks=ticks), number, Tick("close"))


def _read_set(fleet: Fleet, tick: Tick) -> Tick:
    listed = tuple(vm.state if vm.state in LISTED else "" for vm in fleet.vms)
    at = "count" if tick.kind == "wake" else "flags"
    return tick._replace(at=at, fresh=True, seen=Seen(capacity=fleet.capacity, listed=listed))


def _read_flags(fleet: Fleet, tick: Tick) -> Tick:
    seen = tick.seen._replace(
        drain=tuple(vm.drain for vm in fleet.vms),
        retire=tuple(vm.retire for vm in fleet.vms),
        slots=tuple(tuple(slot.said for slot in vm.slots) for vm in fleet.vms),
        frozen=tuple(vm.frozen for vm in fleet.vms),
    )
    return tick._replace(at="count", seen=seen)


def _wake(model: "FleetModel", fleet: Fleet, number: int, tick: Tick, count: int) -> Move[Fleet]:
    needed = model.policy.needed(count)
    todo = (("raise", needed),) if needed > tick.seen.capacity else ()
    after = tick._replace(
        at="do" if todo else "", todo=todo, seen=tick.seen if todo else Seen(), fresh=bool(todo) and tick.fresh
    )
    return Move(f"wake {number} reads the count: {count}", with_tick(fleet, number, after))


def _decide(model: "FleetModel", fleet: Fleet, number: int, tick: Tick, count: int) -> Moves:
    for later in (False, True):
        decided = model.ask(
            ("tick", tick.seen, tick.known, count, later),
            partial(decide_tick, model.rules, tick.seen, tick.known, count, model.policy, minutes_later=later),
        )
        after = tick._replace(
            at="do",
            known=decided.known,
            todo=decided.todo,
            short=decided.needed - decided.usable,
            shrinks=decided.shrinks,
        )
        said = ", ".join(f"{what} {which}" for what, which in decided.todo) or "nothing to do"
        when = ", minutes after its last tick" if later else ""
        yield Move(f"{tick.kind} {number} reads the count {count}{when}: {said}", _next(model, fleet, number, after))


def _next(model: "FleetModel", fleet: Fleet, number: int, tick: Tick) -> Fleet:
    """Return the fleet with this tick at its next action, or at its end."""
    if tick.todo:
        return with_tick(fleet, number, tick)
    enough = tick.short <= 0 and not tick.shrinks
    if tick.kind == "close" and (enough or not model.rules.ticks_until_enough):
        return with_tick(fleet, number, Tick())
    return with_tick(fleet, number, Tick(tick.kind, known=tick.known))


def _do(model: "FleetModel", fleet: Fleet, number: int, tick: Tick, name: str) -> Moves:
    (what, which), rest = tick.todo[0], tick._replace(todo=tick.todo[1:])
    given_up = tick._replace(todo=())
    if what in {"raise", "clear"}:
        assert isinstance(which, int)
        yield from _patch(model, fleet, number, tick, which, f"{name} {what}s to {which}")
    elif what == "drain":
        assert isinstance(which, int)
        flagged = with_vm(fleet, which, fleet.vms[which]._replace(drain=True))
        yield Move(f"{name} flags v{which}", _next(model, flagged, number, rest))
    elif what == "delete":
        assert isinstance(which, tuple)
        yield from _delete(model, fleet, number, tick, which)
    else:
        audited = rest._replace(known=tick.known._replace(audited=True))
        yield Move(f"{name} audits", _next(model, fleet, number, audited))
    if what == "delete" and (left := spend(fleet.left, "lost")):
        lost = _next(model, fleet._replace(left=left), number, given_up)
        yield Move(f"{name}'s request never arrives", lost, fault=True)


def _patch(model: "FleetModel", fleet: Fleet, number: int, tick: Tick, capacity: int, label: str) -> Moves:
    given_up = tick._replace(todo=())
    if not tick.fresh and model.rules.conditional:
        yield Move(f"{label}: refused", _next(model, fleet, number, given_up))
        return
    short = tick.short - (capacity - tick.seen.capacity)
    left = spend(fleet.left, "lost")
    for move in patched(fleet, capacity, label):
        raised = move.after.ticks[number]._replace(todo=tick.todo[1:], short=short)
        yield move._replace(after=_next(model, move.after, number, raised))
        if left:
            after = _next(model, move.after._replace(left=left), number, move.after.ticks[number]._replace(todo=()))
            yield Move(f"{label}; the answer is lost", after, fault=True, wrong=move.wrong)
    if left:
        yield Move(f"{label}: it never arrives", _next(model, fleet._replace(left=left), number, given_up), fault=True)
    left = spend(fleet.left, "late")
    if left and fleet.late is None:
        late = fleet._replace(left=left, late=(capacity, tick.fresh))
        yield Move(f"{label}: on its way for long", _next(model, late, number, given_up), fault=True)


def _delete(model: "FleetModel", fleet: Fleet, number: int, tick: Tick, places: tuple[int, ...]) -> Moves:
    label = f"{tick.kind} {number} deletes {', '.join(f'v{place}' for place in places)}"
    if any(fleet.vms[place].state not in LISTED for place in places):
        yield Move(f"{label}: one is gone already", _next(model, fleet, number, tick._replace(todo=())))
        return
    after, wrong = fleet, ""
    for place in places:
        wrong = wrong or works(fleet, place)
        after = deleted(after, place)
    yield Move(label, _next(model, after, number, tick._replace(todo=tick.todo[1:])), wrong=wrong)
