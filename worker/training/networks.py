"""SB3's SAC policy as flat parameters and written-out perceptrons, and the memory that a gradient step works in."""

from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
import torch as th
from stable_baselines3.common.policies import ContinuousCritic
from stable_baselines3.sac.policies import SACPolicy
from torch import nn

from worker.training.backward import ACTIVATIONS, Activation, ChosenGradient, Layer, Pass, Perceptrons
from worker.training.flat import FlatParameters


class Networks:
    """The networks of a policy, on the policy's own parameters, which this makes views of flat tensors.

    Attributes:
        actor: s → (μ, log σ) side by side; both heads are one layer.
        critics: (s, a) → Q_i(s, a), two.
        targets: (s, a) → Q̄_i(s, a), the critics' slow copies.
        action_size: how many numbers an action has.
    """

    def __init__(self, policy: SACPolicy) -> None:
        activation = ACTIVATIONS[policy.activation_fn]
        body, heads = (
            _linears(policy.actor.latent_pi),
            _linears(cast("list[nn.Module]", [policy.actor.mu, policy.actor.log_std])),
        )
        self.actor, self.actor_parameters = _flatten(activation, [[*([linear] for linear in body), heads]])
        self.critics, self.critic_parameters = _flatten(activation, _critic_layers(policy.critic))
        self.targets, self.target_parameters = _flatten(activation, _critic_layers(policy.critic_target))
        self.dtype, self.action_size = heads[0].weight.dtype, heads[0].out_features

    def follow_critics(self, tau: float) -> None:
        """Q̄ ← (1 − τ) Q̄ + τ Q, with the operations that SB3 uses, so that the result has the same bits."""
        self.target_parameters.values.mul_(1 - tau).add_(self.critic_parameters.values, alpha=tau)

    def attach(self) -> None:
        """Make the policy's parameters views of the flat tensors again, where something else rebound them."""
        for parameters in (self.actor_parameters, self.critic_parameters, self.target_parameters):
            parameters.attach()


class Memory:
    """Room for one gradient step on `rows` transitions. Nothing in it outlives the step.

    Attributes:
        policy: the actor's pass over s and, below it, s'; backward over s only.
        critics: the critics' pass over (s, a), both for the batch's actions and for the policy's.
        targets: the targets' pass over (s', a').
        q_gradient: ∂Q_i/∂a of the last pass in `critics`, for one critic i per row.
    """

    def __init__(self, networks: Networks, rows: int) -> None:
        self.rows = rows
        self.policy = Pass(networks.actor, 2 * rows, backward_rows=rows)
        self.critics = Pass(networks.critics, rows, backward_rows=rows)
        self.targets = Pass(networks.targets, rows, spent=self.critics)
        self.q_gradient = ChosenGradient(networks.critics, self.critics, slice(-networks.action_size, None))
        self._noise = th.zeros(2 * rows, networks.action_size, dtype=networks.dtype)

    def draw_noise(self) -> np.ndarray:
        """Return ξ ~ N(0, 1) for s and, below it, s', shape (2 × rows, actions); drawn as SB3 does, one by one.

        torch draws 16 numbers at a time, so that one draw of twice the size would not be the same.
        """
        for noise in (self._noise[: self.rows], self._noise[self.rows :]):
            noise.normal_()
        return self._noise.numpy()


def _flatten(
    activation: Activation, networks: Sequence[Sequence[Sequence[nn.Linear]]]
) -> tuple[Perceptrons, FlatParameters]:
    """Return networks on one flat tensor. Each is given as its layers, a layer as the `nn.Linear` that it stacks."""
    layers = [layer for network in networks for layer in network]
    blocks = [block for layer in layers for block in ([part.weight for part in layer], [part.bias for part in layer])]
    flat = FlatParameters(blocks)
    return Perceptrons([[Layer(flat, layer) for layer in network] for network in networks], activation), flat


def _critic_layers(critic: ContinuousCritic) -> list[list[list[nn.Linear]]]:
    return [[[linear] for linear in _linears(q_network.children())] for q_network in critic.q_networks]


def _linears(modules: Iterable[nn.Module]) -> list[nn.Linear]:
    return [module for module in modules if isinstance(module, nn.Linear)]
