"""Whole fleets through many schedules: no work is left without a VM, no working VM goes, and all ends at zero."""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.fleet import Fleet
from tests.proof.schedules import misfortune
from worker.contract.runtime import Event

SCHEDULES = int(os.environ.get("TRANQUILITY_SCHEDULES", "4"))
"""Per claim; `make prove` asks for more."""
MOMENTS = 5 if SCHEDULES < 100 else 1
"""Every so many moments are tried."""
HOUR_S = 3600.0

schedules = pytest.mark.parametrize("seed", range(SCHEDULES))


OpenFleet = Callable[..., Fleet]


@pytest.fixture
def open_fleet(tmp_path: Path) -> Iterator[OpenFleet]:
    """Makes fleets, and ends all that runs in them."""
    with contextlib.ExitStack() as open_fleets:
        yield lambda seed, **given: open_fleets.enter_context(contextlib.closing(Fleet(seed, tmp_path, **given)))


@schedules
def test_a_closed_laptop_leaves_no_job_behind_and_nothing_running(seed: int, open_fleet: OpenFleet) -> None:
    fleet = open_fleet(seed, lowers_late=seed % 2 == 1)
    for _ in range(3):
        fleet.enqueue(fleet.chance.randint(1, 9))
        # The next enqueue meets VMs that work, that are idle, that retire, or that have just gone.
        fleet.run(fleet.chance.choice([1.0, 320.0, 340.0, 360.0, 700.0, 2000.0]))
    fleet.run_until_quiet(2 * HOUR_S)
    assert not fleet.left_to_do
    assert fleet.inner.capacity == 0
    assert fleet.inner.names == ()


@dataclass(frozen=True)
class Scene:
    """An idle VM on its way out, and who is there to see it."""

    slots: int = 1
    watched: bool = False
    wake: bool = False
    lowers_late: bool = False
    closes: bool = False
    """The watching laptop closes at the moment in question."""

    def set_up(self, directory: Path) -> tuple[Fleet, Event]:
        fleet = Fleet(0, directory, max_instances=2, slots=self.slots, lowers_late=self.lowers_late)
        stop = fleet.runtime.event()
        if self.watched:
            fleet.watch(stop)
        if self.wake:
            fleet.wake()
        fleet.enqueue(1)
        return fleet, stop

    def play(self, directory: Path, moment: int) -> Fleet:
        """Enqueue a job while the request numbered `moment` is on its way."""
        fleet, stop = self.set_up(directory)

        def enqueue() -> None:
            if self.closes:
                stop.set()
            fleet.enqueue(1)

        fleet.during(moment, enqueue)
        while len(fleet.requests) < moment:
            fleet.run(10.0)
        fleet.run_until_quiet(2 * HOUR_S)
        fleet.close()
        return fleet

    def moments(self, directory: Path) -> list[int]:
        """Return the numbers of all requests from a little before the first flag to a little after the deletion."""
        fleet, _ = self.set_up(directory)
        fleet.run_until_quiet(2 * HOUR_S)
        fleet.close()
        numbered = list(enumerate(fleet.requests, start=1))
        first = next(number for number, what in numbered if what.startswith(("put drain/", "put retire/")))
        last = max(number for number, what in numbered if what == "delete instances")
        every = range(first - 15, min(last + 15, len(numbered)) + 1)
        return sorted({*every[::MOMENTS], last})


@pytest.mark.parametrize(
    "scene",
    [
        Scene(),
        Scene(slots=2),
        Scene(lowers_late=True),
        Scene(watched=True),
        Scene(watched=True, slots=2, lowers_late=True),
        Scene(watched=True, closes=True, wake=True),
    ],
    ids=str,
)
def test_a_job_that_comes_at_any_moment_of_a_vms_way_out_is_done_and_kills_no_work(
    scene: Scene, tmp_path: Path
) -> None:
    for moment in scene.moments(tmp_path):
        fleet = scene.play(tmp_path, moment)
        assert len(fleet.sent) == 2, moment
        assert not fleet.left_to_do, moment
        assert fleet.inner.capacity == 0, moment


