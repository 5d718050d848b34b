"""Looks for tests: a fleet in one line."""

from producer.fleet.look import Instance, Look, Policy, ScaleSetState
from producer.fleet.memory import Empty, Memory, Silence
from worker.contract.control import Flag, SeenSlot, SlotReport
from worker.contract.settings import Durations

DURATIONS = Durations()
POLICY = Policy(max_instances=10, slots_per_instance=2, durations=DURATIONS)
NOW_S = 100_000.0


def seen(
    vm: str, slot: int, state: str = "busy", *, answers: Flag | None = None, idle_s: float = 0.0, age_s: float = 1.0
) -> SeenSlot:
    report = SlotReport.model_validate({"vm": vm, "slot": slot, "state": state, "answers": answers, "idle_s": idle_s})
    return SeenSlot(report, f'"{vm}-{slot}-{state}"', age_s)


def slots(
    vm: str, state: str = "busy", *, answers: Flag | None = None, idle_s: float = 0.0, age_s: float = 1.0
) -> dict[int, SeenSlot]:
    return {slot: seen(vm, slot, state, answers=answers, idle_s=idle_s, age_s=age_s) for slot in range(2)}


def look(
    *instances: Instance | str,
    capacity: int | None = None,
    count: int = 0,
    drain: dict[str, float] | None = None,
    retire: dict[str, float] | None = None,
    reports: dict[str, dict[int, SeenSlot]] | None = None,
    commit_age_s: float | None = 30.0,
    hold: str = "",
    read_s: float = NOW_S,
) -> Look:
    """Instances given by name run; those without reports given are busy."""
    vms = tuple(Instance(one) if isinstance(one, str) else one for one in instances)
    found = {vm.name: slots(vm.name) for vm in vms}
    return Look(
        read_s=read_s,
        state=ScaleSetState(len(vms) if capacity is None else capacity, "e1", vms),
        count=count,
        drain=drain or {},
        retire=retire or {},
        slots={**found, **(reports or {})},
        commit_age_s=commit_age_s,
        hold=hold,
    )


def silent_for(seconds: float, *vms: str, ticks: int = 3, first_seen_s: float = 0.0) -> Memory:
    """Remember that these VMs' slots have said nothing new for so long."""
    return Memory(
        looked_s=NOW_S,
        first_seen_s=dict.fromkeys(vms, first_seen_s),
        silences={(vm, slot): Silence("x", NOW_S - seconds, ticks) for vm in vms for slot in range(2)},
    )


def quiet(*, audited: bool = True, empty_for_s: float | None = None) -> Memory:
    """Remember an empty queue, seen twice."""
    return Memory(
        looked_s=NOW_S,
        zero_since_s=NOW_S - DURATIONS.zero_looks_apart_s,
        audited=audited,
        empty=None if empty_for_s is None else Empty("e1", NOW_S - empty_for_s),
    )
