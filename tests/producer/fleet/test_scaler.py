"""The loop around reconcile: in which order it reads and writes, and what it does when Azure says no."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from producer.fleet.look import Instance, ScaleSetState
from producer.fleet.memory import Memory
from producer.fleet.scaler import Scaler, TickReport, may_still_shrink
from producer.session import Session
from producer.sweep.audit import AuditReport
from tests.fakes.clock import VirtualRuntime
from tests.fakes.scale_set import MemoryScaleSet
from tests.fakes.storage import MemoryBlobs, MemoryQueue
from tests.producer.fleet.looks import DURATIONS, look
from worker.contract.control import Control, Flag, FleetHold, SlotReport
from worker.contract.errors import (
    CapacityRefused,
    FleetDenied,
    FleetError,
    SetChanged,
    StorageUnavailable,
    Throttled,
)
from worker.contract.records import Condition, Listed
from worker.contract.settings import Durations, Target


class Recorded(MemoryBlobs):
    """Storage that keeps what it was asked, and fails when told to."""

    def __init__(self, clock: Callable[[], float], asked: list[str]) -> None:
        super().__init__(clock)
        self.asked = asked
        self.broken = ""

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        self._ask(f"put {name}")
        return super().put(container, name, body, condition, metadata)

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        self._ask(f"list {prefix}")
        yield from super().list(container, prefix)

    def _ask(self, what: str) -> None:
        if self.broken and self.broken in what:
            raise StorageUnavailable(what)
        self.asked.append(what)


class RecordedQueue(MemoryQueue):
    """A queue that keeps when it was counted."""

    def __init__(self, clock: Callable[[], float], asked: list[str]) -> None:
        super().__init__(clock)
        self.asked = asked

    def count(self) -> int:
        self.asked.append("count")
        return super().count()


class RecordedSet(MemoryScaleSet):
    """A scale set that keeps what it was asked; `slow_s` passes in each read, as when a laptop sleeps."""

    asked: list[str]
    slow_s: float = 0.0
    runtime: VirtualRuntime

    def read(self) -> ScaleSetState:
        self.asked.append("set")
        state = super().read()
        self.runtime.advance(self.slow_s)
        return state

    def raise_to(self, capacity: int, etag: str) -> None:
        self.asked.append(f"raise {capacity}")
        super().raise_to(capacity, etag)


@dataclass
class World:
    """A producer with everything it talks to."""

    max_instances: int = 4
    slots: int = 1
    wake: str = ""
    asked: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    audits: list[AuditReport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.runtime = VirtualRuntime()
        clock = self.runtime.monotonic
        self.blobs = Recorded(clock, self.asked)
        self.jobs = RecordedQueue(clock, self.asked)
        self.set = RecordedSet(clock)
        self.set.asked, self.set.runtime = self.asked, self.runtime
        target = Target(
            kind="local",
            subscription_id="s",
            resource_group="g",
            scale_set="workers",
            blob_endpoint="https://blob",
            queue_endpoint="https://queue",
            max_instances=self.max_instances,
            slots_per_instance=self.slots,
            wake=self.wake,
        )
        self.session = Session(
            target, Durations(), self.blobs, self.jobs, MemoryQueue(clock), self.runtime, user="someone"
        )
        self.scaler = Scaler(self.session, self.set, self.audit)
        self.control = Control(self.blobs)

    def audit(self, session: Session) -> AuditReport:
        assert session is self.session
        return self.audits.pop(0) if self.audits else AuditReport()

    def send(self, jobs: int) -> None:
        for job in range(jobs):
            self.jobs.send(str(job))

    def tick(self, memory: Memory | None = None) -> TickReport:
        return self.scaler.tick(memory or Memory())

    def ticks(self, seconds: float, memory: Memory | None = None) -> TickReport:
        """Tick as `watch` does."""
        report, ends_s = self.tick(memory), self.runtime.now_s + seconds
        while self.runtime.now_s < ends_s:
            self.runtime.advance(report.pause_s)
            report = self.tick(report.memory)
            self.told.extend(report.changes)
        return report

    def ensure(self) -> TickReport:
        return self.scaler.ensure_capacity(self.told.append)

    def boots(self, capacity: int) -> tuple[str, ...]:
        """Raise the set by hand and let it boot."""
        self.set.raise_to(capacity, self.set.read().etag)
        self.runtime.advance(61)
        listed = self.set.names
        self.asked.clear()
        self.set.writes.clear()
        return listed

    def says(self, vm: str, state: str, *, answers: Flag | None = None, idle_s: float = 0.0) -> None:
        self.control.report_slot(
            SlotReport.model_validate({"vm": vm, "slot": 0, "state": state, "answers": answers, "idle_s": idle_s})
        )


@pytest.fixture
def world() -> World:
    return World()


# One tick


def test_it_reads_the_set_then_the_flags_then_the_count(world: World) -> None:
    world.tick()
    assert world.asked == ["set", "list drain/", "list retire/", "list slots/", "count"]


def test_it_writes_the_pulse_before_it_raises(world: World) -> None:
    world.send(2)
    report = world.tick()
    assert world.asked[-2:] == ["put pulse", "raise 2"]
    assert report.capacity == 2
    assert report.enough
    assert report.changes == ("Raised the capacity to 2: 2 jobs in the queue, and the set was of 0 VMs.",)


def test_without_a_pulse_it_does_not_raise(world: World) -> None:
    world.send(1)
    world.blobs.broken = "pulse"
    report = world.tick()
    assert report.problem
    assert not world.set.writes


def test_what_was_read_before_the_laptop_slept_is_not_acted_upon(world: World) -> None:
    world.send(1)
    world.set.slow_s = 31.0
    assert "too old" in world.tick().problem
    assert not world.set.writes
    world.set.slow_s = 29.0
    assert world.tick().capacity == 1


def test_a_write_by_someone_else_ends_the_tick_and_the_next_comes_soon(world: World) -> None:
    (vm,) = world.boots(1)
    world.send(3)
    world.says(vm, "idle", answers="drain")
    world.control.raise_flag("drain", vm, "")
    world.set.faults.append(SetChanged("412"))
    report = world.tick()
    assert report.pause_s == 5.0
    assert vm in world.set.names
    again = world.tick(report.memory)
    assert again.capacity == 4
    assert [what for what, _ in world.set.writes] == ["raise", "delete"]


@pytest.mark.parametrize("when", ["reading", "writing"])
def test_throttling_is_waited_for(world: World, when: str) -> None:
    world.send(1)
    (world.set.read_faults if when == "reading" else world.set.faults).append(Throttled("429", 95.0))
    report = world.tick()
    assert report.pause_s == 95.0
    assert not world.set.writes
    assert world.tick(report.memory).capacity == 1


def test_a_refusal_asks_for_one_and_is_kept_for_whoever_asks_why(world: World) -> None:
    world.send(3)
    world.set.faults.append(CapacityRefused("409 QuotaExceeded: 8 cores"))
    report = world.tick()
    assert world.asked[-4:] == ["raise 3", "put pulse", "raise 1", "put refusal"]
    assert report.capacity == 1
    assert "8 cores" in report.refused
    refusal = world.control.refusal()
    assert refusal is not None
    assert "8 cores" in refusal.message
    world.ticks(200, report.memory)
    assert world.control.refusal() is None
    assert world.set.capacity == 3


def test_a_refusal_of_everything_takes_nothing_away(world: World) -> None:
    world.send(3)
    world.set.faults += [CapacityRefused("no"), CapacityRefused("no")]
    report = world.tick()
    assert report.capacity == 0
    assert report.refused == "no"
    assert not report.problem


def test_a_failed_look_starts_the_memory_over(world: World) -> None:
    world.boots(1)
    memory = world.ticks(120).memory
    assert memory.zero_since_s is not None
    world.set.read_faults.append(FleetError("503"))
    report = world.tick(memory)
    assert report.look is None
    assert report.memory.zero_since_s is None
    assert not report.memory.silences
    assert report.memory.first_seen_s == memory.first_seen_s


def test_the_audit_decides_whether_the_quiet_is_one(world: World) -> None:
    (vm,) = world.boots(1)
    world.says(vm, "idle", idle_s=1000.0)
    world.audits += [AuditReport(resent=3)]
    world.ticks(65)
    assert any("Sent 3 messages again" in line for line in world.told)
    assert not world.control.flags(vm).drain
    world.ticks(130)
    assert world.control.flags(vm).drain


def test_an_audit_that_could_not_read_a_sweep_drains_nobody_says_so_and_is_made_again(world: World) -> None:
    (vm,) = world.boots(1)
    world.says(vm, "idle", idle_s=1000.0)
    world.audits += [AuditReport(unread=("The plan of s cannot be read.",))] * 3
    report = world.ticks(65)
    assert report.problem == "No VM is drained, though the queue is empty: The plan of s cannot be read."
    assert not world.control.flags(vm).drain
    world.ticks(65, report.memory)
    assert not world.audits
    assert world.control.flags(vm).drain


def test_without_an_audit_an_empty_queue_drains_nobody(world: World) -> None:
    (vm,) = world.boots(1)
    world.says(vm, "idle", idle_s=1000.0)
    world.scaler = replace(world.scaler, audit=None)
    world.ticks(1000)
    assert not world.control.flags(vm).drain


def test_an_idle_vm_is_drained_and_deleted_and_what_it_left_is_cleaned_up(world: World) -> None:
    (vm,) = world.boots(1)
    world.says(vm, "idle", idle_s=400.0)
    memory = world.ticks(120).memory
    assert world.control.flags(vm).drain
    assert vm in world.set.names
    world.says(vm, "stopped", answers="drain")
    memory = world.ticks(60, memory).memory
    assert world.set.names == ()
    assert world.set.capacity == 0
    memory = world.ticks(700, memory).memory
    assert not list(world.control.slots())
    assert world.control.flags(vm).drain
    world.ticks(86_400, memory)
    assert not world.control.flags(vm).drain


def test_after_a_drain_it_looks_again_soon(world: World) -> None:
    vms = world.boots(2)
    world.send(1)
    for vm in vms:
        world.says(vm, "idle", idle_s=400.0)
    report = world.tick()
    assert report.changes == (f"{vms[0]} is to go: it has had nothing to do for 7 minutes.",)
    assert report.pause_s == 5.0


def test_capacity_that_never_came_is_cleared_when_there_is_nothing_left_to_do(world: World) -> None:
    world.set.appear_s = 1e9
    world.set.raise_to(2, world.set.read().etag)
    world.ticks(200)
    assert world.set.writes[-1] == ("clear", 0)


def test_it_watches_until_it_is_told_to_stop(world: World) -> None:
    stop, reports = world.runtime.event(), list[TickReport]()
    world.runtime.after(100, stop.set)
    world.scaler.watch(stop, reports.append)
    assert len(reports) == 4


# Closing an enqueue


def test_an_enqueue_ends_with_one_raise(world: World) -> None:
    world.send(2)
    report = world.ensure()
    assert report.enough
    assert world.set.writes == [("raise", 2)]
    assert world.asked.count("set") == 1


def test_an_enqueue_tries_again_until_nobody_else_writes(world: World) -> None:
    world.send(2)
    world.set.faults += [SetChanged("412"), SetChanged("412"), FleetError("503")]
    assert world.ensure().enough
    assert world.set.capacity == 2


def test_that_somebody_else_was_quicker_is_nothing_to_tell_a_person(world: World) -> None:
    world.send(2)
    world.set.faults += [SetChanged("412"), SetChanged("412")]
    said: list[str] = []
    assert world.scaler.ensure_capacity(said.append).enough
    assert said == ["Raised the capacity to 2: 2 jobs in the queue, and the set was of 0 VMs."]


def test_an_enqueue_at_the_maximum_waits_for_the_vms_that_leave(world: World) -> None:
    leaving = world.boots(4)
    for vm in leaving:
        world.control.raise_flag("drain", vm, "")
        world.says(vm, "idle", answers="drain")
    world.send(4)
    report = world.ensure()
    assert report.enough
    assert world.set.capacity >= 4
    assert any("Still waiting" in line for line in world.told)


def test_an_enqueue_does_not_wait_for_ever(world: World) -> None:
    for vm in world.boots(4):
        world.control.raise_flag("drain", vm, "")
        world.says(vm, "busy")
    world.send(4)
    began_s = world.runtime.now_s
    report = world.ensure()
    assert not report.enough
    assert "Still waiting" in report.problem
    assert world.runtime.now_s - began_s <= world.session.durations.dead_after_s


@pytest.mark.parametrize("late", [False, True])
def test_an_enqueue_is_not_deceived_by_a_vm_that_has_just_gone(world: World, *, late: bool) -> None:
    """Azure may take a VM off its list before it lowers the capacity."""
    (vm,) = world.boots(1)
    world.control.raise_flag("retire", vm, "")
    world.set.lowers_late = late
    world.set.delete([vm])
    world.set.hide(vm)
    world.send(1)
    world.runtime.after(20, world.set.settle)
    report = world.ensure()
    assert report.enough
    world.runtime.advance(120)
    assert world.set.capacity >= 1


@pytest.mark.parametrize(
    ("capacity", "others", "shrinks"),
    [
        (1, (), True),
        (1, (Instance("other"),), False),
        (1, (Instance("other", "Deleting"),), True),  # which Azure need not count any more
        (2, (Instance("other"), Instance("third", "Deleting")), True),
        (0, (Instance("other", "Deleting"),), False),
    ],
)
def test_a_capacity_above_the_vms_that_stay_may_still_shrink_when_one_has_just_gone(
    capacity: int, others: tuple[Instance, ...], *, shrinks: bool
) -> None:
    seen = look(*others, capacity=capacity, retire={"gone": 5.0})
    assert may_still_shrink(seen, DURATIONS) is shrinks


def test_without_a_wake_an_enqueue_outlasts_what_others_read_before_it(world: World) -> None:
    """Another producer found the VM idle and the queue empty, flags it now, and its laptop closes."""
    (vm,) = world.boots(1)
    world.says(vm, "idle", idle_s=1000.0)
    world.send(1)
    world.runtime.after(25, lambda: world.control.raise_flag("drain", vm, "it has had nothing to do"))
    report = world.ensure()
    assert report.enough
    assert world.set.writes == [("raise", 2)]
    assert any("Making sure" in line for line in world.told)


def test_with_a_wake_an_enqueue_that_finds_its_vms_ends_at_once() -> None:
    world = World(wake="wake")
    world.boots(1)
    world.send(1)
    assert world.ensure().enough
    assert world.asked.count("set") == 1
    assert not world.told


def test_an_enqueue_by_someone_without_the_role_leaves_the_raise_to_the_wake() -> None:
    world = World(wake="wake")
    world.send(2)
    world.set.faults.append(FleetDenied("AuthorizationFailed"))
    report = world.ensure()
    assert report.denied
    assert "AuthorizationFailed" in report.problem
    assert "AuthorizationFailed" in world.told[-1]
    assert "The wake has to raise" in world.told[-1]
    assert world.asked.count("set") == 1


def test_without_a_wake_a_role_that_was_just_given_is_waited_for(world: World) -> None:
    world.send(2)
    world.set.faults.extend([FleetDenied("AuthorizationFailed")] * 3)
    assert world.ensure().enough
    assert world.set.capacity == 2


def test_without_a_wake_a_role_that_is_missing_is_told_after_ten_minutes(world: World) -> None:
    world.send(2)
    world.set.faults.extend([FleetDenied("AuthorizationFailed")] * 100)
    began_s = world.runtime.now_s
    assert world.ensure().denied
    assert 500 < world.runtime.now_s - began_s <= 600
    assert "Someone with the role of a scaler" in world.told[-1]


def test_an_enqueue_during_a_hold_says_so_and_raises_nothing(world: World) -> None:
    world.control.hold_fleet(FleetHold(reason="no commits", since="now"))
    world.send(2)
    report = world.ensure()
    assert report.held == "no commits"
    assert "--resume" in world.told[-1]
    assert not report.enough
    assert not world.set.writes


def test_an_enqueue_that_azure_refuses_says_so(world: World) -> None:
    world.send(2)
    world.set.faults += [CapacityRefused("no spot capacity"), CapacityRefused("no spot capacity")]
    assert world.ensure().refused == "no spot capacity"
    assert "no spot capacity" in world.told[0]
    assert "goes on asking" in world.told[-1]


def test_a_hold_is_written_once_and_outlives_its_producer(world: World) -> None:
    world.boots(1)
    world.send(1)
    hour_s = world.session.durations.fruitless_s
    report = world.tick(Memory(looked_s=world.runtime.now_s, without_commit_s=hour_s))
    assert report.held
    assert world.control.fleet_hold() is not None
    assert report.memory.without_commit_s == 0
    assert world.tick().held
