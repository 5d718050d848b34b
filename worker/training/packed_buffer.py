"""A replay buffer whose transitions are rows of one array, so that a batch is gathered at once."""

from itertools import pairwise
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.common.vec_env import VecNormalize

_VIEWS = frozenset({"observations", "next_observations", "actions", "rewards", "dones", "timeouts"})


class PackedReplayBuffer(ReplayBuffer):
    """SB3's replay buffer, with the same arrays, each a view of `rows`, and the same draws from NumPy's stream.

    Everything is kept as float32, which is what the networks are fed with.

    Attributes:
        rows: shape (buffer_size, n_envs, columns).
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: th.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
        handle_timeout_termination: bool = True,
    ) -> None:
        if optimize_memory_usage:
            raise ValueError("PackedReplayBuffer keeps both observations of a transition: no optimize_memory_usage")
        super().__init__(
            buffer_size,
            observation_space,
            action_space,
            device,
            n_envs=n_envs,
            handle_timeout_termination=handle_timeout_termination,
        )
        observation = int(np.prod(self.obs_shape))
        ends = np.cumsum((observation, observation, self.action_dim, 1, 1, 1)).tolist()
        self._columns = [slice(start, end) for start, end in pairwise((0, *ends))]
        self.rows = np.zeros((self.buffer_size, self.n_envs, ends[-1]), dtype=np.float32)
        self._view_columns()

    def _view_columns(self) -> None:
        states, next_states, actions, rewards, dones, timeouts = (self.rows[..., part] for part in self._columns)
        self.observations = states.reshape(*states.shape[:2], *self.obs_shape)
        self.next_observations = next_states.reshape(*states.shape[:2], *self.obs_shape)
        self.actions = actions
        self.rewards, self.dones, self.timeouts = rewards[..., 0], dones[..., 0], timeouts[..., 0]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the views, which a pickle would turn into copies."""
        return {name: value for name, value in vars(self).items() if name not in _VIEWS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._view_columns()

    def _get_samples(self, batch_inds: np.ndarray, env: VecNormalize | None = None) -> ReplayBufferSamples:
        if env is not None:
            return super()._get_samples(batch_inds, env)
        # SB3 draws the index of the environment too, which with one environment takes nothing from the stream.
        env_inds = np.random.randint(0, self.n_envs, size=len(batch_inds)) if self.n_envs > 1 else 0  # noqa: NPY002
        rows = self.rows.reshape(-1, self.rows.shape[2]).take(
            (batch_inds * self.n_envs + env_inds).astype(np.intp), axis=0
        )
        states, next_states, actions, rewards, dones, timeouts = (rows[:, part] for part in self._columns)
        return ReplayBufferSamples(*map(th.from_numpy, (states, actions, next_states, dones * (1 - timeouts), rewards)))
