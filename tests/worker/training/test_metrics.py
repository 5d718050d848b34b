"""The curve has a row at the first episode end after each multiple of its interval, and never more than about 1,000."""

import math
from collections.abc import Callable

import pytest

from worker.contract.job import Job
from worker.snapshot.curve import KEYS, MAX_ROWS
from worker.training.metrics import passed, steps_between_rows
from worker.training.trainer import SacRun


@pytest.mark.parametrize("timesteps", [1, 1_000, 200_000, 999_999, 1_000_001, 50_000_000])
def test_no_run_has_more_rows_than_fit_into_a_state(timesteps: int) -> None:
    every = steps_between_rows(timesteps)
    assert every >= 1_000
    assert math.ceil(timesteps / every) <= MAX_ROWS


@pytest.mark.parametrize(
    ("last", "step", "expected"),
    [(0, 0, False), (0, 999, False), (0, 1000, True), (0, 2500, True), (1000, 1999, False), (1999, 2000, True)],
)
def test_what_comes_every_thousand_steps_comes_once_for_each_thousand_passed(
    last: int, step: int, expected: bool
) -> None:
    assert passed(1000, last, step) is expected


def test_rows_come_at_episode_ends_with_stable_baselines3s_keys(make_job: Callable[..., Job]) -> None:
    def ignore(*_: object) -> None:
        return

    job = make_job("tests/Drifting-v0", 2300, learning_starts=2000, buffer_size=3000, train_freq=64)
    warm_up, trained = SacRun(job).train(ignore, ignore).curve.rows
    assert (warm_up.step, trained.step) == (1024, 2048)
    assert warm_up.values == {"rollout/ep_rew_mean": 5.0, "rollout/ep_len_mean": 5.0}
    assert tuple(trained.values) == KEYS
    assert trained.values["train/learning_rate"] == 3e-4
