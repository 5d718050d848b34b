"""Claims about the picture of a sweep, at fixed widths and heights."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from producer.results.cost import Cost
from producer.results.fleet_view import FleetView, InstanceView, SetView, SlotView
from producer.results.progress import JobProgress, SweepProgress
from producer.results.screen import LEAST_JOBS, SHOWN_HAPPENINGS, Size, chosen, screen, share_out
from producer.results.view import Happening, View
from tests.fakes.sweeps import make_plan
from worker.contract.control import Hold, SeenSlot, SlotReport
from worker.contract.score import summarise

PLAN = make_plan([{"tau": 0.005, "batch_size": 256}, {"tau": 0.01, "batch_size": 256}], seeds=[0, 1])
TRAIL = (-300.0, -250.0, -260.0, -200.0, -120.0, -60.0, 10.0, 80.0, 120.0)


def listed(trail: tuple[float, ...]) -> str:
    return ",".join(f"{value:.0f}" for value in trail)


def a_view(*, hold: Hold | None = None) -> View:
    ids = [job.id for job in PLAN.jobs]
    done = JobProgress(ids[0], 0, 0, 200_000, "done", 200_000, 200_000, 230.0, listed(TRAIL), 1)
    running = JobProgress(ids[1], 0, 1, 200_000, "running", 40_000, 41_250, -120.5, listed(TRAIL[:5]), 2, 1, 312, 93.4)
    silent = JobProgress(ids[2], 1, 0, 200_000, "silent", 12_000, 12_400, -210.0, listed(TRAIL[:2]), 1, age_s=240.0)
    jobs = (
        replace(done, score=summarise([212.4], [300], 200.0)),
        replace(running, worker="tranq-set_1a2b/0"),
        replace(silent, worker="tranq-set_9/1"),
        JobProgress(ids[3], 1, 1, 200_000),
    )
    busy = SlotReport(vm="tranq-set_1a2b", slot=0, state="busy", job=ids[1])
    idle = SlotReport(vm="tranq-set_1a2b", slot=1, state="idle")
    lost = SlotReport(vm="tranq-set_9", slot=1, state="busy", job=ids[2])
    slots = (
        SlotView(SeenSlot(busy, '"1"', 4.0), alive=True),
        SlotView(SeenSlot(idle, '"2"', 61.0), alive=True, flag="retire"),
        SlotView(SeenSlot(lost, '"3"', 700.0), alive=False),
    )
    fleet = FleetView(
        queued=3,
        poisoned=1,
        slots=slots,
        set=SetView(2, (InstanceView("tranq-set_1a2b", "running"), InstanceView("tranq-set_3c", "creating"))),
    )
    happened = (
        Happening("job 9f: evicted from tranq-set_7/0, 312 steps to make again", "bad", "10:01:22"),
        Happening("job 9f: goes on from step 40,000 on tranq-set_1a2b/0", "good", "10:01:58"),
    )
    cost = Cost(1.234, 0.05, 3.21, 0.0, 0.0, upper_bound=False)
    plan = PLAN.model_copy(update={"budget_usd": 5.0})
    return View(SweepProgress(plan, jobs, hold), fleet, cost, 10, happened)


def drawn(view: View, size: Size) -> str:
    console = Console(width=size.width, height=200, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(screen(view, size))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_the_picture_at_80_columns() -> None:
    assert (
        drawn(a_view(), Size(80))
        == """\
lunar ━━━━━━━━━━━━                            32 %  254k/800k steps  ETA 97 min
jobs   1 silent, 1 running, 1 waiting, 1 done; 1 eviction; 312 steps lost
fleet  93 steps/s · queue 3 · poison 1 · capacity 2/10 · 2 VMs (1 creating, 1
running) · 1/2 slots busy
spend  1.23 $ of 5.00 $ · 0.05 $ lost to evictions · 3.21 $ saved by spot

JOB    tau        SEED STATE             STEP   /S RETURN          TRY EV    ETA
394002 0.005         0 done         200k/200k         212 ▁▁▂▃▅▆██   1
610d9a 0.005         1 running     41.2k/200k   93   −120 ▁▃▂▅█      2  1 28 min
26a5a7 0.01          0 silent      12.4k/200k        −210 ▁█         1
c49461 0.01          1 waiting         0/200k

WORKER           STATE     JOB    HEARTBEAT
tranq-set_9/1    silent    26a5a7 12 min
tranq-set_1a2b/0 busy      610d9a 4 s
tranq-set_1a2b/1 retire           61 s

10:01:22 job 9f: evicted from tranq-set_7/0, 312 steps to make again
10:01:58 job 9f: goes on from step 40,000 on tranq-set_1a2b/0"""
    )


def test_the_picture_at_120_columns() -> None:
    assert (
        drawn(a_view(), Size(120))
        == """\
lunar ━━━━━━━━━━━━━━━━━━━━━━━━━                                                       32 %  254k/800k steps  ETA 97 min
jobs   1 silent, 1 running, 1 waiting, 1 done; 1 eviction; 312 steps lost
fleet  93 steps/s · queue 3 · poison 1 · capacity 2/10 · 2 VMs (1 creating, 1 running) · 1/2 slots busy
spend  1.23 $ of 5.00 $ · 0.05 $ lost to evictions · 3.21 $ saved by spot

JOB          tau                 SEED STATE             STEP   /S RETURN                  TRY EV    ETA WORKER
394002e7caf1 0.005                  0 done         200k/200k         212 ▁▁▁▂▄▅▆██          1
610d9a127d6c 0.005                  1 running     41.2k/200k   93   −120 ▁▃▂▅█              2  1 28 min tranq-set_1a2b/0
26a5a7ac7a51 0.01                   0 silent      12.4k/200k        −210 ▁█                 1           tranq-set_9/1
c494614e8530 0.01                   1 waiting         0/200k

