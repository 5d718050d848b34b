"""Soft Actor-Critic (Haarnoja et al. 2018, arXiv:1812.05905), the algorithm of Stable-Baselines3, update by hand.

To everyone who uses it, `FastSAC` is SB3's `SAC`: the same constructor, policies, logger, callbacks, `save`, `load`.
Only how a gradient step is computed differs: all parameters of a network lie in one tensor, and the gradients are
written out (`backward.py`, `squashed_gaussian.py`) instead of being derived from a recorded graph. Between two calls
of `train` it keeps nothing but SB3's own state: what else it holds is memory that every gradient step overwrites.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple, cast

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.torch_layers import FlattenExtractor
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from worker.contract.trainers import uncovered_by_fast
from worker.training.backward import ACTIVATIONS, Pass
from worker.training.flat import FlatAdam, FlatParameters
from worker.training.networks import Memory, Networks
from worker.training.packed_buffer import PackedReplayBuffer
from worker.training.squashed_gaussian import SquashedGaussian


class Losses(NamedTuple):
    """What one gradient step logs. `ent_coef` is α as the step used it."""

    ent_coef: float
    ent_coef_loss: float
    critic: float
    actor: float


class FastSAC(SAC):
    """SB3's SAC with a gradient step of its own.

    Raises:
        ValueError: at construction, naming each option that this gradient step does not cover.
    """

    def _setup_model(self) -> None:
        uncovered = uncovered_by_fast(_options(self))
        if uncovered:
            raise ValueError(f"{'; '.join(uncovered)}. SB3's SAC (trainer: sb3) covers it.")
        if self.replay_buffer_class is None:
            self.replay_buffer_class = PackedReplayBuffer
        super()._setup_model()
        self.policy.set_training_mode = _mind_no_mode  # type: ignore[method-assign]
        self._networks = Networks(self.policy)
        self._memory = Memory(self._networks, self.batch_size)
        self._rollout = Pass(self._networks.actor, self.n_envs)
        self._actor_adam = FlatAdam(self._networks.actor_parameters, cast("th.optim.Adam", self.actor.optimizer))
        self._critic_adam = FlatAdam(self._networks.critic_parameters, cast("th.optim.Adam", self.critic.optimizer))
        self.actor.optimizer, self.critic.optimizer = self._actor_adam, self._critic_adam
        if self.ent_coef_optimizer is not None and self.log_ent_coef is not None:
            self._log_alpha = FlatParameters([[self.log_ent_coef]])
            self._alpha_adam = self.ent_coef_optimizer = FlatAdam(self._log_alpha, self.ent_coef_optimizer)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Make `gradient_steps` gradient steps, each on a batch of its own."""
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        self._prepare(batch_size)
        buffer = cast("PackedReplayBuffer", self.replay_buffer)

        losses = []
        with _subnormals_as_zero():
            for step in range(gradient_steps):
                batch = buffer.sample(batch_size, env=self._vec_normalize_env)
                losses.append(self._gradient_step(batch))
                if step % self.target_update_interval == 0:
                    self._networks.follow_critics(self.tau)

        self._n_updates += gradient_steps
        mean = Losses(*np.mean(losses, axis=0))
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/ent_coef", mean.ent_coef)
        self.logger.record("train/actor_loss", mean.actor)
        self.logger.record("train/critic_loss", mean.critic)
        if self.ent_coef_optimizer is not None:
            self.logger.record("train/ent_coef_loss", mean.ent_coef_loss)

    def _prepare(self, batch_size: int) -> None:
        """See that parameters are where the networks look for them, and that there is room for a batch."""
        if self.ent_coef_optimizer is not None:
            self._log_alpha.attach()
        if self._memory.rows != batch_size:
            self._memory = Memory(self._networks, batch_size)

    def _gradient_step(self, batch: ReplayBufferSamples) -> Losses:
        states, actions, next_states, dones, rewards = (part.numpy() for part in batch[:5])
        memory, rows, size = self._memory, len(states), states.shape[1]

        # a ~ π(s) and a' ~ π(s'), by one forward pass
        memory.policy.x[:rows], memory.policy.x[rows:] = states, next_states
        policy = SquashedGaussian(memory.policy.forward()[0], memory.draw_noise())
        policy_actions, policy_next_actions = policy.action[:rows], policy.action[rows:]
        log_prob = policy.log_prob()

        # All that follows uses α as it was before its own step.
        alpha, alpha_loss = self._update_entropy_coefficient(log_prob[:rows])

        # y = r + γ (1 − d) (min_i Q̄_i(s', a') − α log π(a'|s'))
        memory.targets.x[:, :size], memory.targets.x[:, size:] = next_states, policy_next_actions
        next_q = np.minimum(*memory.targets.forward())
        y = rewards + self.gamma * (1 - dones) * (next_q - alpha * log_prob[rows:])

        # J(Q) = Σ_i ½ mean (Q_i(s, a) − y)²
        memory.critics.x[:, :size], memory.critics.x[:, size:] = states, actions
        error = memory.critics.forward() - y
        np.divide(error, rows, out=memory.critics.y_gradient)
        memory.critics.backward()
        self._critic_adam.descend()
        # By no dot product: OpenBLAS, unlike all that makes the weights, adds in an order of its kernel's own.
        critic_loss = 0.5 * float(np.square(error).sum()) / rows

        # J(π) = mean (α log π(a|s) − min_i Q_i(s, a)); each row's gradient runs through the critic of its minimum only
        memory.critics.x[:, size:] = policy_actions
        q1, q2 = memory.critics.forward()
        q_gradient = memory.q_gradient((q2 < q1)[:, 0])
        memory.policy.y_gradient[0] = policy.backward(q_gradient / -rows, alpha / rows)
        memory.policy.backward()
        self._actor_adam.descend()
        actor_loss = float((alpha * log_prob[:rows] - np.minimum(q1, q2)).sum()) / rows
        return Losses(alpha, alpha_loss, critic_loss, actor_loss)

    def _update_entropy_coefficient(self, log_prob: np.ndarray) -> tuple[float, float]:
        """Descend J(log α) = −log α · mean (log π(a|s) + H̄). Returns α as it was before, and J."""
        if self.ent_coef_optimizer is None or self.log_ent_coef is None:
            return self.ent_coef_tensor.item(), 0.0
        log_alpha = self.log_ent_coef.item()
        gradient = -float(log_prob.sum()) / len(log_prob) - float(self.target_entropy)
        self._log_alpha.gradients.fill_(gradient)
        self._alpha_adam.descend()
        return math.exp(log_alpha), log_alpha * gradient

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the action and its scaled form for the replay buffer: SB3's, spared the detour through `predict`."""
        if self.num_timesteps < learning_starts or action_noise is not None:
            return super()._sample_action(learning_starts, action_noise, n_envs)
        self._rollout.x[:] = self._last_obs
        noise = th.randn(n_envs, self._networks.action_size, dtype=self._networks.dtype).numpy()
        sampled = SquashedGaussian(self._rollout.forward()[0], noise).action
        # In float32 scaling back and forth is not the identity: SB3's `predict` unscales, its rollout does the rest.
        scaled = self.policy.scale_action(self.policy.unscale_action(sampled))
        return self.policy.unscale_action(scaled), scaled

    def _excluded_save_params(self) -> list[str]:
        """Leave out what `_setup_model` makes anew, so that a saved model is SB3's own and loads without this class."""
        return [*super()._excluded_save_params(), "replay_buffer_class", "replay_buffer_kwargs", *_WORKING_MEMORY]


