"""Claims about exports; event files are read back by TensorBoard's own reader."""

import csv
import io
import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from producer.results.export import CurveRow, TensorBoardExport, curves_csv, event_file, parse_curve
from producer.results.parts import ResultDamaged
from producer.results.progress import ProgressReader, SweepProgress
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import Storage, episodes, make_plan, running
from worker.contract import names
from worker.contract.log import MEASURED

PLAN = make_plan([{"tau": 0.01}, {"tau": 0.02}], seeds=[0])
JOBS = jobs_of(PLAN)
STARTED_S = 1795341660.0
"""2026-11-22T10:01:00Z, when the fake attempts begin."""


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    return storage


def progress(storage: Storage) -> SweepProgress:
    return ProgressReader(storage.blobs, "lunar", 120.0).read()


def read(folder: Path) -> dict[str, list[tuple[float, int, float]]]:
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    return {
        tag: [(event.wall_time, event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()["scalars"]
    }


def test_tensorboard_reads_a_finished_curve_with_sb3s_keys(storage: Storage, tmp_path: Path) -> None:
    storage.finish(JOBS[0], episodes(212.0))
    export = TensorBoardExport(storage.blobs, tmp_path, lambda: 0.0)
    assert export.update(progress(storage)) == 1
    found = read(tmp_path / "0000-tau=0.01" / "seed-0")
    assert found == {
        # 600 s for 200,000 steps: step 100,000 was made after half of them.
        "rollout/ep_rew_mean": [(STARTED_S + 3.0, 1_000, -180.5), (STARTED_S + 300.0, 100_000, -20.25)],
        "eval/mean_reward": [(STARTED_S + 300.0, 100_000, 10.0)],
    }


def test_a_curve_is_written_once(storage: Storage, tmp_path: Path) -> None:
    storage.finish(JOBS[0], episodes(212.0))
    TensorBoardExport(storage.blobs, tmp_path, lambda: 0.0).update(progress(storage))
    again = TensorBoardExport(storage.blobs, tmp_path, lambda: 0.0)
    assert again.update(progress(storage)) == 0
    assert len(list(tmp_path.rglob("events*"))) == 1


def test_the_curve_of_a_retried_job_replaces_the_one_before(storage: Storage, tmp_path: Path) -> None:
    done = storage.finish(JOBS[0], episodes(212.0))
    TensorBoardExport(storage.blobs, tmp_path, lambda: 0.0).update(progress(storage))
    curve = storage.put_part(done, "curve-2.csv", b"step,rollout/ep_rew_mean\n500,7.0\n")
    storage.put_manifest(done.model_copy(update={"outcome": done.outcome.model_copy(update={"curve": curve})}))
    assert TensorBoardExport(storage.blobs, tmp_path, lambda: 0.0).update(progress(storage)) == 1
    assert [step for _, step, _ in read(tmp_path / "0000-tau=0.01" / "seed-0")["rollout/ep_rew_mean"]] == [500]


def measured(storage: Storage, *lines: dict[str, object]) -> None:
    """Let the first claim of the first job have logged these."""
    body = "\n".join(json.dumps({"event": MEASURED, "level": "info", **line}) for line in lines)
    storage.blobs.put(names.SWEEPS, names.log("lunar", JOBS[0].id, 1, "ab" * 8), body.encode())


def test_following_adds_what_a_running_job_measures_and_its_curve_when_it_is_done(
    storage: Storage, tmp_path: Path
) -> None:
    now_s = [100.0]
    folder = tmp_path / "0000-tau=0.01" / "seed-0"
    export = TensorBoardExport(storage.blobs, tmp_path, lambda: now_s[0])
    first, second = ({"step": step, "rollout/ep_rew_mean": -step / 10, "train/ent_coef": 0.5} for step in (900, 1_900))
    for step, lines in ((1_000, (first,)), (1_000, (first,)), (2_000, (first, {"event": "other"}, second))):
        measured(storage, *lines)
        storage.put_manifest(running(JOBS[0], step, latest_return=float(step)))
        export.update(progress(storage), live=True)
        now_s[0] += 1.0
    found = read(folder)
    assert [(step, value) for _, step, value in found["live/latest_return"]] == [(1_000, 1_000.0), (2_000, 2_000.0)]
    assert [(step, value) for _, step, value in found["rollout/ep_rew_mean"]] == [(900, -90.0), (1_900, -190.0)]
    assert found["train/ent_coef"][0][2] == 0.5
    storage.finish(JOBS[0], episodes(212.0))
    assert export.update(progress(storage), live=True) == 1
    export.close()
    assert [step for _, step, _ in read(folder)["rollout/ep_rew_mean"]] == [1_000, 100_000]
    assert len(list(folder.iterdir())) == 1


def test_a_damaged_curve_is_reported_once_and_the_others_are_written(storage: Storage, tmp_path: Path) -> None:
    done = storage.finish(JOBS[0], episodes(212.0))
    storage.finish(JOBS[1], episodes(100.0))
    assert done.outcome.curve is not None
    storage.blobs.put(names.SWEEPS, done.outcome.curve.name, b"other")
    export = TensorBoardExport(storage.blobs, tmp_path, lambda: 0.0)
    assert export.update(progress(storage)) == 1
    assert export.update(progress(storage)) == 0
    assert len(export.problems) == 1


def test_an_event_file_begins_with_its_version() -> None:
    body = event_file([CurveRow(5, {"a": 1.0})], float)
    assert b"brain.Event:2" in body[:60]


def test_empty_cells_of_a_curve_are_no_values() -> None:
    assert parse_curve(b"step,a,b\n5,1.5,\n6,,\n") == (CurveRow(5, {"a": 1.5}), CurveRow(6, {}))


@pytest.mark.parametrize(
    "body", [b"step,a\nfive,1\n", b"a,b\n1,2\n", b"\xff\xfe", b"step,a\n5,x\n", b"step,a\n5,1,9\n"]
)
def test_a_curve_that_is_none_is_damaged(body: bytes) -> None:
    with pytest.raises(ResultDamaged, match="cannot be read"):
        parse_curve(body)


def test_all_curves_go_into_one_csv_with_the_hyperparameters(storage: Storage) -> None:
    storage.finish(JOBS[0], episodes(212.0))
    storage.finish(JOBS[1], episodes(100.0))
    text, problems = curves_csv(storage.blobs, progress(storage))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert problems == ()
    assert [(row["label"], row["seed"], row["step"], row["rollout/ep_rew_mean"]) for row in rows] == [
        ("tau=0.01", "0", "1000", "-180.5"),
        ("tau=0.01", "0", "100000", "-20.25"),
        ("tau=0.02", "0", "1000", "-180.5"),
        ("tau=0.02", "0", "100000", "-20.25"),
    ]
