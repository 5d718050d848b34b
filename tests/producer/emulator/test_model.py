"""The emulated set as a state machine, on a clock that the test moves."""

from random import Random

import pytest

from producer.emulator.description import SetDescription
from producer.emulator.faults import Allocation, Faults
from producer.emulator.model import ScaleSetModel
from producer.emulator.states import Boot, Kill, Latencies, Operation, Power, Provisioning, Refused, Status
from tests.fakes.hand_clock import HandClock

LATENCIES = Latencies(boot_s=60, delete_s=20, notice_s=30)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def model(description: SetDescription, faults: Faults, clock: HandClock) -> ScaleSetModel:
    return ScaleSetModel(description, LATENCIES, faults, clock, Random(1))


@pytest.fixture
def running(model: ScaleSetModel, clock: HandClock) -> list[str]:
    """Three VMs that run."""
    model.set_capacity(3)
    clock.pass_s(60)
    return [effect.vm.name for effect in model.take_effects() if isinstance(effect, Boot)]


def names(model: ScaleSetModel) -> list[str]:
    return [vm.name for vm in model.vms()]


def status(model: ScaleSetModel, operation: Operation | None) -> Status:
    assert operation is not None
    return model.operation(operation.operation_id).status


def test_a_set_begins_empty(model: ScaleSetModel) -> None:
    assert model.capacity == 0
    assert model.vms() == ()
    assert model.next_due is None


def test_a_vm_takes_its_time_between_the_request_and_its_boot(model: ScaleSetModel, clock: HandClock) -> None:
    operation = model.set_capacity(1)
    (vm,) = model.vms()
    assert (vm.provisioning, vm.power) == (Provisioning.CREATING, None)
    clock.pass_s(59.9)
    assert model.vm(vm.name).power is Power.STARTING
    assert model.take_effects() == ()
    assert status(model, operation) is Status.IN_PROGRESS
    clock.pass_s(0.1)
    assert model.take_effects() == (Boot(model.vm(vm.name)),)
    assert (model.vm(vm.name).provisioning, model.vm(vm.name).power) == (Provisioning.SUCCEEDED, Power.RUNNING)
    assert status(model, operation) is Status.SUCCEEDED
    assert model.take_effects() == ()


def test_names_are_those_of_a_flexible_set(running: list[str]) -> None:
    assert len(set(running)) == 3
    assert all(name.startswith("fleet_") and len(name) == len("fleet_") + 8 for name in running)


def test_raising_adds_the_difference_only(model: ScaleSetModel, running: list[str]) -> None:
    model.set_capacity(5)
    assert model.capacity == 5
    assert names(model)[:3] == running
    assert len(names(model)) == 5


def test_lowering_deletes_the_newest_whatever_they_do(model: ScaleSetModel, running: list[str]) -> None:
    operation = model.set_capacity(1)
    assert set(model.take_effects()) == {Kill(running[1]), Kill(running[2])}
    assert model.vm(running[0]).provisioning is Provisioning.SUCCEEDED
    assert status(model, operation) is Status.IN_PROGRESS


def test_deleting_by_name_lowers_the_capacity_and_spares_the_others(
    model: ScaleSetModel, running: list[str], clock: HandClock
) -> None:
    operation = model.delete_instances([running[1]])
    assert model.capacity == 2
    assert model.take_effects() == (Kill(running[1]),)
    assert model.vm(running[1]).provisioning is Provisioning.DELETING
    clock.pass_s(20)
    assert names(model) == [running[0], running[2]]
    assert status(model, operation) is Status.SUCCEEDED


def test_deleting_twice_lowers_the_capacity_once(model: ScaleSetModel, running: list[str]) -> None:
    model.delete_instances([running[0], running[0]])
    model.delete_vm(running[0])
    assert model.capacity == 2
    assert model.take_effects() == (Kill(running[0]),)


@pytest.mark.parametrize("wanted", [[], ["fleet_nobody00"]])
def test_deleting_nobody_or_a_stranger_is_refused_as_a_whole(
    model: ScaleSetModel, running: list[str], wanted: list[str]
) -> None:
    with pytest.raises(Refused, match="InvalidParameter"):
        model.delete_instances([*wanted, *running[:1]] if wanted else [])
    assert model.capacity == 3
    assert model.take_effects() == ()


def test_deleting_the_vm_itself_lowers_the_capacity_too(model: ScaleSetModel, running: list[str]) -> None:
    model.delete_vm(running[0])
    assert model.capacity == 2


