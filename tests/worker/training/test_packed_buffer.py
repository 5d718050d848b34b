"""The packed replay buffer against SB3's."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from tests.worker.training.sb3_reference import SpacesOnly
from worker.training.packed_buffer import PackedReplayBuffer

ARRAYS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def both(n_envs: int = 1, **options: Any) -> tuple[PackedReplayBuffer, ReplayBuffer]:
    """Return ours and SB3's after the same 70 transitions into room for 50."""
    observations, actions = spaces.Box(-1, 1, (5,)), spaces.Box(-1, 1, (2,))
    made = tuple(
        kind(50 * n_envs, observations, actions, "cpu", n_envs=n_envs, **options)
        for kind in (PackedReplayBuffer, ReplayBuffer)
    )
    for buffer in made:
        rng = np.random.default_rng(0)
        for number in range(70):
            buffer.add(
                rng.normal(size=(n_envs, 5)),
                rng.normal(size=(n_envs, 5)),
                rng.normal(size=(n_envs, 2)),
                rng.normal(size=n_envs),
                np.full(n_envs, number % 3 == 0),
                [{"TimeLimit.truncated": number % 6 == 0}] * n_envs,
            )
    return made[0], made[1]


@pytest.mark.parametrize("n_envs", [1, 3])
def test_the_arrays_are_sb3s_and_views_of_the_rows(n_envs: int) -> None:
    ours, theirs = both(n_envs)
    for name in ARRAYS:
        assert np.array_equal(getattr(ours, name), getattr(theirs, name))
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
        assert np.shares_memory(getattr(ours, name), ours.rows)
    assert (ours.pos, ours.full, ours.size()) == (theirs.pos, theirs.full, theirs.size())


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("handle_timeout_termination", [True, False])
def test_a_sample_has_the_bits_of_sb3s_and_takes_the_same_from_numpys_stream(
    n_envs: int, handle_timeout_termination: bool
) -> None:
    samples, states = [], []
    for buffer in both(n_envs, handle_timeout_termination=handle_timeout_termination):
        np.random.seed(3)  # noqa: NPY002 - what samples are drawn from
        samples.append(buffer.sample(64))
        states.append(np.random.get_state())  # noqa: NPY002
    for ours, theirs in zip(samples[0][:5], samples[1][:5], strict=True):
        assert th.equal(ours, theirs)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    assert np.array_equal(states[0][1], states[1][1])
    assert states[0][2] == states[1][2]


def test_dones_of_a_sample_leave_out_those_by_time_limit() -> None:
    ours, _ = both()
    np.random.seed(0)  # noqa: NPY002
    rows = np.random.randint(0, 50, size=200)  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    dones = ours.sample(200).dones[:, 0].numpy()
    assert np.array_equal(dones, ours.dones[rows, 0] * (1 - ours.timeouts[rows, 0]))
    assert 0 < dones.sum() < ours.dones[rows].sum()


def test_a_sample_is_no_view_of_the_buffer() -> None:
    ours, _ = both()
    sample = ours.sample(8)
    before = sample.observations.clone()
    ours.rows.fill(9.0)
    assert th.equal(sample.observations, before)


def test_a_pickled_buffer_is_still_packed() -> None:
    ours, _ = both()
    again = pickle.loads(pickle.dumps(ours))
    assert all(np.shares_memory(getattr(again, name), again.rows) for name in ARRAYS)
    assert all(np.array_equal(getattr(again, name), getattr(ours, name)) for name in ARRAYS)


def test_observations_of_several_dimensions_keep_their_shape() -> None:
    buffer = PackedReplayBuffer(4, spaces.Box(-1, 1, (2, 3)), spaces.Box(-1, 1, (1,)), "cpu")
    observation = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    buffer.add(observation, observation + 1, np.zeros((1, 1)), np.zeros(1), np.zeros(1), [{}])
    assert np.array_equal(buffer.observations[0], observation)
    assert np.shares_memory(buffer.observations, buffer.rows)


def test_normalized_samples_are_sb3s() -> None:
    env = VecNormalize(DummyVecEnv([lambda: SpacesOnly(5, 2)]))
    env.obs_rms.mean += 0.5
    samples = []
    for buffer in both():
        np.random.seed(3)  # noqa: NPY002
        samples.append(buffer.sample(16, env=env))
    assert all(th.equal(ours, theirs) for ours, theirs in zip(samples[0][:5], samples[1][:5], strict=True))


def test_the_memory_saving_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="optimize_memory_usage"):
        PackedReplayBuffer(4, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,)), optimize_memory_usage=True)
