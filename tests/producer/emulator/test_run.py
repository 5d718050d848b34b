"""The eviction in the middle of `local run`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import cast

from rich.console import Console

from producer.emulator.fleet import LocalFleet
from producer.emulator.run import Director, conclude
from producer.emulator.states import Refused
from producer.results.fleet_view import FleetView, SlotView
from producer.results.progress import ProgressReader
from producer.results.view import View
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import COMMON, Storage, episodes, make_plan, running
from worker.contract.control import SeenSlot, SlotReport
from worker.contract.manifest import Outcome


@dataclass
class Fleet:
    """A fleet whose VMs were gone at the first `gone` orders."""

    gone: int = 0
    asked: list[str] = field(default_factory=list)

    def evict(self, name: str) -> str:
        self.asked.append(name)
        if len(self.asked) <= self.gone:
            raise Refused("OperationNotAllowed", f"The VM {name} is not running.")
        return name


def moment(trained: Mapping[str, tuple[int, int]], done: int = 0) -> View:
    """Return a moment of four equal jobs: `trained` says of each busy VM what its job has committed and reached."""
    plan = make_plan([{"tau": 0.01}], seeds=[0, 1, 2, 3])
    jobs = jobs_of(plan)
    storage = Storage()
    storage.put_plan(plan)
    for job in jobs[:done]:
        storage.finish(job, episodes(20.0))
    for job, (vm, (committed, reached)) in zip(jobs[done:], trained.items(), strict=False):
        storage.put_manifest(running(job, committed, reached=reached, worker=f"{vm}/0"))
    slots = tuple(SlotView(SeenSlot(SlotReport(vm=vm, slot=0, state="busy"), "1", 0.0), alive=True) for vm in trained)
    return View(ProgressReader(storage.blobs, plan.sweep, 120.0).read(), FleetView(0, 0, slots))


def test_a_sweep_with_a_failed_job_ends_as_a_failure_that_names_the_reason(tmp_path: Path) -> None:
    plan = make_plan([{"tau": 0.01}], seeds=[0, 1])
    done, failed = jobs_of(plan)
    storage = Storage()
    storage.put_plan(plan)
    storage.finish(done, episodes(20.0))
    storage.put_manifest(running(failed, 100, status="failed", outcome=Outcome(reason="loss[3] is NaN")))
    console = Console(file=StringIO(), width=200)
    assert conclude(storage.session(), "lunar", tmp_path, console) == 1
    assert isinstance(console.file, StringIO)
    assert "lunar: 1 job failed (loss[3] is NaN). tranquility logs lunar/" in console.file.getvalue()
    storage.finish(failed, episodes(10.0))
    assert conclude(storage.session(), "lunar", tmp_path, console) == 0


ALL = COMMON.timesteps


def evicted(*moments: View) -> list[str]:
    """Return who is evicted while these moments pass."""
    fleet = Fleet()
    director = Director(cast("LocalFleet", fleet), evict=True)
    for view in moments:
        director(view)
    assert ("No instance was evicted: the jobs ended first." in director.missed) is not bool(fleet.asked)
    return fleet.asked


def test_a_vm_that_went_meanwhile_is_no_trouble_and_another_is_evicted_at_the_next_look() -> None:
    fleet = Fleet(gone=1)
    director = Director(cast("LocalFleet", fleet), evict=True)
    for vm in ("a", "b", "c"):
        director(moment({vm: (ALL // 2, ALL // 2)}, done=1))
    assert fleet.asked == ["a", "b"]


def test_in_the_middle_the_vm_is_evicted_whose_committed_job_has_most_before_it() -> None:
    early = moment({"a": (ALL // 4, ALL // 4), "b": (ALL // 5, ALL // 5)})
    middle = moment({"a": (ALL * 4 // 5, ALL * 4 // 5), "b": (ALL * 3 // 4, ALL * 3 // 4), "c": (0, ALL // 5)})
    assert evicted(early) == []
    assert evicted(early, middle, middle) == ["b"]


def test_where_jobs_are_too_short_for_a_commit_one_that_trains_for_a_while_is_evicted_all_the_same() -> None:
    second_pair = moment({"a": (0, 0), "b": (0, 0)}, done=2)
    assert evicted(second_pair) == []
    assert evicted(second_pair, second_pair) == ["a"]
    assert evicted(moment({"a": (0, ALL * 3 // 4)}, done=1), moment({"a": (0, ALL * 4 // 5)}, done=1)) == []


def test_a_vm_between_two_jobs_is_not_evicted() -> None:
    idle = moment({}, done=3)
    assert evicted(idle, idle) == []
