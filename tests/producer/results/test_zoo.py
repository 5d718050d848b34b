"""Claims about the layout of rl-baselines3-zoo, and where the real zoo is installed, that it reads it."""

import csv
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml

from producer.results.progress import ProgressReader, SweepProgress
from producer.results.zoo import ZooExport, export_zoo
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import COMMON, Storage, episodes, make_plan
from worker.contract import names
from worker.contract.job import EnvironmentSpec, Job

WINDY = EnvironmentSpec(id="LunarLanderContinuous-v3", kwargs={"enable_wind": True})
PLAN = make_plan([{"tau": 0.01}, {"tau": 0.02}], [0, 4], common=COMMON.model_copy(update={"environment": WINDY}))
JOBS = jobs_of(PLAN)
ENV = "LunarLanderContinuous-v3"


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    for job, mean in zip(JOBS[:3], (100.0, 212.0, 180.0), strict=True):
        storage.finish(job, episodes(mean))
    return storage


def progress(storage: Storage) -> SweepProgress:
    return ProgressReader(storage.blobs, "lunar", 120.0).read()


def exported(storage: Storage, folder: Path) -> ZooExport:
    return export_zoo(storage.blobs, progress(storage), folder)


def test_every_finished_job_is_an_experiment_numbered_as_in_the_plan(storage: Storage, tmp_path: Path) -> None:
    found = exported(storage, tmp_path)
    assert (found.experiments, found.problems) == (3, ())
    assert sorted(path.name for path in (tmp_path / "sac").iterdir()) == [f"{ENV}_{n}" for n in (1, 2, 3)]
    assert found.command == f"python -m rl_zoo3.enjoy --algo sac --env {ENV} -f {tmp_path} --exp-id 2"
    rows = list(csv.DictReader((tmp_path / "experiments.csv").read_text().splitlines()))
    assert [(row["exp_id"], row["job"], row["seed"]) for row in rows] == [
        ("1", JOBS[0].id, "0"),
        ("2", JOBS[1].id, "4"),
        ("3", JOBS[2].id, "0"),
    ]


def test_an_experiment_has_the_zoos_files(storage: Storage, tmp_path: Path) -> None:
    exported(storage, tmp_path)
    place = tmp_path / "sac" / f"{ENV}_2"
    assert (place / f"{ENV}.zip").read_bytes() == (place / "best_model.zip").read_bytes()
    assert "best_model.zip is the final model" in (tmp_path / "README.txt").read_text()
    with np.load(place / "evaluations.npz") as saved:
        assert saved["timesteps"].tolist() == [100_000]
        assert saved["results"].tolist() == [[5.0, 15.0]]
        assert saved["ep_lengths"].tolist() == [[90, 110]]
    config = yaml.safe_load((place / ENV / "config.yml").read_text())
    assert config["tau"] == 0.01
    assert config["policy_kwargs"] == "dict(net_arch=dict(pi=[256, 256], qf=[256, 256]), activation_fn=nn.ReLU)"
    arguments = yaml.safe_load((place / ENV / "args.yml").read_text())
    assert (arguments["env_kwargs"], arguments["seed"]) == ({"enable_wind": True}, 4)


def test_the_monitor_file_is_what_stable_baselines_reads(storage: Storage, tmp_path: Path) -> None:
    exported(storage, tmp_path)
    first, *rest = (tmp_path / "sac" / f"{ENV}_1" / "0.monitor.csv").read_text().splitlines()
    assert json.loads(first.removeprefix("#")).keys() == {"t_start", "env_id"}
    rows = list(csv.DictReader(rest))
    assert [(row["r"], row["l"]) for row in rows] == [("-180.500000", "100"), ("20.000000", "200")]
    assert float(rows[0]["t"]) < float(rows[1]["t"])


def test_a_damaged_job_is_named_and_the_others_are_written(storage: Storage, tmp_path: Path) -> None:
    found = storage.blobs.list(names.SWEEPS, f"lunar/results/{JOBS[0].id}/")
    model = next(blob.name for blob in found if blob.name.endswith("model.zip"))
    storage.blobs.put(names.SWEEPS, model, b"rotten")
    done = exported(storage, tmp_path)
    assert done.experiments == 2
    assert JOBS[0].id in done.problems[0]


def test_a_sweep_without_results_has_nothing_to_play(tmp_path: Path) -> None:
    storage = Storage()
    storage.put_plan(PLAN)
    assert exported(storage, tmp_path) == ZooExport(0, (), "")


@pytest.mark.skipif(find_spec("rl_zoo3") is None, reason="rl_zoo3 is not installed: it is no part of any extra")
def test_the_zoos_own_script_plays_an_exported_model(tmp_path: Path) -> None:
    tiny = {"timesteps": 300, "hyperparameters": {"policy_kwargs": {"net_arch": [8]}}}
    job = Job.of("zoo", type(COMMON).model_validate({**COMMON.model_dump(), **tiny}), 0)
    (tmp_path / "job.json").write_text(job.encode())
    alone = ("-m", "worker", "train", str(tmp_path / "job.json"), "--out", str(tmp_path / "run"))
    subprocess.run([sys.executable, *alone], check=True)
    storage = Storage()
    storage.put_plan(make_plan([{}], [0], "zoo", job.configuration))
    whole = storage.finish(job, episodes(0.0))
    model = storage.put_part(whole, "model.zip", (tmp_path / "run" / "model.zip").read_bytes())
    storage.put_manifest(whole.model_copy(update={"outcome": whole.outcome.model_copy(update={"model": model})}))
    found = export_zoo(storage.blobs, ProgressReader(storage.blobs, "zoo", 120.0).read(), tmp_path / "logs")
    words = [*found.command.split()[1:], "--no-render", "-n", "200", "--load-best"]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Loading {tmp_path / 'logs'}/sac/{ENV}_1/best_model.zip" in done.stdout