def test_deleting_a_vm_that_is_gone_is_nothing(model: ScaleSetModel) -> None:
    assert model.delete_vm("fleet_nobody00") is None


def test_a_vm_deleted_before_it_booted_never_boots(model: ScaleSetModel, clock: HandClock) -> None:
    raised = model.set_capacity(1)
    model.delete_instances(names(model))
    clock.pass_s(60)
    assert [type(effect) for effect in model.take_effects()] == [Kill]
    assert model.vms() == ()
    assert status(model, raised) is Status.SUCCEEDED


def test_the_etag_changes_with_every_write_an_evictions_included(
    model: ScaleSetModel, running: list[str], clock: HandClock
) -> None:
    seen = [model.snapshot()[1]]
    for write in (
        lambda: model.set_capacity(4),
        lambda: model.delete_instances(running[:1]),
        lambda: model.delete_vm(running[1]),
        lambda: model.evict(running[2], notice=False),
    ):
        write()
        seen.append(model.snapshot()[1])
    assert len(set(seen)) == 5
    assert model.snapshot()[1] == seen[-1], "reading does not change it"


def test_a_stale_etag_changes_nothing(model: ScaleSetModel) -> None:
    stale = model.snapshot()[1]
    model.set_capacity(1, stale)
    with pytest.raises(Refused, match="PreconditionFailed"):
        model.set_capacity(2, stale)
    assert model.capacity == 1
    model.set_capacity(2, "*")
    assert model.capacity == 2


@pytest.mark.parametrize("capacity", [-1, 1001])
def test_an_impossible_capacity_is_refused(model: ScaleSetModel, capacity: int) -> None:
    with pytest.raises(Refused, match="InvalidParameter"):
        model.set_capacity(capacity)


def test_an_eviction_with_notice_is_announced_and_then_carried_out(
    model: ScaleSetModel, running: list[str], clock: HandClock
) -> None:
    before = model.scheduled_events()["DocumentIncarnation"]
    assert model.evict(running[1]) == running[1]
    document = model.scheduled_events()
    (event,) = document["Events"]
    assert document["DocumentIncarnation"] > before
    assert (event["EventType"], event["EventStatus"], event["Resources"]) == ("Preempt", "Scheduled", [running[1]])
    assert event["NotBefore"] == "Sun, 01 Mar 2026 12:01:30 GMT"
    clock.pass_s(29.9)
    assert model.take_effects() == ()
    assert model.capacity == 3
    clock.pass_s(0.1)
    assert model.take_effects() == (Kill(running[1]),)
    assert model.capacity == 2
    (event,) = model.scheduled_events()["Events"]
    assert (event["EventStatus"], event["NotBefore"]) == ("Started", "")
    clock.pass_s(20)
    assert model.scheduled_events()["Events"] == []
    assert running[1] not in names(model)


def test_an_acknowledged_eviction_happens_at_once(model: ScaleSetModel, running: list[str]) -> None:
    model.evict(running[0])
    (event,) = model.scheduled_events()["Events"]
    model.start_events([event["EventId"]])
    assert model.take_effects() == (Kill(running[0]),)


def test_acknowledging_an_unknown_event_starts_none(model: ScaleSetModel, running: list[str]) -> None:
    model.evict(running[0])
    (event,) = model.scheduled_events()["Events"]
    with pytest.raises(Refused, match="BadRequest"):
        model.start_events([event["EventId"], "unknown"])
    assert model.take_effects() == ()


def test_an_eviction_without_notice_says_nothing_before(model: ScaleSetModel, running: list[str]) -> None:
    model.evict(running[0], notice=False)
    assert model.take_effects() == (Kill(running[0]),)
    assert model.scheduled_events()["Events"] == []
    assert model.capacity == 2


def test_a_vm_is_evicted_once_however_often_it_is_announced(
    model: ScaleSetModel, running: list[str], clock: HandClock
) -> None:
    model.evict(running[0])
    model.evict(running[0])
    assert len(model.scheduled_events()["Events"]) == 1
    model.evict(running[0], notice=False)
    clock.pass_s(60)
    assert model.take_effects() == (Kill(running[0]),)
    assert model.capacity == 2


def test_a_vm_deleted_under_notice_takes_its_event_with_it(
    model: ScaleSetModel, running: list[str], clock: HandClock
) -> None:
    model.evict(running[0])
    model.delete_vm(running[0])
    clock.pass_s(20)
    assert model.scheduled_events()["Events"] == []
    clock.pass_s(60)
    assert model.capacity == 2


