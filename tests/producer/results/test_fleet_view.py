"""Claims about how the fleet is read, and what is said when nothing runs."""

from dataclasses import dataclass, field, replace

import pytest

from producer.results.fleet_view import FleetReader, FleetView, InstanceView, SetView, SlotView, why_idle
from producer.results.progress import JobProgress, State, SweepProgress
from tests.fakes.sweeps import Storage, make_plan
from worker.contract.control import Control, FleetHold, Hold, Refusal, SeenSlot, SlotReport
from worker.contract.errors import TranquilityError
from worker.contract.settings import Durations

PLAN = make_plan([{"tau": 0.01}], seeds=[0, 1])


@dataclass
class Vm:
    name: str
    provisioning: str = "Succeeded"
    power: str = "running"


@dataclass
class ScaleSet:
    capacity: int = 0
    instances: list[Vm] = field(default_factory=list)
    error: str = ""

    def read(self) -> "ScaleSet":
        if self.error:
            raise TranquilityError(self.error)
        return self


def reader(storage: Storage, scale_set: ScaleSet | None = None) -> FleetReader:
    return FleetReader(storage.blobs, storage.jobs, storage.poison, Durations(), scale_set)


def sweep(*states: State, hold: Hold | None = None) -> SweepProgress:
    jobs = tuple(
        JobProgress(job.id, job.set, job.seed, 200_000, state, age_s=300.0)
        for job, state in zip(PLAN.jobs, states, strict=True)
    )
    return SweepProgress(PLAN, jobs, hold)


def slot(state: str = "idle", *, alive: bool = True, flag: str = "", age_s: float = 5.0) -> SlotView:
    report = SlotReport.model_validate({"vm": "vm-1", "slot": 0, "state": state})
    return SlotView(SeenSlot(report, '"1"', age_s), alive, flag)


# ---- reading ---------------------------------------------------------------------------------------------------------


def test_one_look_shows_queue_slots_flags_holds_and_the_set() -> None:
    storage = Storage()
    control = Control(storage.blobs)
    control.pulse("vm-1")
    control.report_slot(SlotReport(vm="vm-1", slot=0, state="busy", job=PLAN.jobs[0].id))
    control.report_slot(SlotReport(vm="vm-2", slot=0, state="idle"))
    control.raise_flag("retire", "vm-2", "idle")
    control.hold_fleet(FleetHold(reason="no commit for an hour", since="now"))
    control.refused("SkuNotAvailable")
    storage.jobs.send("a")
    storage.poison.send("b")
    storage.now_s = 30.0
    view = reader(storage, ScaleSet(2, [Vm("vm-1"), Vm("vm-2", "Creating", "")])).read()
    assert (view.queued, view.poisoned, view.busy, view.living) == (1, 1, 1, 2)
    assert [(one.name, one.flag, one.seen.age_s) for one in view.slots] == [
        ("vm-1/0", "", 30.0),
        ("vm-2/0", "retire", 30.0),
    ]
    assert view.hold == "no commit for an hour"
    assert view.refusal == Refusal("SkuNotAvailable", 30.0)
    assert (view.pulse_age_s, view.commit_age_s) == (30.0, None)
    assert view.set == SetView(2, (InstanceView("vm-1", "running"), InstanceView("vm-2", "creating")))


def test_a_slot_that_has_not_reported_for_ten_minutes_is_not_living() -> None:
    storage = Storage()
    Control(storage.blobs).report_slot(SlotReport(vm="vm-1", slot=0, state="busy"))
    storage.now_s = 601.0
    view = reader(storage).read()
    assert (view.slots[0].alive, view.busy, view.living) == (False, 0, 0)


def test_the_last_report_of_a_vm_that_is_gone_is_not_shown_for_long() -> None:
    storage = Storage()
    Control(storage.blobs).report_slot(SlotReport(vm="vm-1", slot=0, state="busy"))
    empty = ScaleSet(1, [Vm("vm-2")])
    assert reader(storage, empty).read().busy == 1
    storage.now_s = 31.0
    assert reader(storage, empty).read().slots == ()
    assert reader(storage).read().busy == 1


def test_a_scale_set_that_cannot_be_seen_leaves_the_rest_to_see() -> None:
    storage = Storage()
    storage.jobs.send("a")
    view = reader(storage, ScaleSet(error="the identity lacks a role")).read()
    assert view.queued == 1
    assert view.set is None
    assert "lacks a role" in view.set_error


