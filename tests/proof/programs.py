"""Runs the programs of row 7 in processes of their own, and the jobs that they cut."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.proof.records import ROOT
from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job

SMALL: dict[str, Any] = {"batch_size": 32, "buffer_size": 1000, "policy_kwargs": {"net_arch": (32, 32)}}
LANDER_PLACES = frozenset(
    {
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
)
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


def ablated() -> Job:
    """Return a job that has a value for every item of its state."""
    configuration = Configuration(
        environment=EnvironmentSpec(id="Pendulum-v1"),
        timesteps=1240,
        trainer="fast",
        hyperparameters=Hyperparameters.model_validate({**SMALL, "learning_starts": 100, "train_freq": 4}),
        evaluation=Evaluation(every=560, episodes=2, final_episodes=1),
    )
    return Job.of("tests", configuration, 3)


def run_program(module: str, folder: Path, job: Job, **wanted: int) -> dict[str, Any]:
    """Run one of the proof's programs on a job; return its report."""
    folder.mkdir(parents=True, exist_ok=True)
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
