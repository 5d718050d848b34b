"""Claims about the commands that look at sweeps: what they print, and how they end."""

import json
from collections.abc import Callable, Iterator
from math import ceil
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from producer.commands import results, sweep
from tests.fakes.plans import jobs_of
from tests.fakes.storage import MemoryBlobs
from tests.fakes.sweeps import Storage, episodes, make_plan, running
from worker.contract import names
from worker.contract.control import Hold, write_hold
from worker.contract.endings import ended_unclaimed
from worker.contract.errors import InputError
from worker.contract.manifest import Outcome
from worker.contract.records import Listed, Stored

PLAN = make_plan([{"tau": 0.01}, {"tau": 0.02}], seeds=[0, 1, 2], budget_usd=5.0)
JOBS = jobs_of(PLAN)


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    for job, mean in zip(JOBS, (180, 221, 235, 100, 110), strict=False):
        storage.finish(job, episodes(mean))
    storage.put_manifest(running(JOBS[5], 1_000, status="failed", outcome=Outcome(reason="diverged: loss is NaN")))
    return storage


def call(storage: Storage, *arguments: str, **target: Any) -> Result:
    app = typer.Typer()
    results.register(app, lambda _: storage.session(**target))
    return CliRunner(env={"COLUMNS": "100", "TERM": "dumb"}).invoke(app, arguments)


def ok(storage: Storage, *arguments: str, **target: Any) -> str:
    result = call(storage, *arguments, **target)
    assert result.exit_code == 0, result.output
    return result.output


# ---- status and watch -----------------------------------------------------------------------------------------------


def test_status_calls_a_sweep_cancelled_that_ended_by_a_cancel(storage: Storage) -> None:
    stopped = running(JOBS[5], 1_000, status="cancelled", outcome=Outcome(reason="cancelled by ann"))
    storage.put_manifest(stopped)
    _, line = ok(storage, "status").splitlines()
    assert line.split()[:5] == ["lunar", "cancelled", "5", "6", "1"]


def test_status_without_a_sweep_lists_all_of_them_the_newest_first(storage: Storage) -> None:
    storage.now_s = 3_600.0
    second = make_plan([{"tau": 0.03}], [0], name="second")
    storage.put_plan(second)
    write_hold(storage.blobs, "second", Hold(kind="paused"))
    lines = [line.split() for line in ok(storage, "status", vm_size="Standard_F8als_v6").splitlines()]
    assert lines[0][:2] == ["SWEEP", "STATE"]
    assert lines[1][:4] == ["second", "paused", "0", "1"]
    assert lines[2][:5] == ["lunar", "finished", "5", "6", "1"]


def test_status_of_a_sweep_shows_its_jobs(storage: Storage) -> None:
    text = ok(storage, "status", "lunar")
    assert "1 failed, 5 done" in text
    assert [text.count(f" {tau} ") for tau in ("0.01", "0.02")] == [3, 3]


def test_status_as_json_has_all_that_programs_need(storage: Storage) -> None:
    document = json.loads(ok(storage, "status", "lunar", "--json", vm_size="Standard_F8als_v6"))
    assert document["states"] == {"done": 5, "failed": 1}
    assert document["finished"] is True
    assert document["fleet"]["queue"] == 0
    assert document["cost"]["upper_bound"] is True
    assert document["jobs"][0]["score"]["mean"] == pytest.approx(180)
    assert document["jobs"][5]["reason"] == "diverged: loss is NaN"
    (overall,) = json.loads(ok(storage, "status", "--json"))
    assert overall["sweep"] == "lunar"


def test_status_of_an_empty_target_says_how_to_begin() -> None:
    assert "tranquility enqueue SWEEP.yaml" in ok(Storage(), "status")


def test_an_unknown_sweep_is_wrong_input(storage: Storage) -> None:
    result = call(storage, "status", "moon")
    assert isinstance(result.exception, InputError)
    assert "lunar" in str(result.exception)


def test_watch_without_a_name_takes_the_newest_sweep_that_is_not_complete(storage: Storage) -> None:
    storage.now_s = 10.0
    storage.put_plan(make_plan([{"tau": 0.03}], [0], name="newest"))
    storage.blobs.put(names.SWEEPS, names.complete("newest"), b"")
    assert " lunar: 6 of 6 jobs ended" in ok(storage, "watch")


