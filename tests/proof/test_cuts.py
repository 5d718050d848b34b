"""A job that is cut anywhere and resumed in new processes is the job that was never cut, bit for bit (row 7)."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.proof.ablation import INERT
from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"batch_size": 32, "buffer_size": 1000, "policy_kwargs": {"net_arch": (32, 32)}}
LANDER_PLACES = {
    "at the very start",
    "in the warm-up",
    "in mid-episode",
    "at an episode's edge",
    "before a periodic evaluation",
    "in a periodic evaluation",
    "after the ring wrapped",
    "before a final evaluation",
    "in a final evaluation",
}
PENDULUM_PLACES = LANDER_PLACES - {"before a periodic evaluation", "in a periodic evaluation", "after the ring wrapped"}


def lander(**hyperparameters: Any) -> Job:
    """Return a job whose buffer wraps and whose evaluations come in mid-episode."""
    configuration = Configuration(
        environment=EnvironmentSpec(id="LunarLanderContinuous-v3", kwargs={"enable_wind": True, "wind_power": 10.0}),
        timesteps=1120,
        trainer="fast",
        hyperparameters=Hyperparameters.model_validate(
            {**SMALL, "learning_rate": "lin_1e-3", "learning_starts": 100, "train_freq": 8, **hyperparameters}
        ),
        evaluation=Evaluation(every=550, episodes=2, final_episodes=3),
    )
    return Job.of("tests", configuration, 3)


def pendulum(trainer: Any) -> Job:
    """Return a job that cuts at the time limit: every episode has 200 steps."""
    hyperparameters = {
        **SMALL,
        "learning_starts": 180,
        "ent_coef": 0.05,
        "train_freq": 2,
        "target_update_interval": 2,
        "policy_kwargs": {"net_arch": {"pi": (16,), "qf": (32, 16)}, "activation_fn": "tanh"},
    }
    configuration = Configuration(
        environment=EnvironmentSpec(id="Pendulum-v1"),
        timesteps=440,
        trainer=trainer,
        hyperparameters=Hyperparameters.model_validate(hyperparameters),
        evaluation=Evaluation(every=50_000_000, episodes=1, final_episodes=2),
    )
    return Job.of("tests", configuration, 3)


def run(module: str, folder: Path, job: Job, **wanted: int) -> dict[str, Any]:
    """Run one of the proof's programs on a job; return its report."""
    (folder / "job.json").write_text(job.encode())
    (folder / "wanted.json").write_text(json.dumps(wanted))
    subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-m", module, str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
    )
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


@pytest.mark.parametrize(
    ("job", "cuts", "places"),
    [
        (lander(), 11, LANDER_PLACES),
        (pendulum("sb3"), 6, PENDULUM_PLACES),
        (pendulum("fast"), 6, PENDULUM_PLACES),
    ],
    ids=["LunarLander fast", "Pendulum sb3", "Pendulum fast"],
)
def test_a_run_that_is_cut_and_resumed_in_new_processes_is_the_run_that_was_not(
    job: Job, cuts: int, places: set[str], tmp_path: Path
) -> None:
    report = run("tests.proof.cutting", tmp_path, job, cuts=cuts, seed=1, lose_every=3)
    straight, pieces = report["straight"], report["pieces"]
    assert set(report["kinds"]) == places
    assert len(pieces) == cuts + 1
    assert [piece["saved"] for piece in pieces[:-1]] == straight["digests"]
    assert [piece["restored"] for piece in pieces[1:]] == straight["digests"]
    assert pieces[-1]["outcome"] == straight["outcome"]


def test_leaving_out_any_item_of_the_state_is_seen(tmp_path: Path) -> None:
    configuration = Configuration(
        environment=EnvironmentSpec(id="Pendulum-v1"),
        timesteps=1240,
        trainer="fast",
        hyperparameters=Hyperparameters.model_validate({**SMALL, "learning_starts": 100, "train_freq": 4}),
        evaluation=Evaluation(every=560, episodes=2, final_episodes=1),
    )
    report = run("tests.proof.ablation", tmp_path, Job.of("tests", configuration, 3))
    assert report["unchanged"] == ["the same outcome"] * 2
    assert {item for item, fate in report["fates"].items() if fate == "the same outcome"} == set(INERT)
    assert len(report["fates"]) >= 35
