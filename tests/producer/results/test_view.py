"""Claims about what is said to have happened between two looks."""

from dataclasses import replace
from typing import Any

import pytest

from producer.results.fleet_view import FleetView, InstanceView, SetView
from producer.results.progress import JobProgress, SweepProgress
from producer.results.view import View, since
from tests.fakes.sweeps import make_plan
from worker.contract.control import Hold, Refusal
from worker.contract.score import summarise

PLAN = make_plan([{"tau": 0.01}], seeds=[0])
ID = PLAN.jobs[0].id
JOB = JobProgress(ID, 0, 0, 200_000, "running", step=40_000, reached=41_000, attempts=1, worker="vm-1/0")
FLEET = FleetView(queued=1, poisoned=0, set=SetView(1, (InstanceView("vm-1", "running"),)))


def view(job: JobProgress = JOB, fleet: FleetView = FLEET, hold: Hold | None = None) -> View:
    return View(SweepProgress(PLAN, (job,), hold), fleet)


def told(after: View) -> list[str]:
    return [one.text for one in since(view(), after)]


@pytest.mark.parametrize(
    ("changes", "texts"),
    [
        ({"reached": 42_000, "age_s": 3.0}, []),
        ({"state": "waiting", "evictions": 1}, [f"job {ID[:6]}: evicted from vm-1/0, nothing lost"]),
        (
            {"evictions": 1, "lost_steps": 1_000, "attempts": 2, "worker": "vm-2/1"},
            [
                f"job {ID[:6]}: evicted from vm-1/0, 1,000 steps to make again",
                f"job {ID[:6]}: goes on from step 40,000 on vm-2/1",
            ],
        ),
        ({"state": "done", "score": summarise([200.0], [9], 200.0)}, [f"job {ID[:6]}: done, return 200.0"]),
        ({"state": "waiting", "reason": "killed by SIGSEGV"}, [f"job {ID[:6]}: killed by SIGSEGV on vm-1/0"]),
        ({"state": "waiting"}, []),
        ({"state": "failed", "reason": "diverged"}, [f"job {ID[:6]}: failed: diverged"]),
        ({"state": "silent", "age_s": 150.0}, [f"job {ID[:6]}: no word from vm-1/0 for 150 s"]),
    ],
)
def test_what_happened_to_a_job_is_told_once(changes: dict[str, Any], texts: list[str]) -> None:
    assert told(view(replace(JOB, **changes))) == texts


def test_the_first_claim_is_a_start() -> None:
    before = view(JobProgress(ID, 0, 0, 200_000))
    assert [one.text for one in since(before, view())] == [f"job {ID[:6]}: started on vm-1/0"]


@pytest.mark.parametrize(
    ("fleet", "texts"),
    [
        (replace(FLEET, queued=5), []),
        (replace(FLEET, set=SetView(2, FLEET.set.instances if FLEET.set else ())), ["capacity 1 → 2"]),
        (replace(FLEET, set=SetView(1, (InstanceView("vm-2", "creating"),))), ["new VM: vm-2", "VM gone: vm-1"]),
        (replace(FLEET, refusal=Refusal("QuotaExceeded", 1.0)), ["Azure granted no more VMs: QuotaExceeded"]),
        (replace(FLEET, poisoned=2), ["2 messages in the poison queue"]),
        (replace(FLEET, hold="fruitless"), ["fleet on hold: fruitless"]),
    ],
)
def test_what_happened_to_the_fleet_is_told(fleet: FleetView, texts: list[str]) -> None:
    assert told(view(fleet=fleet)) == texts


def test_an_old_refusal_that_only_ages_is_not_told_again() -> None:
    before = view(fleet=replace(FLEET, refusal=Refusal("QuotaExceeded", 1.0)))
    after = view(fleet=replace(FLEET, refusal=Refusal("QuotaExceeded", 3.0)))
    assert list(since(before, after)) == []


def test_a_hold_and_its_end_are_told() -> None:
    held = view(hold=Hold(kind="paused", reason="lunch"))
    assert told(held) == ["the sweep is held: paused lunch"]
    assert [one.text for one in since(held, view())] == ["the sweep's hold is lifted"]


def test_what_ended_badly_is_a_warning_also_where_other_jobs_run() -> None:
    plan = make_plan([{"tau": 0.01}], seeds=[0, 1])
    bad = JobProgress(plan.jobs[1].id, 0, 1, 200_000, "failed", reason="diverged: loss is NaN.")
    moving = replace(JOB, id=plan.jobs[0].id)
    (said,) = View(SweepProgress(plan, (moving, bad)), FLEET).warnings
    assert said == (
        f"1 job failed (diverged: loss is NaN). tranquility logs lunar/{bad.id[:6]} shows more; "
        "tranquility retry lunar runs it again."
    )