def test_any_means_one_that_runs_and_is_not_under_notice(model: ScaleSetModel, running: list[str]) -> None:
    assert sorted(model.evict() for _ in running) == sorted(running)
    with pytest.raises(Refused, match="No VM of the set fleet is running"):
        model.evict()


def test_only_a_running_vm_is_evicted(model: ScaleSetModel) -> None:
    model.set_capacity(1)
    with pytest.raises(Refused, match="is not running"):
        model.evict(names(model)[0])
    with pytest.raises(Refused, match="ResourceNotFound"):
        model.evict("fleet_nobody00")


def test_maintenance_comes_and_goes_and_kills_nothing(
    model: ScaleSetModel, running: list[str], clock: HandClock
) -> None:
    model.announce("Freeze", running[:2], notice_s=900, duration_s=9)
    assert model.scheduled_events()["Events"][0]["DurationInSeconds"] == 9
    clock.pass_s(900)
    assert model.scheduled_events()["Events"][0]["EventStatus"] == "Started"
    clock.pass_s(9)
    assert model.scheduled_events()["Events"] == []
    assert model.take_effects() == ()


def test_a_failed_allocation_shows_in_the_operation_only_and_holds_capacity(
    model: ScaleSetModel, faults: Faults, clock: HandClock
) -> None:
    faults.allocate(Allocation.SUCCEEDS, Allocation.FAILS)
    operation = model.set_capacity(2)
    clock.pass_s(60)
    assert [vm.provisioning for vm in model.vms()] == [Provisioning.SUCCEEDED, Provisioning.FAILED]
    assert model.capacity == 2
    failed = model.operation(operation.operation_id)
    assert failed.status is Status.FAILED
    assert failed.problem is not None
    assert failed.problem.code == "AllocationFailed"
    assert len(model.take_effects()) == 1


def test_an_accepted_vm_may_vanish_and_take_its_capacity_along(
    model: ScaleSetModel, faults: Faults, clock: HandClock
) -> None:
    faults.allocate(Allocation.VANISHES)
    model.set_capacity(1)
    (name,) = names(model)
    clock.pass_s(30)
    with pytest.raises(Refused, match="ResourceNotFound"):
        model.vm(name)
    assert model.capacity == 0
    assert model.take_effects() == ()


def test_beyond_the_quota_is_refused_at_once_and_changes_nothing(
    model: ScaleSetModel, faults: Faults, running: list[str]
) -> None:
    faults.quota = 4
    with pytest.raises(Refused, match="LowPriorityCores quota"):
        model.set_capacity(5)
    assert model.capacity == 3
    model.set_capacity(4)
    assert model.capacity == 4


def test_an_eviction_may_leave_a_stopped_vm_that_is_still_paid_for(
    model: ScaleSetModel, faults: Faults, running: list[str]
) -> None:
    faults.evictions_leave_stopped = True
    model.evict(running[0], notice=False)
    assert model.take_effects() == (Kill(running[0]),)
    assert model.vm(running[0]).power is Power.STOPPED
    assert model.capacity == 3


def test_a_stale_list_shows_what_is_gone_for_a_while(
    model: ScaleSetModel, faults: Faults, running: list[str], clock: HandClock
) -> None:
    faults.stale_lists_s = 40
    model.delete_vm(running[0])
    clock.pass_s(50)
    assert running[0] in names(model)
    with pytest.raises(Refused, match="ResourceNotFound"):
        model.vm(running[0])
    clock.pass_s(10)
    assert running[0] not in names(model)


def test_a_guest_that_shuts_down_is_stopped_and_stays(model: ScaleSetModel, running: list[str]) -> None:
    model.power_off(running[0])
    assert model.vm(running[0]).power is Power.STOPPED
    assert model.capacity == 3


def test_the_same_chances_give_the_same_set(description: SetDescription, clock: HandClock) -> None:
    first, second = (ScaleSetModel(description, LATENCIES, Faults(), clock, Random(7)) for _ in range(2))
    for model in (first, second):
        model.set_capacity(2)
    assert first.vms() == second.vms()
    assert first.snapshot() == second.snapshot()


def test_the_world_is_told_when_something_may_have_changed(description: SetDescription, clock: HandClock) -> None:
    told: list[int] = []
    model = ScaleSetModel(description, LATENCIES, Faults(), clock, Random(7), lambda: told.append(1))
    model.set_capacity(1)
    assert told
    assert model.next_due is not None