@pytest.mark.parametrize(
    ("vm", "word"),
    [
        (Vm("a"), "running"),
        (Vm("a", "Succeeded", "stopped"), "stopped"),
        (Vm("a", "Failed", "running"), "failed"),
        (Vm("a", "Deleting", "running"), "deleting"),
        (Vm("a", "Succeeded", ""), "succeeded"),
    ],
)
def test_an_instance_has_one_word_for_its_state(vm: Vm, word: str) -> None:
    assert SetView.of(ScaleSet(1, [vm])).instances[0].state == word


# ---- why nothing runs ------------------------------------------------------------------------------------------------

BOOTED = SetView(1, (InstanceView("vm-1", "running"),))
WAITING = FleetView(queued=2, poisoned=0, set=BOOTED, slots=(slot(),))


@pytest.mark.parametrize(
    ("fleet", "reason"),
    [
        (replace(WAITING, hold="no commit for 60 min."), "The fleet is on hold: no commit for 60 min."),
        (replace(WAITING, refusal=Refusal("QuotaExceeded", 60.0)), "Azure granted no more VMs 60 s ago: QuotaExceeded"),
        (replace(WAITING, set=SetView(0), slots=()), "The scale set's capacity is 0"),
        (replace(WAITING, set=SetView(2), slots=()), "asked for 2 VMs and has none yet"),
        (replace(WAITING, set=None, set_error="AccessDenied", slots=()), "The scale set cannot be seen: AccessDenied"),
        (
            replace(WAITING, set=SetView(1, (InstanceView("vm-1", "failed"),)), slots=()),
            "No VM of the scale set is running: vm-1 failed.",
        ),
        (replace(WAITING, slots=()), "1 VM is booting"),
        (
            replace(WAITING, slots=(slot(alive=False, age_s=700.0),)),
            "No worker has a heartbeat: the last report came 12 min ago",
        ),
        (
            replace(WAITING, slots=(slot("stopped", age_s=4.0),)),
            "All workers have stopped, the last one 4 s ago: their VMs leave",
        ),
        (replace(WAITING, slots=(slot("idle"),)), "1 worker is idle: the first message comes a while after a boot"),
        (replace(WAITING, slots=(slot(flag="drain"),)), "Every living worker is draining"),
        (replace(WAITING, queued=0), "2 jobs are planned, but the queue is empty"),
        (replace(WAITING, poisoned=3), "3 messages lie in the poison queue"),
        (replace(WAITING, slots=(slot("busy"),)), "1 worker is busy with other sweeps"),
    ],
)
def test_the_reason_why_nothing_runs_is_named(fleet: FleetView, reason: str) -> None:
    assert any(reason in said for said in why_idle(sweep("waiting", "waiting"), fleet))


@pytest.mark.parametrize(
    ("hold", "words"),
    [
        (Hold(kind="paused", reason="lunch"), "The sweep is paused (lunch); tranquility resume lunar lifts it."),
        (
            Hold(kind="budget", reason="5.00 $ are spent"),
            "The sweep is out of budget (5.00 $ are spent); raise",
        ),
        (Hold(kind="cancelled", jobs=(PLAN.jobs[0].id,)), "1 job is cancelled; tranquility retry lunar"),
    ],
)
def test_a_hold_is_named_with_its_way_out(hold: Hold, words: str) -> None:
    assert any(words in said for said in why_idle(sweep("waiting", "waiting", hold=hold), WAITING))


def test_a_held_sweep_is_not_blamed_for_its_missing_messages() -> None:
    held = sweep("waiting", "waiting", hold=Hold(kind="paused"))
    assert not any("queue is empty" in said for said in why_idle(held, replace(WAITING, queued=0)))


def test_silent_jobs_are_named_with_how_they_go_on() -> None:
    said, *_ = why_idle(sweep("silent", "done"), WAITING)
    assert said.startswith("1 job lost its worker (silent for up to 5 min)")


@pytest.mark.parametrize("states", [("running", "waiting"), ("evaluating", "silent"), ("done", "failed")])
def test_where_a_job_runs_or_all_have_ended_there_is_nothing_to_explain(states: tuple[State, State]) -> None:
    assert why_idle(sweep(*states), replace(WAITING, set=SetView(0), poisoned=5)) == ()
