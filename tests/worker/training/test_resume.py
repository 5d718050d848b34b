"""A job that is cut at every kind of point and resumed in new processes is the job that was never cut, bit for bit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from worker.contract.job import Evaluation, Job

SCRIPT = Path(__file__).parent / "run_with_cuts.py"
ROOT = Path(__file__).parents[3]

LANDER: dict[str, Any] = {
    "environment": "LunarLanderContinuous-v3",
    "environment_keywords": {"enable_wind": True, "wind_power": 10.0},
    "timesteps": 1120,
    "evaluation": Evaluation(every=550, episodes=2, final_episodes=3),
    "learning_rate": "lin_1e-3",
    "learning_starts": 100,
    "train_freq": 8,
}
LANDER_CUTS = (
    "at the very start",
    "in the warm-up",
    "in mid-episode",
    "before a periodic evaluation",
    "in a periodic evaluation",
    "after the ring wrapped",
    "in the second periodic evaluation",
    "in the final evaluation",
)
PENDULUM: dict[str, Any] = {
    "timesteps": 440,
    "learning_starts": 180,
    "ent_coef": 0.05,
    "gradient_steps": 1,
    "train_freq": 2,
    "target_update_interval": 2,
    "policy_kwargs": {"net_arch": {"pi": (16,), "qf": (32, 16)}, "activation_fn": "tanh"},
}
PENDULUM_CUTS = ("in the warm-up", "at an episode's edge", "in mid-episode")


@pytest.mark.parametrize(
    ("arguments", "cuts"),
    [
        ({**LANDER, "trainer": "fast"}, LANDER_CUTS),
        ({**PENDULUM, "trainer": "sb3"}, PENDULUM_CUTS),
        ({**PENDULUM, "trainer": "fast"}, PENDULUM_CUTS),
    ],
    ids=["LunarLander fast", "Pendulum sb3", "Pendulum fast"],
)
def test_a_run_that_is_cut_and_resumed_in_new_processes_is_the_run_that_was_not(
    arguments: dict[str, Any], cuts: tuple[str, ...], make_job: Callable[..., Job], tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(make_job(**arguments).encode())
    (tmp_path / "names.json").write_text(json.dumps(cuts))
    subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", str(SCRIPT), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=True,
    )
    straight = json.loads((tmp_path / "straight.json").read_text())
    pieces = json.loads((tmp_path / "pieces.json").read_text())
    assert len({tuple(key) for key in straight["keys"]}) == len(cuts)
    assert [piece["captured"] for piece in pieces[:-1]] == straight["digests"]
    assert [piece["restored"] for piece in pieces[1:]] == straight["digests"]
    assert pieces[-1]["outcome"] == straight["outcome"]
