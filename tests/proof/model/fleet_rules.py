"""What the fleet model asks the code: reconcile, its memory, and the retire service, over abstract looks."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from producer.fleet import reconcile as decide
from producer.fleet.look import Instance, Look, Policy, ScaleSetState
from producer.fleet.memory import Empty, Memory, Silence, observe
from producer.fleet.scaler import may_still_shrink
from tests.proof.model.fleet_world import Known, Said, Seen
from worker.contract.control import Flag, Flags, SeenSlot, SlotReport
from worker.contract.settings import Durations
from worker.vm import retire

NOW_S: Final = 1_000_000.0
DURATIONS: Final = Durations()
SILENT_S: Final = DURATIONS.dead_after_s
"""So old is the report of a frozen slot at least; how long it was silent is what the producer remembers."""
INSTANCES: Final = {
    "booting": ("Creating", ""),
    "running": ("Succeeded", "running"),
    "deleting": ("Deleting", "stopping"),
}
Reconcile = Callable[[Look, Memory, Policy], tuple[decide.Action, ...]]


@dataclass(frozen=True)
class FleetRules:
    """The rules as the model keeps them. A test takes one away, and the model must find the hole."""

    reconcile: Reconcile = decide.reconcile
    decide_retire: Callable[[retire.VmLook, retire.RetireState, Durations], retire.Step] = retire.decide
    standing: Callable[[Look, Memory, Policy], decide.Standing] = decide.standing
    may_still_shrink: Callable[[Look | None, Durations], bool] = may_still_shrink
    conditional: bool = True
    """The set is PATCHed with If-Match (rule 10)."""
    flags_after_receive: bool = True
    """A slot reads the flags between its receive and its claim (rule 10)."""
    ticks_until_enough: bool = True
    """An enqueue ends with ticks until the capacity is enough (rule 10)."""
    outlasts_looks: bool = True
    """Where no wake runs, an enqueue believes no look before those from before it are too old to act by (rule 10)."""


@dataclass(frozen=True)
class Decided:
    """What a tick decides."""

    known: Known
    todo: tuple[tuple[str, object], ...]
    usable: int
    needed: int
    shrinks: bool


def look_of(seen: Seen, count: int) -> Look:
    """Return an abstract look as the code takes it."""
    listed = [place for place, state in enumerate(seen.listed) if state]
    instances = tuple(Instance(_name(place), *INSTANCES[seen.listed[place]]) for place in listed)
    slots = {
        _name(place): {
            number: SeenSlot(_report(place, number, said), "e", SILENT_S if seen.frozen[place] else 0.0)
            for number, said in enumerate(reports)
        }
        for place, reports in enumerate(seen.slots)
        if reports
    }
    return Look(
        read_s=NOW_S,
        state=ScaleSetState(seen.capacity, "etag", instances),
        count=count,
        drain={_name(place): 1.0 for place, flag in enumerate(seen.drain) if flag},
        retire={_name(place): 1.0 for place, flag in enumerate(seen.retire) if flag},
        slots=slots,
    )


def decide_tick(
    rules: FleetRules, seen: Seen, known: Known, count: int, policy: Policy, *, minutes_later: bool
) -> Decided:
    """Return what a tick does. `minutes_later`: the one before was so long ago that zero, and silence, are certain."""
    look = look_of(seen, count)
    memory = observe(_memory(seen, known, look, policy, minutes_later=minutes_later), look, policy)
    stands = rules.standing(look, memory, policy)
    after = Known(
        zero=memory.zero_since_s is not None,
        audited=memory.audited,
        empty=memory.empty is not None,
        booked=frozenset(int(name[1:]) for name in memory.booked_out),
    )
    # What is left of a VM that is gone is only tidied away: no decision looks at it any more.
    wanted = (action for action in rules.reconcile(look, memory, policy) if not isinstance(action, decide.ForgetSlots))
    todo = tuple(map(_abstract, wanted))
    return Decided(after, todo, stands.usable, stands.needed, rules.may_still_shrink(look, DURATIONS))


def _memory(seen: Seen, known: Known, look: Look, policy: Policy, *, minutes_later: bool) -> Memory:
    before_s = NOW_S - (DURATIONS.dead_after_s if minutes_later else 1.0)
    silent = (place for place, frozen in enumerate(seen.frozen) if frozen and minutes_later and seen.listed[place])
    return Memory(
        looked_s=before_s,
        first_seen_s={instance.name: 0.0 for instance in look.state.instances},
        silences={
            (_name(place), number): Silence("e" if number in look.slots.get(_name(place), {}) else "", 0.0, 9)
            for place in silent
            for number in range(policy.slots_per_instance)
        },
        zero_since_s=before_s if known.zero else None,
        empty=Empty("etag", before_s) if known.empty else None,
        audited=known.audited,
        booked_out=frozenset(_name(place) for place in known.booked),
    )


def _abstract(action: decide.Action) -> tuple[str, object]:
    match action:
        case decide.Raise(capacity):
            return "raise", capacity
        case decide.Drain(vm):
            return "drain", int(vm[1:])
        case decide.Delete(vms):
            return "delete", tuple(int(vm[1:]) for vm in vms)
        case decide.Clear():
            return "clear", 0
        case decide.Audit():
            return "audit", 0
        case _:
            raise AssertionError(f"the model leaves {action} out")


def decide_retire(
    rules: FleetRules,
    flags: Flags,
    slots: tuple[Said, ...],
    count: int,
    stopped: frozenset[int],
    under: Flag | None,
    *,
    patient: bool,
) -> tuple[retire.Step, frozenset[int], Flag | None]:
    """Return a retire service's next step, and what it remembers of slots that it stopped."""
    look = retire.VmLook(
        now_s=NOW_S,
        flags=flags,
        slots={number: SeenSlot(_report(0, number, said), "e", 0.0) for number, said in enumerate(slots)},
        local_slots=frozenset(range(len(slots))),
        count=count,
    )
    since_s = NOW_S if patient else NOW_S - DURATIONS.visibility_timeout_s
    before = retire.RetireState(flag=under, flag_since_s=since_s, stopped=tuple(sorted(stopped)))
    state = retire.observe(before, look, DURATIONS)
    return rules.decide_retire(look, state, DURATIONS), frozenset(state.stopped), state.flag


def _report(place: int, number: int, said: Said) -> SlotReport:
    idle_s = DURATIONS.idle_before_retire_s if said.long else 0.0
    return SlotReport(vm=_name(place), slot=number, state=said.state, answers=said.answers, idle_s=idle_s)


def _name(place: int) -> str:
    return f"v{place}"
