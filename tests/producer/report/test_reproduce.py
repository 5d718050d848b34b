"""The command of a row makes that very job again, also after the sweep file has moved on."""

import base64
from pathlib import Path

from producer.report.reproduce import Command, reproduction
from producer.sweep.confirm import with_fresh_seeds
from producer.sweep.planning import plan_file
from tests.fakes.reported import lunar_plan
from tests.fakes.sweeps import make_plan
from worker.contract.job import decode


def saved(command: Command, folder: Path) -> Path:
    """Save the file that a command reads, as a browser does."""
    path = folder / command.file_name
    path.write_bytes(base64.b64decode(command.file_url.partition(",")[2]))
    return path


def test_every_row_of_a_sweep_names_its_place_in_the_sweep_file(tmp_path: Path) -> None:
    plan = lunar_plan(3, 2)
    again = reproduction(plan)
    for number, planned in enumerate(plan.jobs):
        command = again.command(planned)
        assert command.text == f"tranquility train lunar.yaml --job {number}"
        replanned = plan_file(saved(command, tmp_path)).plan
        assert replanned.job(replanned.jobs[number]) == plan.job(planned)


def test_a_job_that_the_file_does_not_name_comes_as_a_file_of_its_own(tmp_path: Path) -> None:
    plan = with_fresh_seeds(lunar_plan(2, 2), [0], 5)
    fresh = plan.jobs[-1]
    command = reproduction(plan).command(fresh)
    assert command.text == f"tranquility train {fresh.id}.json"
    assert decode(saved(command, tmp_path).read_text()) == plan.job(fresh)


def test_after_an_update_the_numbers_are_those_of_the_new_file() -> None:
    wider = lunar_plan(2, 3)
    older = lunar_plan(2, 2)
    merged = wider.model_copy(update={"jobs": (*older.jobs, *(job for job in wider.jobs if job not in older.jobs))})
    again = reproduction(merged)
    assert [again.command(job).text for job in merged.jobs] != [
        f"tranquility train lunar.yaml --job {number}" for number in range(len(merged.jobs))
    ]
    for number, planned in enumerate(wider.jobs):
        assert again.command(planned).text.endswith(f"--job {number}")


def test_a_plan_without_its_file_or_with_one_that_no_longer_plans_has_commands_too() -> None:
    for source in ("", "name: lunar\nenv: Nowhere-v0\n"):
        plan = make_plan([{"tau": 0.01}], [0], source=source)
        assert reproduction(plan).command(plan.jobs[0]).text == f"tranquility train {plan.jobs[0].id}.json"
