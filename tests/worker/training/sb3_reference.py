"""SB3's own gradient step as the reference: the same batch, noise and parameters, and the gradients before Adam.

Comparing parameters after an update proves little, for Adam's first step is about lr · sign(g). So the optimizers'
steps are replaced: each leaves its gradients in a list and then moves its parameters by a given step, the same for all
trainers. Each gradient is thereby taken at equal parameters, also those that come after another optimizer's step.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from worker.training.networks import Memory
from worker.training.sac import FastSAC
from worker.training.squashed_gaussian import LOG_STD_MAX, LOG_STD_MIN

Gradients = dict[str, th.Tensor]


class SpacesOnly(gym.Env[np.ndarray, np.ndarray]):
    """An environment that is never stepped."""

    def __init__(self, observations: int, actions: int, low: float = -1.0, high: float = 1.0) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (observations,))
        self.action_space = spaces.Box(low, high, (actions,))

    def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
        return np.zeros(self.observation_space.shape, np.float32), {}


@dataclass(frozen=True)
class Step:
    """What a gradient step is given from outside: transitions, noise, and how far each optimizer then moves."""

    batch: ReplayBufferSamples
    noise: th.Tensor
    """For s and for s', shape (2, rows, actions)."""
    moves: dict[str, list[th.Tensor]]

    def jittered(self, rng: np.random.Generator) -> "Step":
        """Return the same step with each number of the batch and of the noise moved by up to an ulp."""
        batch = ReplayBufferSamples(*(jittered(part, rng) for part in self.batch[:5]))
        return Step(batch, jittered(self.noise, rng), self.moves)


def jittered(values: th.Tensor, rng: np.random.Generator) -> th.Tensor:
    """Return the values, each moved by up to an ulp."""
    return values * (1 + th.from_numpy(rng.integers(-1, 2, size=values.shape)).float() * th.finfo(th.float32).eps)


@contextmanager
def other_roundings_of_tanh(rng: np.random.Generator) -> Iterator[None]:
    """Let torch's tanh round otherwise: on that alone hang all digits of 1 − a² where an action has saturated."""
    tanh = th.tanh
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(th, "tanh", lambda x: jittered(tanh(x), rng).clamp(-1, 1))
        yield


@contextmanager
def in_double() -> Iterator[None]:
    """Build and run SB3 in float64: its networks' parameters, and its observations, which it casts to float32."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stable_baselines3.common.policies.preprocess_obs", lambda obs, *_, **__: obs)
        th.set_default_dtype(th.float64)
        try:
            yield
        finally:
            th.set_default_dtype(th.float32)


def optimizers(model: SAC) -> dict[str, th.optim.Optimizer]:
    """Return the optimizers by name, in the order of their steps."""
    found: dict[str, th.optim.Optimizer] = {}
    if model.ent_coef_optimizer is not None:
        found["alpha"] = model.ent_coef_optimizer
    found["critic"], found["actor"] = model.critic.optimizer, model.actor.optimizer
    return found


def parameters(optimizer: th.optim.Optimizer) -> list[th.Tensor]:
    """Return the parameters of an optimizer."""
    return list(optimizer.param_groups[0]["params"])


def gradients_of_train(model: SAC, steps: Sequence[Step]) -> tuple[list[Gradients], dict[str, float]]:
    """Run `model.train` over the given steps. Returns each step's gradients, by tensor, and what was logged."""
    dtype = model.actor.mu.weight.dtype
    seen: list[Gradients] = [{} for _ in steps]
    batches = iter(steps)
    noises = iter([noise for step in steps for noise in step.noise])
    count = {name: iter(range(len(steps))) for name in optimizers(model)}

    def sample(*_: Any, **__: Any) -> ReplayBufferSamples:
        return ReplayBufferSamples(*(part.to(dtype) for part in next(batches).batch[:5]))

    def recorder(name: str, optimizer: th.optim.Optimizer) -> Callable[[], None]:
        def record_and_move() -> None:
            number = next(count[name])
            for index, parameter in enumerate(parameters(optimizer)):
                assert parameter.grad is not None
                seen[number][f"{name}.{index}"] = parameter.grad.clone()
                parameter.data.add_(steps[number].moves[name][index].to(dtype))

        return record_and_move

    model.set_logger(Logger(folder=None, output_formats=[]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.replay_buffer, "sample", sample)
        for name, optimizer in optimizers(model).items():
            step = "descend" if isinstance(model, FastSAC) else "step"
            patch.setattr(optimizer, step, recorder(name, optimizer))
        if isinstance(model, FastSAC):
            patch.setattr(Memory, "draw_noise", lambda _: th.cat([next(noises), next(noises)]).to(dtype).numpy())
        else:
            patch.setattr("torch.distributions.normal._standard_normal", lambda *_, **__: next(noises).to(dtype))
        model.train(gradient_steps=len(steps), batch_size=len(steps[0].batch.rewards))
    return seen, {key: float(value) for key, value in model.logger.name_to_value.items()}


class SwitchWatch:
    """Tells whether a pass of a float64 reference came within float32's rounding of a point where a gradient jumps.

    Those are the kinks of ReLU and leaky ReLU, the limits of log σ, and equal minima of the two critics, in passes that
    are differentiated. On such a point two correct float32 steps need not agree.
    """

    ROUNDING = 16 * float(np.finfo(np.float32).eps)

    def __init__(self, model: SAC) -> None:
        self.near = False
        kinked = model.policy.actor.activation_fn in {th.nn.ReLU, th.nn.LeakyReLU}
        for network in (model.actor.latent_pi, *model.critic.q_networks):
            for layer, following in pairwise(network):
                if kinked and not isinstance(following, th.nn.Linear):
                    layer.register_forward_hook(self._sees_linear)
        model.actor.log_std.register_forward_hook(self._sees_log_std)
        model.critic.register_forward_hook(self._sees_critics)

    def _note(self, distance: th.Tensor, magnitude: th.Tensor | float) -> None:
        if th.is_grad_enabled():
            self.near |= bool((distance.abs() <= self.ROUNDING * magnitude).any())

    def _sees_linear(self, layer: th.nn.Linear, args: tuple[th.Tensor], output: th.Tensor) -> None:
        self._note(output, th.nn.functional.linear(args[0].abs(), layer.weight.abs(), layer.bias.abs()))

    def _sees_log_std(self, _layer: th.nn.Module, _args: object, output: th.Tensor) -> None:
        for limit in (LOG_STD_MIN, LOG_STD_MAX):
            self._note(output - limit, 1 + output.abs())

    def _sees_critics(self, _critic: th.nn.Module, _args: object, output: tuple[th.Tensor, ...]) -> None:
        self._note(output[0] - output[1], 1 + output[0].abs())
