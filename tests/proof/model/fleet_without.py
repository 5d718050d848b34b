"""Each rule of the set taken away, and the small model in which that must show."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from producer.fleet import reconcile as decide
from producer.fleet.look import Look, Policy
from producer.fleet.memory import Memory, Silence
from tests.proof.model.fleet import FleetModel
from tests.proof.model.fleet_rules import FleetRules
from tests.proof.model.fleet_world import Faults
from worker.contract.settings import Durations
from worker.vm import retire

Actions = tuple[decide.Action, ...]


def _takes_the_lost_for_usable(look: Look, memory: Memory, policy: Policy) -> decide.Standing:
    return replace(decide.standing(look, memory, policy), usable=look.state.capacity)


def _deletes_unanswered(look: Look, memory: Memory, policy: Policy) -> Actions:
    flagged = tuple(one.name for one in look.state.instances if one.name in look.drain and not one.deleting)
    others = tuple(one for one in decide.reconcile(look, memory, policy) if not isinstance(one, decide.Delete))
    return (*others, decide.Delete(flagged)) if flagged else others


def _deletes_the_retiring(look: Look, memory: Memory, policy: Policy) -> Actions:
    """Take a VM's own flag for one that binds others."""
    answered = tuple(
        one.name
        for one in look.state.instances
        if one.name in look.retire
        and not one.deleting
        and look.slots.get(one.name)
        and all(seen.report.answers == "retire" for seen in look.slots[one.name].values())
    )
    actions = decide.reconcile(look, memory, policy)
    return (*actions, decide.Delete(answered)) if answered else actions


def _takes_the_living_for_dead(look: Look, memory: Memory, policy: Policy) -> Actions:
    silences = {slot: Silence(silence.etag, 0.0, 9) for slot, silence in memory.silences.items()}
    slots = {
        vm: {number: replace(seen, age_s=policy.durations.dead_after_s) for number, seen in reports.items()}
        for vm, reports in look.slots.items()
    }
    return decide.reconcile(replace(look, slots=slots), replace(memory, silences=silences), policy)


def _clears_what_it_sees_idle(look: Look, memory: Memory, policy: Policy) -> Actions:
    quiet = not look.count and look.state.capacity
    return (decide.Clear(look.state.etag),) if quiet else decide.reconcile(look, memory, policy)


def _replaces_no_dead(look: Look, memory: Memory, policy: Policy) -> Actions:
    return decide.reconcile(look, replace(memory, silences={}), policy)


def _retires_whatever_comes(look: retire.VmLook, state: retire.RetireState, durations: Durations) -> retire.Step:
    return retire.decide(replace(look, count=0), state, durations)


def _leaves_unanswered(look: retire.VmLook, state: retire.RetireState, durations: Durations) -> retire.Step:
    every = tuple(look.all_slots)
    return retire.decide(look, state.model_copy(update={"stopped": every}), durations)


def _never_works_on(look: retire.VmLook, state: retire.RetireState, durations: Durations) -> retire.Step:
    step = retire.decide(look, state, durations)
    return retire.Wait() if isinstance(step, retire.LowerRetire) else step


def _never_retires(look: retire.VmLook, state: retire.RetireState, durations: Durations) -> retire.Step:
    return retire.Wait()


def _without(left: Faults | None = None, *, jobs: int = 2, most: int = 1, **rules: Any) -> FleetModel:
    """Return a model without laptops but for those that enqueue."""
    return FleetModel(FleetRules(**rules), left or Faults(), jobs=jobs, most=most, places=most + 1)


def _watched(left: Faults | None = None, *, jobs: int = 1, **rules: Any) -> FleetModel:
    """Return a model in which a producer watches a VM that has long been idle when a job comes."""
    return FleetModel(FleetRules(**rules), left or Faults(), watches=1, begun=True, jobs=jobs)


TAKEN_AWAY: Final[Mapping[str, FleetModel]] = {
    "10: the capacity is PATCHed down": _watched(reconcile=_clears_what_it_sees_idle),
    "10: no If-Match": _without(Faults(late=1), most=2, conditional=False),
    "10: flagged VMs are enough": _without(standing=_takes_the_lost_for_usable),
    "10: deleted before it has answered": _watched(reconcile=_deletes_unanswered),
    "10: a retire flag binds others": _watched(reconcile=_deletes_the_retiring),
    "10: no flags after the receive": _watched(flags_after_receive=False),
    "10: a VM leaves although there is work": _without(decide_retire=_retires_whatever_comes),
    "10: a VM leaves before its slots answer": _watched(decide_retire=_leaves_unanswered),
    "10: a retire flag stands for good": _without(decide_retire=_never_works_on),
    "10: no VM retires": _without(jobs=1, decide_retire=_never_retires),
    "10: one tick ends an enqueue": _without(ticks_until_enough=False),
    "10: an enqueue believes a look that others do not know of": _watched(Faults(lid=1), outlasts_looks=False),
    "10: a capacity that may still shrink is enough": _without(may_still_shrink=lambda look, durations: False),
    "11: the living are taken for dead": _watched(reconcile=_takes_the_living_for_dead),
    "11: the dead stay": _watched(Faults(freeze=1), jobs=0, reconcile=_replaces_no_dead),
}
"""By rule: the model without it."""
