"""A VM's way out: the decision as tables, and the service over storage in memory on a virtual clock."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.fakes.clock import VirtualRuntime
from tests.fakes.slot import silent
from tests.fakes.storage import MemoryBlobs, MemoryQueue
from worker.contract.control import Control, Flag, Flags, SeenSlot, SlotReport
from worker.contract.errors import FleetDenied, FleetError, SetChanged, StorageUnavailable, Throttled
from worker.contract.settings import Durations
from worker.vm.files import SlotFile, slot_file, write_file
from worker.vm.retire import (
    Leave,
    LowerRetire,
    RaiseFlag,
    RetireService,
    RetireState,
    Step,
    StopSlots,
    VmLook,
    Wait,
    decide,
    observe,
)

DURATIONS = Durations()
NOW_S = 50_000.0
HOUR_S = DURATIONS.fruitless_s
DRAIN, RETIRE, NONE = Flags(drain=True), Flags(retire=True), Flags()


def slot(
    number: int,
    state: str = "idle",
    *,
    idle_s: float = 0.0,
    answers: Flag | None = None,
    commits: int = 0,
    since_commit_s: float = 0.0,
    age_s: float = 1.0,
) -> dict[int, SeenSlot]:
    report = SlotReport.model_validate(
        {
            "vm": "me",
            "slot": number,
            "state": state,
            "idle_s": idle_s,
            "answers": answers,
            "commits": commits,
            "since_commit_s": since_commit_s,
        }
    )
    return {number: SeenSlot(report, "e", age_s)}


def look(
    flags: Flags = NONE,
    slots: dict[int, SeenSlot] | None = None,
    *,
    count: int = 0,
    local: frozenset[int] = frozenset(),
    now_s: float = NOW_S,
) -> VmLook:
    return VmLook(now_s, flags, slots or {}, local, count)


IDLE = slot(0, idle_s=400) | slot(1, idle_s=500)
ANSWERED = slot(0, answers="retire") | slot(1, answers="retire")
DRAINED = slot(0, answers="drain") | slot(1, "stopped", answers="drain")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (look(NONE, IDLE), RaiseFlag),
        (look(NONE, IDLE, count=1), Wait),
        (look(NONE, IDLE | slot(2, idle_s=100)), Wait),
        (look(NONE, IDLE | slot(2, "busy")), Wait),
        (look(NONE, IDLE | slot(2, "starting")), Wait),
        (look(NONE, IDLE, local=frozenset({2})), Wait),
        (look(NONE), Wait),
        (look(NONE, slot(0, idle_s=200, age_s=100)), RaiseFlag),
        (look(RETIRE, ANSWERED), Leave),
        (look(RETIRE, ANSWERED, count=1), LowerRetire),
        (look(RETIRE, slot(0, answers="retire") | slot(1)), Wait),
        (look(RETIRE, slot(0, answers="retire") | slot(1, "busy"), count=1), LowerRetire),
        (look(DRAIN, DRAINED), Leave),
        (look(DRAIN, DRAINED, count=9), Leave),
        (look(DRAIN, ANSWERED), Wait),
        (look(Flags(drain=True, retire=True), DRAINED, count=9), Leave),
        (look(DRAIN, DRAINED | slot(2, "busy"), count=9), Wait),
        (look(DRAIN, DRAINED, local=frozenset({2})), Wait),
        (look(DRAIN), Leave),
    ],
    ids=[
        "idle for long and nothing to do",
        "idle and something to do",
        "one not idle for long",
        "one busy",
        "one starting",
        "one that never reported",
        "nobody yet",
        "a report ages",
        "all answered and nothing to do",
        "all answered and something to do",
        "one has not answered",
        "one got a job meanwhile",
        "drained",
        "drained, whatever the count",
        "an answer to the other flag",
        "both flags",
        "one works on",
        "one began and said nothing",
        "drained before any slot began",
    ],
)
def test_what_a_vm_does_next(seen: VmLook, expected: type[Step]) -> None:
    state = observe(RetireState(flag=seen.flag, flag_since_s=NOW_S - 10), seen, DURATIONS)
    assert type(decide(seen, state, DURATIONS)) is expected


@pytest.mark.parametrize("flags", [DRAIN, RETIRE])
def test_slots_that_do_not_answer_are_stopped_after_a_while(flags: Flags) -> None:
    flag = look(flags).flag
    assert flag
    seen = look(flags, slot(0, answers=flag) | slot(1, "busy"), local=frozenset({2}))
    patient = RetireState(flag=flag, flag_since_s=NOW_S - DURATIONS.visibility_timeout_s + 1)
    spent = RetireState(flag=flag, flag_since_s=NOW_S - DURATIONS.visibility_timeout_s)
    assert decide(seen, observe(patient, seen, DURATIONS), DURATIONS) == Wait()
    assert decide(seen, observe(spent, seen, DURATIONS), DURATIONS) == StopSlots((1, 2), flag)


def test_a_slot_that_was_stopped_has_answered_whatever_starts_in_its_place() -> None:
    seen = look(DRAIN, slot(0, answers="drain") | slot(1, "starting"))
    state = RetireState(flag="drain", flag_since_s=0.0, stopped=(1,))
    assert isinstance(decide(seen, observe(state, seen, DURATIONS), DURATIONS), Leave)


def test_a_new_flag_asks_everybody_again() -> None:
    state = RetireState(flag="retire", flag_since_s=0.0, stopped=(0, 1))
    seen = look(DRAIN, slot(0) | slot(1))
    after = observe(state, seen, DURATIONS)
    assert (after.flag, after.flag_since_s, after.stopped) == ("drain", NOW_S, ())


def fruitless_after(*looks: VmLook) -> float:
    state = RetireState()
    for one in looks:
        state = observe(state, one, DURATIONS)
    return state.without_commit_s


def test_a_vm_without_a_commit_of_its_own_drains_itself_though_there_is_work() -> None:
    seen = look(NONE, slot(0, "busy"), count=5)
    state = RetireState(without_commit_s=HOUR_S)
    step = decide(seen, state, DURATIONS)
    assert isinstance(step, RaiseFlag)
    assert step.flag == "drain"


def test_the_hour_begins_with_the_last_commit_of_any_slot() -> None:
    ticks = range(0, 4 * 3600, 30)
    crash_loop = [look(NONE, slot(0, "starting", since_commit_s=2.0), now_s=NOW_S + at) for at in ticks]
    working = [look(NONE, slot(0, "busy", commits=3, since_commit_s=55.0), now_s=NOW_S + at) for at in ticks]
    beside = [replace(one, slots=dict(one.slots) | slot(1, "idle", since_commit_s=9000.0)) for one in working]
    assert fruitless_after(*crash_loop) >= HOUR_S
    assert fruitless_after(*working) == 56
    assert fruitless_after(*beside) == 56


def test_an_outage_of_the_storage_is_not_held_against_the_vm() -> None:
    before = observe(RetireState(looked_s=NOW_S), look(NONE, slot(0, "busy"), now_s=NOW_S + 30), DURATIONS)
    failed = before.model_copy(update={"looked_s": None})
    after = observe(failed, look(NONE, slot(0, "busy"), now_s=NOW_S + 5000), DURATIONS)
    assert after.without_commit_s == before.without_commit_s == 30


# The service


@dataclass
class Vm:
    """A VM with a retire service; its slots are written by hand."""

    directory: Path
    runtime: VirtualRuntime = field(default_factory=VirtualRuntime)
    problems: list[FleetError] = field(default_factory=list)
    deletions: list[float] = field(default_factory=list)
    stopped: list[int] = field(default_factory=list)
    unstoppable: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.blobs = MemoryBlobs(self.runtime.monotonic)
        self.jobs = MemoryQueue(self.runtime.monotonic)
        self.control = Control(self.blobs)
        self.service = self.fresh_service()

    def fresh_service(self) -> RetireService:
        return RetireService(
            vm="me",
            control=self.control,
            jobs=self.jobs,
            durations=DURATIONS,
            runtime=self.runtime,
            runtime_directory=self.directory,
            delete_self=self.delete_self,
            stop_slot=self.stop_slot,
            log=silent(),
        )

    def delete_self(self) -> None:
        if self.problems:
            raise self.problems.pop(0)
        self.deletions.append(self.runtime.now_s)

    def stop_slot(self, number: int) -> bool:
        self.stopped.append(number)
        return number not in self.unstoppable

    def says(self, number: int, state: str = "idle", *, idle_s: float = 0.0, answers: Flag | None = None) -> None:
        self.control.report_slot(slot(number, state, idle_s=idle_s, answers=answers)[number].report)

    def runs_for(self, seconds: float) -> None:
        stop = self.runtime.event()
        self.runtime.after(seconds, stop.set)
        self.service.run(stop)


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


def test_an_idle_vm_flags_itself_waits_for_its_slots_and_leaves(vm: Vm) -> None:
    vm.says(0, idle_s=300)
    vm.says(1, idle_s=300)
    vm.runs_for(10)
    assert vm.control.flags("me") == RETIRE
    assert not vm.deletions
    vm.says(0, answers="retire")
    vm.runs_for(10)
    assert not vm.deletions
    vm.says(1, answers="retire")
    vm.runs_for(10)
    assert len(vm.deletions) == 1


def test_a_job_that_came_meanwhile_keeps_the_vm(vm: Vm) -> None:
    vm.says(0, idle_s=300)
    vm.runs_for(1)
    assert vm.control.flags("me").retire
    vm.jobs.send("a job")
    vm.says(0, answers="retire")
    vm.runs_for(10)
    assert vm.control.flags("me") == NONE
    assert not vm.deletions


def test_a_drained_vm_stops_who_does_not_answer_and_answers_for_them(vm: Vm) -> None:
    vm.jobs.send("a job")
    vm.says(0, answers="drain")
    vm.says(1, "busy")
    write_file(slot_file(vm.directory, 1), SlotFile(pid=1))
    vm.control.raise_flag("drain", "me", "surplus")
    vm.runs_for(DURATIONS.visibility_timeout_s - 5)
    assert not vm.stopped
    vm.runs_for(20)
    assert vm.stopped == [1]
    assert {seen.report.answers for seen in vm.control.slots("me")} == {"drain"}
    assert len(vm.deletions) == 1


def test_nobody_answers_for_a_slot_that_cannot_be_stopped(vm: Vm) -> None:
    vm.unstoppable.add(0)
    vm.says(0, "busy")
    vm.control.raise_flag("drain", "me", "surplus")
    vm.runs_for(DURATIONS.visibility_timeout_s + 60)
    assert vm.stopped
    assert not vm.deletions
    assert next(vm.control.slots("me")).report.answers is None


def test_a_refused_deletion_is_asked_for_again_ever_more_slowly_and_never_given_up(vm: Vm) -> None:
    vm.problems += [FleetDenied("no role"), SetChanged("409"), FleetError("503"), Throttled("429", 77.0)]
    vm.says(0, answers="drain")
    vm.control.raise_flag("drain", "me", "surplus")
    began_s = vm.runtime.now_s
    vm.runs_for(15 + 30 + 60 + 77 + 1)
    assert not vm.problems
    assert vm.deletions == [began_s + 15 + 30 + 60 + 77]


def test_an_accepted_deletion_is_repeated_once_a_minute_at_most(vm: Vm) -> None:
    vm.says(0, answers="drain")
    vm.control.raise_flag("drain", "me", "surplus")
    vm.runs_for(179)
    assert [at_s - vm.deletions[0] for at_s in vm.deletions] == [0, 60, 120]


def test_a_storage_outage_is_survived(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> None:
    vm.says(0, idle_s=300)

    def unavailable() -> int:
        raise StorageUnavailable("away")

    with monkeypatch.context() as outage:
        outage.setattr(vm.jobs, "count", unavailable)
        vm.runs_for(3600)
    assert vm.control.flags("me") == NONE
    vm.runs_for(DURATIONS.retry_max_s)
    assert vm.control.flags("me") == RETIRE


def test_a_crash_looping_vm_drains_itself_after_an_hour(vm: Vm) -> None:
    vm.jobs.send("a job that kills its slot")
    vm.says(0, "starting")
    vm.runs_for(HOUR_S - 60)
    assert vm.control.flags("me") == NONE
    vm.runs_for(120)
    assert vm.control.flags("me") == DRAIN


def test_a_timer_that_calls_once_reaches_the_same_end(vm: Vm) -> None:
    vm.control.raise_flag("drain", "me", "surplus")
    vm.says(0, "busy")
    for _ in range(10):
        vm.fresh_service().by_timer()
        vm.runtime.advance(30)
    assert vm.stopped == [0]
    assert vm.deletions


def test_a_memory_that_cannot_be_read_begins_anew(vm: Vm) -> None:
    (vm.directory / "retire.json").write_text('{"nonsense": 1}')
    vm.says(0, idle_s=300)
    vm.runs_for(1)
    assert vm.control.flags("me") == RETIRE


def test_a_timer_that_comes_too_early_is_sent_away(vm: Vm) -> None:
    """Each start is a process of its own: how long Azure wants to be left alone is in the file."""
    vm.control.raise_flag("drain", "me", "surplus")
    vm.problems += [Throttled("429", 77.0)]
    asked_s = []
    for _ in range(8):
        before = len(vm.problems) + len(vm.deletions)
        vm.fresh_service().by_timer()
        if len(vm.problems) + len(vm.deletions) != before:
            asked_s.append(vm.runtime.now_s)
        vm.runtime.advance(30)
    assert asked_s == [10_000, 10_090, 10_150, 10_210]
    assert vm.deletions == asked_s[1:]
