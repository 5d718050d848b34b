"""Reconcile, branch by branch, and what holds whatever it is shown."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.fleet.look import Instance, Look, Policy, ScaleSetState
from producer.fleet.memory import Memory, Raises, Silence, observe
from producer.fleet.reconcile import (
    Action,
    Audit,
    Clear,
    Delete,
    Drain,
    Forget,
    ForgetSlots,
    HoldFleet,
    Raise,
    reconcile,
    standing,
)
from tests.producer.fleet.looks import DURATIONS, NOW_S, POLICY, look, quiet, seen, silent_for, slots
from worker.contract.control import SeenSlot, SlotReport

DAY_S = 86_400.0

OLD = {"a": slots("a", age_s=DURATIONS.dead_after_s)}


def raised_to(actions: tuple[Action, ...]) -> int | None:
    return next((action.capacity for action in actions if isinstance(action, Raise)), None)


def drained(actions: tuple[Action, ...]) -> set[str]:
    return {action.vm for action in actions if isinstance(action, Drain)}


def deleted(actions: tuple[Action, ...]) -> set[str]:
    return {vm for action in actions if isinstance(action, Delete) for vm in action.vms}


# Raising


@pytest.mark.parametrize(
    ("seen_now", "expected"),
    [
        (look(count=0), None),
        (look(count=1), 1),
        (look(count=2), 1),
        (look(count=3), 2),
        (look(count=1000), 10),
        (look("a", count=2), None),
        (look("a", "b", count=1), None),
        (look(capacity=3, count=6), None),
        (look("a", "b", count=4, drain={"a": 5.0}), 3),
        (look("a", "b", count=4, retire={"a": 5.0}), 3),
        (look("a", "b", count=4, drain={"gone": 5.0}), None),
        (look("a", Instance("b", "Failed", ""), count=4), 3),
        (look("a", Instance("b", power="stopped"), count=4), 3),
        (look("a", Instance("b", power="deallocated"), count=4), 3),
        (look("a", Instance("b", "Creating", ""), count=4), None),
        (look("a", Instance("b", "Failed", "running"), count=4), None),
        (look("a", Instance("b", "Deleting", "stopping"), count=4), 3),
        (look(*"abcdefghij", count=1000, drain={"a": 5.0}), None),
        (look("a", capacity=1, count=3, hold="fruitless"), None),
    ],
    ids=[
        "nothing to do",
        "one job",
        "a VM's slots",
        "one job more",
        "no more than the maximum",
        "enough",
        "more than enough",
        "instances to come count",
        "a drained VM does not count",
        "a retiring VM does not count",
        "the flag of a VM that is gone does",
        "a failed instance does not count",
        "a stopped instance does not count",
        "a deallocated instance does not count",
        "a booting instance counts",
        "an instance that runs in spite of a failure counts",
        "an instance on its way out does not count",
        "the maximum holds for leaving VMs too",
        "a fleet on hold is not raised",
    ],
)
def test_the_capacity_is_raised_to_what_the_queue_needs_on_top_of_what_is_lost(
    seen_now: Look, expected: int | None
) -> None:
    assert raised_to(reconcile(seen_now, observe(Memory(), seen_now, POLICY), POLICY)) == expected


def test_an_instance_being_deleted_that_the_capacity_counts_no_more_is_not_made_good_twice() -> None:
    leaving = Instance("a", "Deleting", "stopping")
    first = look(leaving, capacity=0, count=1)
    memory = observe(Memory(), first, POLICY)
    assert raised_to(reconcile(first, memory, POLICY)) == 1
    second = look(leaving, capacity=1, count=1)
    assert raised_to(reconcile(second, observe(memory, second, POLICY), POLICY)) is None


def test_a_dead_vm_is_replaced_and_flagged_and_deleted_only_by_the_next_tick() -> None:
    memory = silent_for(DURATIONS.dead_after_s, "a")
    first = look("a", "b", count=4, reports=OLD)
    actions = reconcile(first, memory, POLICY)
    assert raised_to(actions) == 3
    assert drained(actions) == {"a"}
    assert deleted(actions) == set()
    second = look("a", "b", count=4, capacity=3, drain={"a": 30.0}, reports=OLD)
    assert deleted(reconcile(second, memory, POLICY)) == {"a"}


def test_a_report_that_came_while_the_laptop_slept_in_the_middle_of_its_look_is_a_sign_of_life() -> None:
    """Its look began before, and so the silence seems to be as old as that."""
    memory = silent_for(DURATIONS.dead_after_s + 100, "a")
    late = look("a", count=2, reports={"a": slots("a", age_s=120.0)})
    assert drained(reconcile(late, memory, POLICY)) == set()
    flagged = look("a", count=2, drain={"a": 30.0}, reports={"a": slots("a", age_s=120.0)})
    assert deleted(reconcile(flagged, memory, POLICY)) == set()


@pytest.mark.parametrize(
    "memory",
    [
        silent_for(DURATIONS.dead_after_s - 1, "a"),
        silent_for(DURATIONS.dead_after_s, "a", ticks=2),
        silent_for(DURATIONS.dead_after_s, "a", first_seen_s=NOW_S - DURATIONS.boot_grace_s + 1),
        Memory(),
    ],
    ids=["nine minutes", "two ticks", "still booting", "a producer that has just begun"],
)
def test_silence_alone_is_not_death(memory: Memory) -> None:
    flagged = look("a", count=2, drain={"a": 30.0}, reports=OLD)
    assert deleted(reconcile(flagged, memory, POLICY)) == set()
    assert drained(reconcile(look("a", count=2, reports=OLD), memory, POLICY)) == set()


def test_a_raise_that_brought_no_vm_is_repeated_later_and_later_but_never_given_up() -> None:
    waits = []
    for in_vain in range(1, 9):
        memory = Memory(raises=Raises(in_vain=in_vain, last_s=NOW_S))
        waits.append(memory.raise_again_s(POLICY) - NOW_S)
        early = look(count=1, read_s=NOW_S + waits[-1] - 1)
        due = look(count=1, read_s=NOW_S + waits[-1])
        assert raised_to(reconcile(early, memory, POLICY)) is None
        assert raised_to(reconcile(due, memory, POLICY)) == 1
    assert waits == [30, 60, 120, 240, 480, 600, 600, 600]


def test_a_vm_that_came_ends_the_patience_with_raises() -> None:
    vain = Memory(raises=Raises(in_vain=4, last_s=NOW_S, running=0))
    assert observe(vain, look("a", count=4), POLICY).raises.in_vain == 0
    assert observe(vain, look(Instance("a", "Creating", ""), count=4), POLICY).raises.in_vain == 4


def test_where_azure_refused_many_it_is_asked_for_one() -> None:
    memory = Memory(raises=Raises(in_vain=1, last_s=NOW_S - 31, refused=True))
    assert raised_to(reconcile(look("a", count=20), memory, POLICY)) == 2


# Draining


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (quiet(), {"a"}),
        (quiet(audited=False), set()),
        (replace(quiet(), zero_since_s=NOW_S - 59), set()),
        (replace(quiet(), zero_since_s=NOW_S), set()),
    ],
    ids=["quiet and audited", "not audited", "the looks are too close", "one look"],
)
def test_an_empty_queue_drains_idle_vms_only_when_seen_twice_and_audited(memory: Memory, expected: set[str]) -> None:
    reports = {"a": slots("a", "idle", idle_s=300.0), "b": slots("b", "idle", idle_s=100.0)}
    assert drained(reconcile(look("a", "b", reports=reports), memory, POLICY)) == expected


def test_a_busy_slot_keeps_its_vm() -> None:
    reports = {"a": {0: seen("a", 0, "idle", idle_s=900.0), 1: seen("a", 1, "busy")}}
    assert drained(reconcile(look("a", reports=reports), quiet(), POLICY)) == set()


def test_a_slot_that_never_spoke_keeps_its_vm_until_it_is_dead() -> None:
    reports = {"a": {0: seen("a", 0, "idle", idle_s=900.0)}}
    assert drained(reconcile(look("a", reports=reports), quiet(), POLICY)) == set()
    dead = replace(
        quiet(), first_seen_s={"a": 0.0}, silences={("a", 1): Silence("", NOW_S - DURATIONS.dead_after_s, 3)}
    )
    assert drained(reconcile(look("a", reports=reports), dead, POLICY)) == {"a"}


def test_surplus_goes_longest_idle_first_and_never_below_what_is_needed() -> None:
    reports = {
        "a": slots("a", "idle", idle_s=310.0),
        "b": slots("b", "idle", idle_s=900.0),
        "c": slots("c", "idle", idle_s=600.0),
    }
    assert drained(reconcile(look("a", "b", "c", "d", count=4, reports=reports), Memory(), POLICY)) == {"b", "c"}
    assert drained(reconcile(look("a", "b", "c", "d", count=7, reports=reports), Memory(), POLICY)) == set()


def test_instances_that_are_not_listed_yet_make_nobody_surplus() -> None:
    reports = {"a": slots("a", "idle", idle_s=900.0)}
    assert drained(reconcile(look("a", capacity=3, count=2, reports=reports), Memory(), POLICY)) == set()


def test_a_retirement_that_never_ends_is_ended() -> None:
    stuck = look("a", count=2, retire={"a": DURATIONS.dead_after_s}, reports={"a": slots("a", answers="retire")})
    under_way = replace(stuck, retire={"a": DURATIONS.dead_after_s - 1})
    assert drained(reconcile(stuck, Memory(), POLICY)) == {"a"}
    assert drained(reconcile(under_way, Memory(), POLICY)) == set()


# Deleting


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        (slots("a", "idle", answers="drain"), {"a"}),
        (slots("a", "idle", answers="retire"), set()),
        ({0: seen("a", 0, "idle", answers="drain"), 1: seen("a", 1)}, set()),
        ({0: seen("a", 0, "idle", answers="drain")}, set()),
        ({**slots("a", "idle", answers="drain"), 2: seen("a", 2)}, set()),
    ],
    ids=["all answered", "answers to another flag", "one works on", "one never spoke", "a third slot"],
)
def test_a_drained_vm_is_deleted_when_each_slot_has_answered(reports: dict[int, SeenSlot], expected: set[str]) -> None:
    shown = look("a", count=2, drain={"a": 5.0}, reports={"a": reports})
    assert deleted(reconcile(shown, Memory(), POLICY)) == expected


def test_answers_without_a_drain_flag_delete_nobody() -> None:
    answered = {"a": slots("a", "idle", answers="retire")}
    assert deleted(reconcile(look("a", retire={"a": 5.0}, reports=answered), quiet(), POLICY)) == set()


def test_whoever_deletes_raises_first() -> None:
    shown = look("a", count=2, drain={"a": 5.0}, reports={"a": slots("a", "idle", answers="drain")})
    kinds = [type(action) for action in reconcile(shown, Memory(), POLICY)]
    assert kinds == [Raise, Delete]


@pytest.mark.parametrize("broken", [Instance("a", power="stopped"), Instance("a", "Failed", "", "AllocationFailed")])
def test_what_stands_still_is_flagged_and_then_deleted_though_nobody_answers(broken: Instance) -> None:
    nobody: dict[str, dict[int, SeenSlot]] = {"a": {}}
    assert drained(reconcile(look(broken, count=1, reports=nobody), Memory(), POLICY)) == {"a"}
    flagged = look(broken, count=1, capacity=2, drain={"a": 5.0}, reports=nobody)
    assert deleted(reconcile(flagged, Memory(), POLICY)) == {"a"}


def test_a_slot_that_spoke_lately_is_believed_against_an_old_list() -> None:
    shown = look(Instance("a", power="stopped"), count=1, drain={"a": 5.0})
    assert deleted(reconcile(shown, Memory(), POLICY)) == set()
    late = {"a": {slot: seen("a", slot, age_s=2 * DURATIONS.slot_report_s) for slot in range(2)}}
    assert deleted(reconcile(replace(shown, slots=late), Memory(), POLICY)) == {"a"}


def test_what_is_being_deleted_is_neither_flagged_nor_deleted_again() -> None:
    leaving = Instance("a", "Deleting", "stopping")
    answered = {"a": slots("a", "idle", answers="drain")}
    for flags in ({}, {"a": 5.0}):
        actions = reconcile(look(leaving, count=2, drain=flags, reports=answered), Memory(), POLICY)
        assert deleted(actions) == drained(actions) == set()


# Zero


def test_the_audit_comes_before_the_last_drain_once() -> None:
    idle = {"a": slots("a", "idle", idle_s=900.0)}
    assert Audit() in reconcile(look("a", reports=idle), quiet(audited=False), POLICY)
    assert Audit() not in reconcile(look("a", reports=idle), quiet(), POLICY)
    assert Audit() not in reconcile(look("a", reports=idle), Memory(zero_since_s=NOW_S), POLICY)


def test_capacity_without_instances_is_cleared_only_when_all_was_quiet_for_long() -> None:
    shown = look(capacity=3)
    assert Clear("e1") in reconcile(shown, quiet(empty_for_s=60), POLICY)
    assert Clear("e1") not in reconcile(shown, quiet(empty_for_s=59), POLICY)
    assert Clear("e1") not in reconcile(shown, quiet(audited=False, empty_for_s=60), POLICY)
    assert Clear("e1") not in reconcile(shown, quiet(), POLICY)


def test_somebody_elses_write_starts_the_emptiness_over() -> None:
    before = observe(Memory(), look(capacity=3), POLICY)
    after = look(capacity=3, read_s=NOW_S + 50)
    changed = replace(after, state=ScaleSetState(3, "e2"))
    assert observe(before, after, POLICY).empty == before.empty
    assert observe(before, changed, POLICY).empty != before.empty


# Fruitless fleets


def fruitless() -> Memory:
    return Memory(looked_s=NOW_S, without_commit_s=DURATIONS.fruitless_s)


def test_a_fleet_that_makes_nothing_for_an_hour_is_held_and_drained() -> None:
    actions = reconcile(look("a", "b", count=9), fruitless(), POLICY)
    assert [type(action) for action in actions] == [HoldFleet, Drain, Drain]
    assert drained(actions) == {"a", "b"}


def test_what_comes_during_a_hold_is_given_its_own_hour() -> None:
    assert reconcile(look("a", count=9, hold="fruitless"), fruitless(), POLICY) == ()


def accumulated(*looks: Look) -> float:
    memory = Memory()
    for one in looks:
        memory = observe(memory, one, POLICY)
    return memory.without_commit_s


def test_only_time_with_work_and_a_running_instance_counts_against_a_fleet() -> None:
    times = [NOW_S + 30.0 * tick for tick in range(4)]
    booting = Instance("a", "Creating", "")
    assert accumulated(*(look("a", count=1, commit_age_s=None, read_s=at) for at in times)) == 90
    assert accumulated(*(look("a", count=0, commit_age_s=None, read_s=at) for at in times)) == 0
    assert accumulated(*(look(booting, count=1, commit_age_s=None, read_s=at) for at in times)) == 0
    assert accumulated(*(look("a", count=1, commit_age_s=20.0, read_s=at) for at in times)) == 20
    assert accumulated(*(look("a", count=1, commit_age_s=None, hold="x", read_s=at) for at in times)) == 0


def test_a_drought_neither_adds_to_the_hour_nor_ends_it() -> None:
    alive = [look("a", count=1, commit_age_s=None, read_s=NOW_S + at) for at in (0, 30)]
    drought = [look(count=1, commit_age_s=None, read_s=NOW_S + at) for at in (60, 90, 120)]
    again = [look("b", count=1, commit_age_s=None, read_s=NOW_S + at) for at in (150, 180)]
    assert accumulated(*alive, *drought, *again) == 30 + 30 + 30


def test_a_closed_laptop_watches_nobody() -> None:
    assert accumulated(*(look("a", count=1, commit_age_s=None, read_s=NOW_S + at) for at in (0, 9000))) == 90


# Cleaning up


def test_flags_outlive_their_vm_for_a_day() -> None:
    flags = {"young": DAY_S - 1, "old": DAY_S, "listed": DAY_S}
    actions = reconcile(look("listed", count=2, drain=flags, retire={"wish": DAY_S}), Memory(), POLICY)
    assert {action.vm for action in actions if isinstance(action, Forget)} == {"old", "wish"}


def test_reports_of_vms_that_are_gone_are_forgotten_when_they_are_old() -> None:
    reports = {"gone": {0: seen("gone", 0, age_s=600.0)}, "going": {0: seen("going", 0, age_s=599.0)}}
    actions = reconcile(look(count=0, reports=reports), Memory(), POLICY)
    assert actions == (ForgetSlots("gone"),)


# Memory


def test_a_failed_tick_starts_the_silences_over() -> None:
    memory = Memory()
    for at_s in (0.0, 200.0, 400.0, 600.0):
        memory = observe(memory, look("a", count=2, read_s=NOW_S + at_s), POLICY)
    old = replace(memory, first_seen_s={"a": 0.0})
    after = look("a", count=2, read_s=NOW_S + 630, reports=OLD)
    assert observe(old, after, POLICY).slot_is_dead("a", 0, after, POLICY)
    assert not observe(old.after_failure(), after, POLICY).slot_is_dead("a", 0, after, POLICY)
    assert old.after_failure().first_seen_s == {"a": 0.0}


def test_a_new_report_is_a_sign_of_life() -> None:
    memory, at_s = Memory(), NOW_S
    for tick in range(100):
        at_s = NOW_S + 30.0 * tick
        reports = {"a": {0: SeenSlot(SlotReport(vm="a", slot=0, state="busy"), f"{tick // 4}", 1.0)}}
        memory = observe(memory, look("a", count=1, reports=reports, read_s=at_s), POLICY)
    now = look("a", count=1, read_s=at_s, reports=OLD)
    assert not memory.slot_is_dead("a", 0, now, POLICY)
    assert memory.slot_is_dead("a", 1, now, POLICY)


def test_an_audit_that_sent_something_ends_the_quiet_and_one_that_could_not_read_all_confirms_nothing() -> None:
    assert quiet(audited=False).after_audit(0).audited
    assert not quiet(audited=False).after_audit(0, whole=False).audited
    disturbed = quiet(audited=False).after_audit(3, whole=False)
    assert not disturbed.audited
    assert disturbed.zero_since_s is None


# Whatever it is shown

NAMES = "abcde"


def some_instance(chance: Random, name: str) -> Instance:
    provisioning = chance.choice(["Creating", "Succeeded", "Succeeded", "Failed", "Deleting", "Updating"])
    return Instance(name, provisioning, chance.choice(["", "starting", "running", "running", "stopped", "deallocated"]))


def some_slots(chance: Random, vm: str) -> dict[int, SeenSlot]:
    state, answers = chance.choice(["starting", "idle", "busy", "stopped"]), chance.choice([None, "drain", "retire"])
    found = {}
    for slot in range(chance.randint(0, 3)):
        if chance.random() < 0.2:
            state, answers = "busy", None
        report = SlotReport.model_validate(
            {"vm": vm, "slot": slot, "state": state, "answers": answers, "idle_s": chance.choice([0.0, 100.0, 400.0])}
        )
        found[slot] = SeenSlot(report, chance.choice("112"), chance.choice([1.0, 200.0, 500.0, 700.0]))
    return found


def some_look(chance: Random, read_s: float) -> Look:
    listed = chance.sample(NAMES, chance.randint(0, 5))
    return Look(
        read_s=read_s,
        state=ScaleSetState(
            chance.randint(0, 6), chance.choice(["e1", "e2"]), tuple(some_instance(chance, name) for name in listed)
        ),
        count=chance.choice([0, 0, 0, 1, 3, 7, 50]),
        drain={vm: chance.choice([1.0, 700.0, DAY_S]) for vm in chance.sample(NAMES, chance.randint(0, 3))},
        retire={vm: chance.choice([1.0, 700.0, DAY_S]) for vm in chance.sample(NAMES, chance.randint(0, 2))},
        slots={vm: some_slots(chance, vm) for vm in chance.sample(NAMES, chance.randint(0, 5))},
        commit_age_s=chance.choice([None, 5.0, 4000.0]),
        hold=chance.choice(["", "", "", "fruitless"]),
    )


@dataclass(frozen=True)
class Lived:
    """The end of a history of ticks, some of which failed, and in which every audit was clean."""

    now: Look
    memory: Memory
    policy: Policy
    actions: tuple[Action, ...]


def live(seed: int) -> Lived:
    chance = Random(seed)
    policy = Policy(chance.randint(1, 5), chance.randint(1, 3), DURATIONS)
    memory, at_s = Memory(without_commit_s=chance.choice([0.0, 0.0, DURATIONS.fruitless_s])), 0.0
    # Looks that resemble each other, so that silence, quiet and emptiness last.
    now = some_look(chance, at_s)
    for _ in range(chance.randint(1, 8)):
        if chance.random() < 0.1:
            memory = memory.after_failure()
        memory = observe(memory, now, policy)
        actions = reconcile(now, memory, policy)
        if Audit() in actions:
            memory = memory.after_audit(0)
        if any(isinstance(action, Raise) for action in actions):
            memory = memory.after_raise(now, refused=chance.random() < 0.3)
        at_s += chance.choice([5.0, 30.0, 61.0, 700.0])
        other = some_look(chance, at_s)
        kept = [part for part in ("state", "count", "drain", "retire", "slots", "hold") if chance.random() < 0.8]
        now = replace(other, **{part: getattr(now, part) for part in kept})
    memory = observe(memory, now, policy)
    return Lived(now, memory, policy, reconcile(now, memory, policy))


def test_the_histories_lead_to_every_action_and_to_deaths() -> None:
    """Without this, the claims below could be empty."""
    lives = [live(seed) for seed in range(400)]
    kinds = Counter(type(action) for lived in lives for action in lived.actions)
    assert set(kinds) == {Raise, Drain, Delete, Clear, HoldFleet, Forget, ForgetSlots, Audit}
    assert min(kinds.values()) >= 3
    reasons = " ".join(action.reason for lived in lives for action in lived.actions if isinstance(action, Drain))
    assert "said a word" in reasons
    assert "nothing to do" in reasons
    assert "still there" in reasons
    assert "holds capacity" in reasons


def whatever_it_lived(claim: Callable[[Lived], None]) -> Callable[[], None]:
    """Check a claim at the end of many histories."""
    return settings(max_examples=100, deadline=None)(given(st.integers(0, 2**32).map(live))(claim))


@whatever_it_lived
def test_it_never_lowers_a_capacity_with_instances_nor_exceeds_the_maximum(lived: Lived) -> None:
    for action in lived.actions:
        if isinstance(action, Raise):
            assert lived.now.state.capacity < action.capacity <= lived.policy.max_instances
            assert action.etag == lived.now.state.etag
            assert lived.now.count
        if isinstance(action, Clear):
            assert not lived.now.state.instances
            assert not lived.now.count


@whatever_it_lived
def test_it_deletes_only_drained_vms_whose_slots_answered_or_are_dead(lived: Lived) -> None:
    now = lived.now
    listed = {instance.name: instance for instance in now.state.instances}
    for vm in deleted(lived.actions):
        assert vm in now.drain
        found = now.slots.get(vm, {})
        for slot in now.expected_slots(vm, lived.policy):
            answered = slot in found and found[slot].report.answers == "drain"
            standing_still = listed[vm].halted and all(one.age_s >= 240 for one in found.values())
            assert answered or standing_still or lived.memory.slot_is_dead(vm, slot, now, lived.policy)


@whatever_it_lived
def test_work_without_capacity_raises_unless_it_is_held_or_too_early(lived: Lived) -> None:
    now, memory, policy = lived.now, lived.memory, lived.policy
    flagged = {one.name for one in now.state.instances} & (set(now.drain) | set(now.retire))
    short = now.state.capacity - len(flagged - memory.booked_out) < policy.needed(now.count)
    room = now.state.capacity < policy.max_instances
    held = bool(now.hold) or any(isinstance(action, HoldFleet) for action in lived.actions)
    early = now.read_s < memory.raise_again_s(policy)
    if now.count and short and room and not held and not early:
        assert raised_to(lived.actions) is not None


@whatever_it_lived
def test_it_drains_no_working_vm_of_a_fruitful_fleet(lived: Lived) -> None:
    if any(isinstance(action, HoldFleet) for action in lived.actions):
        return
    living = {instance.name for instance in standing(lived.now, lived.memory, lived.policy).living}
    for vm in drained(lived.actions) & living:
        for slot, found in lived.now.slots.get(vm, {}).items():
            assert found.report.state == "idle" or lived.memory.slot_is_dead(vm, slot, lived.now, lived.policy)