@schedules
def test_with_a_watching_producer_evictions_and_breakdowns_cost_time_and_no_job(
    seed: int, open_fleet: OpenFleet
) -> None:
    fleet = open_fleet(seed, lowers_late=seed % 2 == 1)
    stop = fleet.runtime.event()
    for _ in range(1 + seed % 2):
        fleet.watch(stop)
    for _ in range(12):
        if fleet.chance.random() < 0.4:
            fleet.enqueue(fleet.chance.randint(1, 9))
        misfortune(fleet)
        fleet.run(fleet.chance.choice([10.0, 100.0, 600.0]))
    fleet.outage = False
    fleet.run_until_quiet(4 * HOUR_S)
    assert not fleet.left_to_do
    assert fleet.inner.capacity == 0
    assert fleet.inner.names == ()
    stop.set()


@schedules
def test_a_storage_outage_does_not_look_like_a_dead_fleet(seed: int, open_fleet: OpenFleet) -> None:
    fleet = open_fleet(seed)
    fleet.watch(fleet.runtime.event())
    fleet.enqueue(200)
    fleet.run(1800.0 + 7 * seed)
    before = {vm.name for vm in fleet.living()}
    assert len(before) == 4
    fleet.outage = True
    fleet.run(1500.0)
    fleet.outage = False
    fleet.run(200.0)
    assert {vm.name for vm in fleet.living()} >= before
    assert not list(fleet.control.flagged("drain"))


def test_a_dead_vm_is_replaced_and_deleted(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(0, max_instances=2, slots=1)
    fleet.watch(fleet.runtime.event())
    fleet.enqueue(1)
    while not any(vm.works for vm in fleet.living()):
        fleet.run(5.0)
    (dead,) = fleet.living()
    dead.freeze()
    fleet.run(fleet.durations.boot_grace_s - 200)
    assert fleet.inner.names == (dead.name,)
    fleet.run(HOUR_S)
    assert dead.name not in fleet.inner.names
    assert not fleet.left_to_do


def test_an_eviction_is_made_good_by_the_next_ticks(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(0, max_instances=3, slots=1)
    fleet.watch(fleet.runtime.event())
    fleet.enqueue(30)
    fleet.run(300.0)
    assert fleet.inner.capacity == 3
    fleet.inner.evict(fleet.living()[0].name)
    assert fleet.inner.capacity == 2
    fleet.run(60.0)
    assert fleet.inner.capacity == 3


def test_a_stable_fleet_is_not_written(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(0, max_instances=3, slots=1)
    fleet.watch(fleet.runtime.event())
    fleet.enqueue(300)
    fleet.run(300.0)
    fleet.inner.writes.clear()
    fleet.run(HOUR_S)
    assert fleet.left_to_do
    assert fleet.inner.writes == []


def test_a_fruitless_fleet_is_held_and_a_person_ends_that(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(0, max_instances=2, slots=1)
    fleet.watch(fleet.runtime.event())
    fleet.enqueue(2)
    for _ in range(60):
        fleet.run(100.0)
        for vm in fleet.living():
            vm.fruitless = True
    hold = fleet.control.fleet_hold()
    assert hold is not None
    assert "no job made a commit" in hold.reason
    assert fleet.inner.capacity == 0
    raises = [what for what, _ in fleet.inner.writes].count("raise")
    fleet.run(2 * HOUR_S)
    assert [what for what, _ in fleet.inner.writes].count("raise") == raises
    assert fleet.left_to_do
    fleet.control.resume_fleet()
    fleet.run(HOUR_S)
    assert not fleet.left_to_do


def test_in_a_drought_raises_go_on_ever_more_slowly_and_the_first_vm_ends_it(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(0, max_instances=2, slots=1)
    fleet.watch(fleet.runtime.event())
    fleet.inner.droughts = 10_000
    fleet.enqueue(2)
    fleet.run(3 * HOUR_S)
    assert fleet.control.fleet_hold() is None
    raises = [what for what, _ in fleet.inner.writes].count("raise")
    assert 10 <= raises <= 40
    refusal = fleet.control.refusal()
    assert refusal is not None
    assert "AllocationFailed" in refusal.message
    fleet.inner.droughts = 0
    fleet.run(HOUR_S)
    assert not fleet.left_to_do
    assert fleet.control.refusal() is None


def test_without_a_laptop_the_wake_replaces_what_was_evicted(open_fleet: OpenFleet) -> None:
    fleet = open_fleet(0, max_instances=2, slots=1)
    fleet.wake()
    fleet.enqueue(4)
    fleet.run(200.0)
    for vm in fleet.living():
        fleet.inner.evict(vm.name)
    assert fleet.inner.capacity == 0
    fleet.run(3 * HOUR_S)
    assert not fleet.left_to_do
    assert fleet.inner.capacity == 0
