"""Who is to come and who is to go: the scale set follows the queue by rules 10, 11 and 13 of docs/protocol.md.

`reconcile` is one pure function from what a tick read and remembers to what it does, level-triggered: it looks at what
is, never at what it asked for before, so that any number of producers may run it, stop at any line, and start again.

The capacity is only raised. An instance leaves in steps that each wait for the one before: a flag tells its slots to
take nothing more, each slot answers in its own report, and only then is the instance deleted, by its name. Lowering the
capacity instead would let Azure choose the victims, and it does not know who is busy.
"""

from dataclasses import dataclass

from producer.fleet.look import Instance, Look, Policy
from producer.fleet.memory import Memory
from producer.words import plural


@dataclass(frozen=True, slots=True)
class HoldFleet:
    """Raise no more until a person says so."""

    reason: str


@dataclass(frozen=True, slots=True)
class Raise:
    """Write the pulse, then raise the capacity, if the set still has this ETag."""

    capacity: int
    etag: str
    reason: str


@dataclass(frozen=True, slots=True)
class Drain:
    """Flag a VM: it takes no more work, for good."""

    vm: str
    reason: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete these instances by name: whatever ran on them has answered or is dead."""

    vms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Clear:
    """Set the capacity of a set without instances to 0, if it still has this ETag."""

    etag: str


@dataclass(frozen=True, slots=True)
class Forget:
    """Remove the flags of a VM that is gone."""

    vm: str


@dataclass(frozen=True, slots=True)
class ForgetSlots:
    """Remove the slot reports of a VM that is gone."""

    vm: str


@dataclass(frozen=True, slots=True)
class Audit:
    """Compare plans and manifests, and send again what is not terminal (rule 7)."""


@dataclass(frozen=True, slots=True)
class ForgetRefusal:
    """Remove what Azure said when it granted no VMs: one has come since."""


Action = HoldFleet | Raise | Drain | Delete | Clear | Forget | ForgetSlots | Audit | ForgetRefusal


@dataclass(frozen=True, slots=True)
class Standing:
    """The instances of a look, told apart, and what that leaves of the capacity."""

    living: tuple[Instance, ...]
    """Listed, and may take work, now or when they have booted."""
    lost: tuple[Instance, ...]
    """Listed, and will take no more work: flagged, dead, halted, or being deleted."""
    usable: int
    """The part of the capacity that takes work, instances included that are not listed yet."""
    needed: int

    @property
    def enough(self) -> bool:
        """Return whether the capacity without the lost ones is all that the queue needs."""
        return self.usable >= self.needed


def reconcile(look: Look, memory: Memory, policy: Policy) -> tuple[Action, ...]:
    """Return what to do, in this order.

    `memory` is what `observe` made of this very look, whose `read_s` is now. The raise comes before all that takes
    instances away; the audit, which takes long, comes last.
    """
    stands = standing(look, memory, policy)
    hold = _hold(look, memory, policy)
    flags = _drain_all(stands, hold) if hold else _drains(look, memory, policy, stands)
    return (
        *hold,
        *(() if hold else _raise(look, memory, policy, stands)),
        *flags,
        *_deletes(look, memory, policy),
        *_clear(look, memory, policy),
        *_clean_up(look, policy),
        *_audit(look, memory, policy),
    )


def standing(look: Look, memory: Memory, policy: Policy) -> Standing:
    """Tell the living from the lost.

    An instance that is being deleted still counts towards the capacity or does not any more, and Azure does not say
    which: `memory.booked_out` knows those of which it was seen.
    """
    lost = tuple(instance for instance in look.state.instances if _is_lost(instance, look, memory, policy))
    gone = frozenset(instance.name for instance in lost)
    living = tuple(instance for instance in look.state.instances if instance.name not in gone)
    usable = look.state.capacity - len(gone - memory.booked_out)
    return Standing(living, lost, usable, policy.needed(look.count))


def _is_lost(instance: Instance, look: Look, memory: Memory, policy: Policy) -> bool:
    flagged = instance.name in look.drain or instance.name in look.retire
    return flagged or instance.deleting or instance.halted or _is_dead(instance.name, look, memory, policy)


def _is_dead(vm: str, look: Look, memory: Memory, policy: Policy) -> bool:
    return all(memory.slot_is_dead(vm, slot, look, policy) for slot in look.expected_slots(vm, policy))


def _hold(look: Look, memory: Memory, policy: Policy) -> tuple[HoldFleet, ...]:
    """Stop a fleet that burns money and makes nothing: instances ran for an hour and nothing was committed."""
    if look.hold or memory.without_commit_s < policy.durations.fruitless_s:
        return ()
    minutes = round(memory.without_commit_s / 60)
    return (HoldFleet(f"VMs ran for {minutes} minutes with jobs in the queue, and no job made a commit."),)


def _drain_all(stands: Standing, hold: tuple[HoldFleet, ...]) -> tuple[Drain, ...]:
    """Send the instances of a fruitless fleet home. Those that the wake brings later get the same hour as these."""
    return tuple(Drain(instance.name, hold[0].reason) for instance in stands.living)


def _raise(look: Look, memory: Memory, policy: Policy, stands: Standing) -> tuple[Raise, ...]:
    """Raise to what the queue needs on top of what is lost; one by one where Azure refused more."""
    wanted = min(policy.max_instances, look.state.capacity + stands.needed - stands.usable)
    pointless = look.hold or not stands.needed or wanted <= look.state.capacity
    if pointless or look.read_s < memory.raise_again_s(policy):
        return ()
    if memory.raises.refused:
        wanted = look.state.capacity + 1
    leaving = f", and {len(stands.lost)} of its VMs take no more work" if stands.lost else ""
    had = plural(look.state.capacity, "VM")
    reason = f"{plural(look.count, 'job')} in the queue, and the set was of {had}{leaving}"
    return (Raise(wanted, look.state.etag, reason),)


def _drains(look: Look, memory: Memory, policy: Policy, stands: Standing) -> tuple[Drain, ...]:
    return (*_drain_lost(look, memory, policy, stands), *_drain_surplus(look, memory, policy, stands))


def _drain_lost(look: Look, memory: Memory, policy: Policy, stands: Standing) -> tuple[Drain, ...]:
    """Flag what will never work again, so that nothing that still moves on it takes a job while it is deleted."""
    reasons = {
        instance.name: _why_lost(instance, look, memory, policy)
        for instance in stands.lost
        if not instance.deleting and instance.name not in look.drain
    }
    return tuple(Drain(vm, reason) for vm, reason in reasons.items() if reason)


def _why_lost(instance: Instance, look: Look, memory: Memory, policy: Policy) -> str:
    if instance.halted:
        state = instance.power or instance.provisioning.lower()
        return f"it is {state}, and still holds capacity. {instance.problem}".strip()
    if _is_dead(instance.name, look, memory, policy):
        minutes = round(policy.durations.dead_after_s / 60)
        return f"none of its slots has said a word for {minutes} minutes"
    if look.retire.get(instance.name, 0.0) >= policy.durations.dead_after_s:
        return "it wanted to retire long ago, and is still there"
    return ""


def _drain_surplus(look: Look, memory: Memory, policy: Policy, stands: Standing) -> tuple[Drain, ...]:
    """Flag what has been idle for long and is not needed: the longest idle first.

    With an empty queue that is everybody, and so it has to be empty for long enough, and the audit has to agree that
    there is nothing left to send.
    """
    if not look.count and not (memory.zero_confirmed(look, policy) and memory.audited):
        return ()
    idle = {instance.name: _idle_s(instance.name, look, memory, policy) for instance in stands.living}
    longest = sorted(idle, key=lambda vm: (-idle[vm], vm))
    surplus = longest[: max(0, len(stands.living) - stands.needed)]
    return tuple(
        Drain(vm, f"it has had nothing to do for {round(idle[vm] / 60)} minutes")
        for vm in surplus
        if idle[vm] >= policy.durations.idle_before_retire_s
    )


def _idle_s(vm: str, look: Look, memory: Memory, policy: Policy) -> float:
    """Return for how long all slots of a VM have been idle; a dead slot does not keep the others. 0 = it is not."""
    reports = look.slots.get(vm, {})
    idle_s = []
    for slot in look.expected_slots(vm, policy):
        seen = reports.get(slot)
        if seen and seen.report.state == "idle":
            idle_s.append(seen.report.idle_s + seen.age_s)
        elif not memory.slot_is_dead(vm, slot, look, policy):
            return 0.0
    return min(idle_s, default=0.0)


def _deletes(look: Look, memory: Memory, policy: Policy) -> tuple[Delete, ...]:
    """Delete what is flagged for good and done with.

    A VM's own `retire` flag binds nobody else. A drained VM deletes itself too; whoever comes second finds it gone.
    """
    done = tuple(
        instance.name
        for instance in look.state.instances
        if instance.name in look.drain
        and not instance.deleting
        and (_answered(instance.name, look, memory, policy) or _stands_still(instance, look, policy))
    )
    return (Delete(done),) if done else ()


def _answered(vm: str, look: Look, memory: Memory, policy: Policy) -> bool:
    """Return whether each slot has read the flag, or is dead."""
    reports = look.slots.get(vm, {})
    return all(
        (slot in reports and reports[slot].report.answers == "drain") or memory.slot_is_dead(vm, slot, look, policy)
        for slot in look.expected_slots(vm, policy)
    )


def _stands_still(instance: Instance, look: Look, policy: Policy) -> bool:
    """Return whether nothing can run on an instance.

    Azure's list may be old (azure-sdk-for-net#36946): a slot that has reported lately is believed against it.
    """
    lately_s = 2 * policy.durations.slot_report_s
    return instance.halted and all(seen.age_s >= lately_s for seen in look.slots.get(instance.name, {}).values())


def _clear(look: Look, memory: Memory, policy: Policy) -> tuple[Clear, ...]:
    """Take back what Azure could not grant before the work was done: capacity with no instance to lose by it."""
    quiet = memory.zero_confirmed(look, policy) and memory.audited and memory.empty_confirmed(look, policy)
    return (Clear(look.state.etag),) if quiet else ()


def _clean_up(look: Look, policy: Policy) -> tuple[Action, ...]:
    """Remove what VMs left behind.

    Flags outlive their VM for a day, so that who read the set before it went, and the flags after, knows that it goes.
    """
    ages = [*look.drain.items(), *look.retire.items()]
    flags = {vm for vm, age_s in ages if age_s >= policy.durations.flag_lifetime_s and not look.listed(vm)}
    slots = {
        vm
        for vm, reports in look.slots.items()
        if not look.listed(vm) and all(seen.age_s >= policy.durations.dead_after_s for seen in reports.values())
    }
    return (*map(Forget, sorted(flags)), *map(ForgetSlots, sorted(slots)))


def _audit(look: Look, memory: Memory, policy: Policy) -> tuple[Audit, ...]:
    return (Audit(),) if memory.zero_confirmed(look, policy) and not memory.audited else ()
