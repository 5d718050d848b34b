"""The eviction in the middle of `local run`."""

from dataclasses import dataclass, field
from typing import cast

from producer.emulator.fleet import LocalFleet
from producer.emulator.run import Director
from producer.emulator.states import Refused
from producer.results.fleet_view import FleetView, SlotView
from producer.results.progress import ProgressReader
from producer.results.view import View
from tests.fakes.sweeps import Storage, make_plan, running
from worker.contract.control import SeenSlot, SlotReport


@dataclass
class GoneOnce:
    """A fleet whose VM is deleting itself at the first order, and where another runs at the next."""

    asked: list[str] = field(default_factory=list)

    def evict(self, name: str) -> str:
        self.asked.append(name)
        if len(self.asked) == 1:
            raise Refused("OperationNotAllowed", f"The VM {name} is not running.")
        return name


def halfway(vm: str) -> View:
    """Return a moment at which this VM trains and half the steps are made."""
    plan = make_plan([{"tau": 0.01}], seeds=[0])
    (job,) = plan.all_jobs()
    storage = Storage()
    storage.put_plan(plan)
    storage.put_manifest(running(job, job.configuration.timesteps // 2))
    report = SlotReport(vm=vm, slot=0, state="busy", commits=1)
    slots = (SlotView(SeenSlot(report, "1", 0.0), alive=True),)
    return View(ProgressReader(storage.blobs, plan.sweep, 120.0).read(), FleetView(0, 0, slots))


def test_a_vm_that_went_meanwhile_is_no_trouble_and_another_is_evicted_at_the_next_look() -> None:
    fleet = GoneOnce()
    director = Director(cast("LocalFleet", fleet), evict=True)
    for vm in ("a", "b", "c"):
        director(halfway(vm))
    assert fleet.asked == ["a", "b"]