def test_watch_of_an_empty_target_is_wrong_input() -> None:
    assert isinstance(call(Storage(), "watch").exception, InputError)


class PagedBlobs(MemoryBlobs):
    """Counts requests; a listing is one for every four blobs, for Azure's 5,000."""

    requests = 0

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        self.requests += 1
        return super().get(container, name, beat)

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        found = list(super().list(container, prefix))
        self.requests += max(1, ceil(len(found) / 4))
        return iter(found)


def requests_for(jobs: int, *arguments: str) -> int:
    """Return how many requests a command takes about a finished sweep of so many jobs."""
    storage = Storage()
    blobs = storage.blobs = PagedBlobs(lambda: storage.now_s)
    plan = make_plan([{"tau": 0.01}, {"tau": 0.02}], seeds=range(jobs // 2))
    storage.put_plan(plan)
    for job in jobs_of(plan):
        storage.finish(job, episodes(100))
    blobs.requests = 0
    ok(storage, *arguments)
    return blobs.requests


@pytest.mark.parametrize(
    ("arguments", "around"),
    [
        (("status", "lunar"), 4),
        (("status", "lunar", "--json"), 4),
        (("watch", "lunar"), 4),
        (("results", "lunar"), 3),
        (("results", "lunar", "--csv"), 3),
        (("results", "lunar", "--best-config"), 3),
        (("status",), 5),
    ],
)
def test_requests_grow_with_pages_and_not_with_jobs(arguments: tuple[str, ...], around: int) -> None:
    assert requests_for(8, *arguments) == around + 2
    assert requests_for(40, *arguments) == around + 10


# ---- results ---------------------------------------------------------------------------------------------------------


def test_results_ranks_and_names_what_went_wrong(storage: Storage) -> None:
    text = ok(storage, "results", "lunar")
    assert "tau=0.01 leads with 212 (180, 221, 235; 3 seeds)" in text
    assert "lunar: 1 job failed (diverged: loss is NaN). tranquility logs lunar/" in text


def test_results_without_a_finished_run_say_so() -> None:
    storage = Storage()
    storage.put_plan(PLAN)
    text = ok(storage, "results", "lunar")
    assert text.startswith("No run has finished yet.")
    assert "lunar: 6 of 6 jobs have not ended yet." in text


def test_results_as_json_and_as_csv_hold_every_run(storage: Storage) -> None:
    document = json.loads(ok(storage, "results", "lunar", "--json"))
    (ranking,) = document["rankings"]
    assert [standing["label"] for standing in ranking["standings"]] == ["tau=0.01", "tau=0.02"]
    assert sum(len(standing["runs"]) for standing in ranking["standings"]) == 5
    assert ranking["standings"][0]["interval"] is None
    assert len(ok(storage, "results", "lunar", "--csv").splitlines()) == 6


def test_two_sweeps_are_compared_and_their_common_runs_counted(storage: Storage) -> None:
    again = make_plan([{"tau": 0.01}], seeds=[0, 1], name="again")
    storage.put_plan(again)
    first, second = jobs_of(again)
    storage.finish(first, episodes(180))
    storage.finish(second, episodes(222))
    text = ok(storage, "results", "lunar", "again")
    assert "2 runs are in both sweeps; 1 of them came out exactly the same." in text
    assert "lunar: tau=0.01" in text
    assert "again: tau=0.01" in text


def test_the_best_configuration_is_a_sweep_file(storage: Storage) -> None:
    text = ok(storage, "results", "lunar", "--best-config")
    assert text.startswith("# The leader of sweep lunar.\n# tau=0.01 leads with 212")
    assert yaml.safe_load(text) == {
        "name": "lunar-best",
        "env": {"id": "LunarLanderContinuous-v3"},
        "timesteps": 200_000,
        "trainer": "fast",
        "seeds": [0, 1, 2],
        "fixed": {"tau": 0.01},
        "evaluation": {"every": 10_000, "episodes": 10, "final_episodes": 100},
    }


def test_the_best_configuration_can_be_enqueued_and_is_the_leaders_own_runs(storage: Storage, tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(ok(storage, "results", "lunar", "--best-config"))
    app = typer.Typer()
    sweep.register(app, after=lambda *_: None, open_session=lambda _: pytest.fail("a dry run asks for no target"))
    shown = CliRunner(env={"COLUMNS": "100"}).invoke(app, ["enqueue", str(file), "--dry-run", "--json"])
    assert shown.exit_code == 0, shown.output
    plan = json.loads(shown.stdout)
    assert plan["sweep"] == "lunar-best"
    assert [job["id"] for job in plan["sets"][0]["jobs"]] == [job.id for job in JOBS[:3]]


def test_two_forms_of_an_answer_at_once_and_a_sweep_beside_itself_are_refused(storage: Storage) -> None:
    for arguments in (("--json", "--csv"), ("--csv", "--best-config"), ("--json", "--best-config")):
        assert "at most one of" in str(call(storage, "results", "lunar", *arguments).exception)
    assert "lunar is named twice" in str(call(storage, "results", "lunar", "lunar").exception)


def test_there_is_no_best_configuration_without_a_result() -> None:
    storage = Storage()
    storage.put_plan(PLAN)
    assert isinstance(call(storage, "results", "lunar", "--best-config").exception, InputError)


def test_a_download_says_what_came_and_fails_where_a_part_is_damaged(storage: Storage, tmp_path: Path) -> None:
    assert "25 files fetched." in ok(storage, "results", "lunar", "--download", str(tmp_path))
    assert "0 files fetched; 25 files were there" in ok(storage, "results", "lunar", "--download", str(tmp_path))
    blob = next(storage.blobs.list(names.SWEEPS, f"lunar/results/{JOBS[0].id}/"))
    storage.blobs.put(names.SWEEPS, blob.name, b"rotten")
    fresh = call(storage, "results", "lunar", "--download", str(tmp_path / "fresh"))
    assert fresh.exit_code == 1
    assert "is not what the manifest names" in str(fresh.exception)


def test_json_on_stdout_stays_json_while_downloading(storage: Storage, tmp_path: Path) -> None:
    result = call(storage, "results", "lunar", "--json", "--download", str(tmp_path))
    assert json.loads(result.stdout)["sweeps"] == ["lunar"]
    assert "25 files fetched." in result.stderr


# ---- logs, export, cost ----------------------------------------------------------------------------------------------


def test_logs_prints_lines_for_people_and_for_programs(storage: Storage) -> None:
    line = {"event": "job.claimed", "level": "info", "timestamp": "2026-11-22T10:00:01Z", "step": 0}
    body = (json.dumps(line) + "\n" + json.dumps(line | {"level": "debug"}) + "\n").encode()
    storage.blobs.put(names.SWEEPS, names.log("lunar", JOBS[0].id, 1, "ab" * 8), body)
    assert "2026-11-22 10:00:01 info    job.claimed step=0" in ok(storage, "logs", JOBS[0].id)
    assert json.loads(ok(storage, "logs", JOBS[0].id, "--json")) == line


def test_logs_of_a_job_that_no_worker_has_had_says_so(storage: Storage) -> None:
    storage.put_manifest(ended_unclaimed(JOBS[5], None, "released", "the sweep is paused", nonce="a" * 16))
    assert call(storage, "logs", JOBS[5].id).stderr == "No worker has had this job yet.\n"


def test_cost_shows_spend_budget_and_what_it_rests_on(storage: Storage) -> None:
    text = ok(storage, "cost", "lunar", vm_size="Standard_F8als_v6", price_usd=0.16)
    # Six jobs of 600 s on an eighth of a VM of 0.16 $ an hour; the regular price is 0.585 $.
    assert "0.02 $" in text
    assert "5.00 $" in text
    assert "(the target's settings)" in text
    assert JOBS[0].id[:12] in text
    document = json.loads(ok(storage, "cost", "--json", vm_size="Standard_F8als_v6", price_usd=0.16))
    assert document["sweeps"][0]["usd"] == pytest.approx(0.02)
    assert sum(document["sweeps"][0]["by_job"].values()) == pytest.approx(0.02)
    assert document["sweeps"][0]["saved_usd"] == pytest.approx((0.585 - 0.16) / 8)


@pytest.mark.parametrize(
    ("target", "words"),
    [({"kind": "local"}, "costs nothing"), ({"vm_size": "Standard_Odd"}, "does not know Standard_Odd in westeurope")],
)
def test_cost_without_a_price_says_what_to_do(storage: Storage, target: dict[str, Any], words: str) -> None:
    error = call(storage, "cost", **target).exception
    assert isinstance(error, InputError)
    assert words in str(error)
    assert "price_usd" in str(error)