_WORKING_MEMORY = ("_networks", "_memory", "_rollout", "_actor_adam", "_critic_adam", "_alpha_adam", "_log_alpha")


def _mind_no_mode(mode: bool) -> None:
    """Take no notice: SB3 tells every module before every rollout, 80 µs, and no layer of this policy has a mode."""


@contextmanager
def _subnormals_as_zero() -> Iterator[None]:
    """Spare the arithmetic on numbers below 1e-38, which is slow: moments of dead units decay to such numbers."""
    th.set_flush_denormal(True)
    try:
        yield
    finally:
        th.set_flush_denormal(False)


def _options(model: SAC) -> dict[str, object]:
    """Return what `uncovered_by_fast` judges, by name."""
    kwargs = model.policy_kwargs
    space = model.observation_space
    flat = isinstance(space, spaces.Box) and len(space.shape) == 1 and np.issubdtype(space.dtype, np.floating)
    activation = kwargs.get("activation_fn", nn.ReLU)
    return {
        "policy": "MlpPolicy" if model.policy_class is SACPolicy else model.policy_class.__name__,
        "activation_fn": ACTIVATIONS[activation].name if activation in ACTIVATIONS else activation.__name__,
        "features_extractor_class": kwargs.get("features_extractor_class", FlattenExtractor).__name__,
        "share_features_extractor": kwargs.get("share_features_extractor", False),
        "n_critics": kwargs.get("n_critics", 2),
        "optimizer_class": kwargs.get("optimizer_class", th.optim.Adam).__name__,
        **{f"optimizer_kwargs.{name}": value for name, value in (kwargs.get("optimizer_kwargs") or {}).items()},
        "use_sde": model.use_sde,
        "n_steps": model.n_steps,
        "optimize_memory_usage": model.optimize_memory_usage,
        "observation_space": "flat Box of floats" if flat else str(space),
        "device": model.device.type,
    }