WORKER           STATE     JOB    HEARTBEAT
tranq-set_9/1    silent    26a5a7 12 min
tranq-set_1a2b/0 busy      610d9a 4 s
tranq-set_1a2b/1 retire           61 s

10:01:22 job 9f: evicted from tranq-set_7/0, 312 steps to make again
10:01:58 job 9f: goes on from step 40,000 on tranq-set_1a2b/0"""
    )


def test_a_low_terminal_shows_what_someone_may_want_to_act_on() -> None:
    low = drawn(a_view(), Size(80, 9))
    assert len(low.splitlines()) <= 9
    assert "silent" in low
    assert "… and" in low


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert all(len(line) <= width for line in drawn(a_view(), Size(width)).splitlines())


def test_a_terminal_without_unicode_gets_bars_in_ascii() -> None:
    picture = drawn(a_view(), Size(80, ascii_only=True))
    assert not set("▁▂▃▄▅▆▇█") & set(picture)
    assert "_" in picture


def test_why_nothing_runs_stands_above_the_jobs() -> None:
    view = a_view(hold=Hold(kind="paused", reason="lunch"))
    still = replace(view.sweep, jobs=tuple(job for job in view.sweep.jobs if job.state != "running"))
    picture = drawn(replace(view, sweep=still), Size(80))
    assert picture.index("! The sweep is paused (lunch)") < picture.index("JOB")


def test_a_sweep_of_one_set_has_no_column_for_it() -> None:
    plan = make_plan([{"tau": 0.01}], [0])
    view = View(SweepProgress(plan, (JobProgress(plan.jobs[0].id, 0, 0, 100),)), FleetView(0, 0))
    assert "SET" not in drawn(view, Size(80))


def test_ten_thousand_jobs_fit_into_24_lines() -> None:
    plan = make_plan([{"tau": 0.01}], range(10_000))
    jobs = tuple(JobProgress(job.id, 0, job.seed, 100, "done" if job.seed % 2 else "running") for job in plan.jobs)
    picture = drawn(View(SweepProgress(plan, jobs), a_view().fleet), Size(80, 24))
    assert len(picture.splitlines()) <= 24
    assert "5,000 done" in picture


def test_those_that_need_a_person_come_first_then_the_furthest() -> None:
    jobs = [
        JobProgress("a", 0, 0, 100, "done", 100, 100),
        JobProgress("b", 0, 1, 100, "running", 10, 10),
        JobProgress("c", 0, 2, 100, "running", 50, 50),
        JobProgress("d", 0, 3, 100, "silent"),
        JobProgress("e", 0, 4, 100, "waiting"),
    ]
    assert [job.id for job in chosen(jobs, 4)] == ["d", "c", "b", "e"]


@settings(deadline=None)
@given(st.integers(1, 100), st.integers(1, 300), st.integers(0, 100), st.integers(0, 60))
def test_the_parts_never_take_more_lines_than_there_are(lines: int, jobs: int, workers: int, happenings: int) -> None:
    shares = share_out(lines, jobs, workers, happenings)
    taken = (
        2
        + shares.jobs
        + (shares.workers + 2 if shares.workers else 0)
        + (shares.happenings + 1 if shares.happenings else 0)
    )
    assert taken <= max(lines, 3)
    assert 1 <= shares.jobs <= jobs
    assert shares.workers <= workers
    assert shares.happenings <= min(SHOWN_HAPPENINGS, happenings)
    if lines >= LEAST_JOBS + 2:
        assert shares.jobs >= min(jobs, LEAST_JOBS)


@settings(deadline=None, max_examples=30)
@given(st.integers(8, 60), st.integers(80, 140))
def test_the_picture_is_never_higher_than_the_terminal(height: int, width: int) -> None:
    assert len(drawn(a_view(), Size(width, height)).splitlines()) <= height


def test_it_says_how_long_a_vm_takes_from_its_boot_to_training() -> None:
    view = a_view()
    slots = [
        replace(slot, seen=replace(slot.seen, report=slot.seen.report.model_copy(update={"first_step_seconds": took})))
        for slot, took in zip(view.fleet.slots, (95.0, 80.0, 900.0), strict=True)
    ]
    lines = drawn(replace(view, fleet=replace(view.fleet, slots=tuple(slots))), Size(140)).splitlines()
    assert "training 95 s after boot" in next(line for line in lines if line.startswith("fleet"))


def test_at_80_columns_tries_give_their_room_to_the_hyperparameters_while_there_are_none_to_tell() -> None:
    view = a_view()
    calm = tuple(replace(job, attempts=min(job.attempts, 1), evictions=0) for job in view.sweep.jobs)
    lines = drawn(replace(view, sweep=SweepProgress(view.sweep.plan, calm)), Size(80)).splitlines()
    (heading,) = (line for line in lines if line.startswith("JOB "))
    assert heading.split() == ["JOB", "tau", "SEED", "STATE", "STEP", "/S", "RETURN", "ETA"]
    assert heading.index("SEED") > 20


def test_a_job_that_waits_is_not_shown_with_the_worker_that_it_has_lost() -> None:
    view = a_view()
    jobs = tuple(replace(job, state="waiting") if job.state == "running" else job for job in view.sweep.jobs)
    table = drawn(replace(view, sweep=SweepProgress(view.sweep.plan, jobs)), Size(120)).partition("WORKER")[2]
    (line,) = (line for line in table.splitlines() if line.startswith(jobs[1].id[:12]))
    assert "tranq-set" not in line
