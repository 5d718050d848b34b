"""What a VM of the fleet model does: its slots follow worker/loop.py, its retire service is the code's own decision."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tests.proof.model.engine import Move
from tests.proof.model.fleet_rules import decide_retire
from tests.proof.model.fleet_set import deleted, lowered, works
from tests.proof.model.fleet_world import Fleet, Said, Service, Slot, Vm, spend, with_vm
from worker.contract.control import Flag, Flags
from worker.vm.retire import Leave, LowerRetire, RaiseFlag, StopSlots

if TYPE_CHECKING:
    from tests.proof.model.fleet import FleetModel

Moves = Iterator[Move[Fleet]]


def vm_moves(model: "FleetModel", fleet: Fleet, place: int, vm: Vm) -> Moves:
    """Yield what this VM does, and what happens to it."""
    if vm.state == "running" and not vm.frozen:
        for number, slot in enumerate(vm.slots):
            yield from _slot(model, fleet, place, number, slot)
        yield from _service(model, fleet, place, vm)
    elif vm.state == "booting" and not vm.frozen:
        booted = vm._replace(state="running", slots=(Slot(),) * model.slots)
        yield Move(f"v{place} boots", with_vm(fleet, place, booted))
    elif vm.state == "deleting":
        yield Move(f"v{place} is gone", with_vm(fleet, place, vm._replace(state="gone")))
    elif vm.state == "gone" and not vm.counted and not any(tick.at for tick in fleet.ticks):
        yield Move(f"v{place} is forgotten", _forgotten(fleet, place))
    if vm.state in {"deleting", "gone"} and vm.counted:
        yield Move(f"the capacity no longer includes v{place}", lowered(fleet, place))
    if vm.state in {"booting", "running"}:
        yield from _misfortune(fleet, place, vm)


def minutes_later(vm: Vm) -> Vm:
    """Return the VM when its idle slots have been idle for as long as retiring takes."""
    if vm.state != "running" or vm.frozen:
        return vm
    return vm._replace(slots=tuple(_longer(slot) for slot in vm.slots))


def _longer(slot: Slot) -> Slot:
    if slot.holds or slot.now.state != "idle" or slot.said != slot.now:
        return slot
    said = slot.now._replace(long=True)
    return slot._replace(said=said, now=said)


def _forgotten(fleet: Fleet, place: int) -> Fleet:
    ticks = tuple(tick._replace(known=tick.known._replace(booked=tick.known.booked - {place})) for tick in fleet.ticks)
    return with_vm(fleet._replace(ticks=ticks), place, Vm())


def _misfortune(fleet: Fleet, place: int, vm: Vm) -> Moves:
    left = spend(fleet.left, "evict")
    if left:
        yield Move(f"v{place} is evicted", lowered(deleted(fleet._replace(left=left), place), place), fault=True)
    left = spend(fleet.left, "freeze")
    if left and not vm.frozen:
        held = sum(slot.holds for slot in vm.slots)
        slots = tuple(slot._replace(at="ended", holds=False) for slot in vm.slots)
        frozen = with_vm(fleet, place, vm._replace(frozen=True, slots=slots, service=Service()))
        yield Move(f"v{place} freezes", frozen._replace(left=left, hidden=fleet.hidden + held), fault=True)


# ---- a slot ----------------------------------------------------------------------------------------------------------


def _slot(model: "FleetModel", fleet: Fleet, place: int, number: int, slot: Slot) -> Moves:
    vm, name = fleet.vms[place], f"v{place}/{number}"
    if slot.said != slot.now:
        yield Move(f"{name} publishes its report", _with(fleet, place, number, slot._replace(said=slot.now)))
    if slot.at == "receive" and fleet.waiting:
        taken = fleet._replace(waiting=fleet.waiting - 1)
        at = "flags" if model.rules.flags_after_receive else "claim"
        yield Move(f"{name} receives a message", _with(taken, place, number, slot._replace(at=at, holds=True)))
    elif slot.at == "claim":  # only with that rule taken away
        yield from _say(fleet, place, number, slot._replace(at="work"), Said("busy"), f"{name} claims")
    elif slot.at in {"receive", "flags", "flagged"}:
        yield from _read_flags(fleet, place, number, slot, vm)
    elif slot.at == "work":
        finished = _with(fleet, place, number, slot._replace(at="receive", holds=False))
        yield Move(f"{name} finishes its job", finished)


def _read_flags(fleet: Fleet, place: int, number: int, slot: Slot, vm: Vm) -> Moves:
    name = f"v{place}/{number}"
    flag: Flag | None = "drain" if vm.drain else "retire" if vm.retire else None
    if flag:
        back = fleet._replace(waiting=fleet.waiting + slot.holds)
        now = Said("stopped" if flag == "drain" else "idle", flag, slot.now.long)
        after = slot._replace(at="ended" if flag == "drain" else "flagged", holds=False)
        yield from _say(back, place, number, after, now, f"{name} reads {flag}, and answers")
    elif slot.at == "flagged":
        yield Move(f"{name} reads no flag any more", _with(fleet, place, number, slot._replace(at="receive")))
    elif slot.holds:
        claims = slot._replace(at="work")
        yield from _say(fleet, place, number, claims, Said("busy"), f"{name} reads no flag, and claims")
    else:
        now = Said("idle", None, slot.now.long and slot.now.state == "idle")
        yield from _say(fleet, place, number, slot._replace(at="receive"), now, f"{name} reads no flag, and is idle")


def _say(fleet: Fleet, place: int, number: int, slot: Slot, now: Said, label: str) -> Moves:
    """Publish at once what has changed, or late."""
    yield Move(label, _with(fleet, place, number, slot._replace(now=now, said=now)))
    left = spend(fleet.left, "lag")
    if left and now != slot.said:
        late = _with(fleet._replace(left=left), place, number, slot._replace(now=now))
        yield Move(f"{label}, which is published late", late, fault=True)


def _with(fleet: Fleet, place: int, number: int, slot: Slot) -> Fleet:
    vm = fleet.vms[place]
    return with_vm(fleet, place, vm._replace(slots=(*vm.slots[:number], slot, *vm.slots[number + 1 :])))


# ---- the retire service ----------------------------------------------------------------------------------------------


def _service(model: "FleetModel", fleet: Fleet, place: int, vm: Vm) -> Moves:
    """Read flags and slots, then the count, and decide; then do that, whenever."""
    name, service = f"v{place}'s retire service", vm.service
    if service.at == "":
        slots = tuple(slot.said for slot in vm.slots)
        first = service._replace(at="count", drain=vm.drain, retire=vm.retire, slots=slots)
        yield Move(f"{name} reads flags and slots", _serve(fleet, place, first))
    elif service.at == "count":
        yield from _decide(model, fleet, place, service, fleet.messages, f"{name} reads the count")
    else:
        yield from _do(fleet, place, vm, name)


def _decide(model: "FleetModel", fleet: Fleet, place: int, read: Service, count: int, label: str) -> Moves:
    for patient in (True, False):
        key = ("retire", read, count, patient)
        step, stopped, under = model.ask(
            key,
            partial(
                decide_retire,
                model.rules,
                Flags(drain=read.drain, retire=read.retire),
                read.slots,
                count,
                read.stopped,
                read.under,
                patient=patient,
            ),
        )
        after = Service(stopped=stopped, under=under)
        if isinstance(step, RaiseFlag | LowerRetire | StopSlots | Leave):
            after = after._replace(at="do", step=step)
        yield Move(f"{label}, {count}: {step}", _serve(fleet, place, after))


def _do(fleet: Fleet, place: int, vm: Vm, name: str) -> Moves:
    service = vm.service._replace(at="", step=None)
    match vm.service.step:
        case RaiseFlag(flag):
            flagged = vm._replace(
                service=service, drain=vm.drain or flag == "drain", retire=vm.retire or flag == "retire"
            )
            yield Move(f"{name} raises the flag {flag}", with_vm(fleet, place, flagged))
        case LowerRetire():
            yield Move(
                f"{name} removes the flag retire", with_vm(fleet, place, vm._replace(service=service, retire=False))
            )
        case StopSlots(slots, flag):
            held = sum(vm.slots[number].holds for number in slots)
            stopped = Slot(said=Said("stopped", flag), now=Said())
            others = tuple(stopped if number in slots else slot for number, slot in enumerate(vm.slots))
            service = service._replace(stopped=service.stopped | set(slots))
            after = with_vm(fleet, place, vm._replace(slots=others, service=service))
            yield Move(f"{name} stops slots {slots}", after._replace(waiting=fleet.waiting + held))
        case _:
            wrong = works(fleet, place)
            yield Move(f"v{place} deletes itself", deleted(fleet, place), wrong=wrong)
            left = spend(fleet.left, "lost")
            if left:
                failed = with_vm(fleet._replace(left=left), place, vm._replace(service=service))
                yield Move(f"v{place}'s request to be deleted never arrives", failed, fault=True)


def _serve(fleet: Fleet, place: int, service: Service) -> Fleet:
    return with_vm(fleet, place, fleet.vms[place]._replace(service=service))
