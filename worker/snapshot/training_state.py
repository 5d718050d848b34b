"""All that a bit-exact resume needs, except the replay rows: one value, one blob of about 3 MB at [256, 256].

Names and shapes of networks and optimizers follow from the job alone, so that a blob is checked before any is built.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from worker.contract.base import STATE_VERSION, Frozen
from worker.contract.errors import CheckpointCorrupt
from worker.contract.job import Configuration
from worker.snapshot.arrays import Array, Floats, Reader, encode
from worker.snapshot.curve import Curve
from worker.snapshot.random_streams import Pcg64, RandomStreams, StreamsHead

RECENT_EPISODES: Final = 100
"""Episodes that SB3's rolling means go over."""

Shape = tuple[int, ...]
Count = Annotated[int, Field(ge=0, lt=2**48)]


class Counters(Frozen):
    """How far the run is."""

    step: Count
    """Environment steps."""
    updates: Count
    """Gradient steps."""
    episodes: Count
    """Finished training episodes."""
    rows: Count
    """Transitions ever stored; the ring buffer holds the last `buffer_size` of them."""


class CursorHead(Frozen):
    """The random states of an environment that belong to its cursor."""

    before_reset: Pcg64
    now: Pcg64


@dataclass(frozen=True, eq=False)
class EnvironmentCursor:
    """Where the training environment stands: its generator as before this episode's reset, and the actions since.

    Replaying them in a fresh environment brings back its whole state, the physics engine's included.
    """

    head: CursorHead
    actions: Floats
    """(steps of this episode, action size), as they were given to the environment."""


class _Head(Frozen):
    version: Literal[1] = STATE_VERSION
    counters: Counters
    learning_rates: Mapping[str, Annotated[float, Field(ge=0, le=1)]]
    streams: StreamsHead
    cursor: CursorHead


@dataclass(frozen=True, eq=False)
class TrainingState:
    """A run at a boundary. Arrays are copies of their own."""

    counters: Counters
    tensors: Mapping[str, Floats]
    """Weights, target weights and Adam's moments by the names of `expected_tensors`."""
    learning_rates: Mapping[str, float]
    """Optimizer → the rate of its last step."""
    streams: RandomStreams
    cursor: EnvironmentCursor
    last_observation: Floats
    """(observation size,) What the next action answers to."""
    recent_returns: NDArray[np.float64]
    recent_lengths: NDArray[np.int64]
    """(up to 100,) of the latest training episodes; their wall-clock times are left out."""
    curve: Curve

    @property
    def step(self) -> int:
        """Return the environment steps done."""
        return self.counters.step

    def encode(self) -> bytes:
        """Return the state as safetensors; equal states give equal bytes."""
        head = _Head(
            counters=self.counters,
            learning_rates=dict(self.learning_rates),
            streams=self.streams.head,
            cursor=self.cursor.head,
        )
        arrays: dict[str, Array] = {
            **self.tensors,
            **self.streams.arrays(),
            **self.curve.arrays(),
            "cursor.actions": self.cursor.actions,
            "last_observation": self.last_observation,
            "recent.returns": self.recent_returns,
            "recent.lengths": self.recent_lengths,
        }
        return encode(head, arrays)

    @classmethod
    def decode(cls, body: bytes, configuration: Configuration) -> "TrainingState":
        """Return the state in a blob of a job with this configuration.

        Raises:
            CheckpointCorrupt: anything is not as `encode` writes it for such a job.
        """
        reader = Reader(body)
        head = reader.head(_Head)
        observation, action = configuration.environment.sizes
        expected = expected_tensors(configuration, updated=head.counters.updates > 0)
        if set(head.learning_rates) != set(optimizers(configuration)):
            raise CheckpointCorrupt("Its optimizers are not those of the job.")
        tensors = {name: reader.take(name, np.float32, shape) for name, shape in expected.items()}
        recent = reader.take("recent.returns", np.float64, (None,))
        state = cls(
            counters=head.counters,
            tensors=tensors,
            learning_rates=head.learning_rates,
            streams=RandomStreams.take(reader, head.streams),
            cursor=EnvironmentCursor(head.cursor, reader.take("cursor.actions", np.float32, (None, action))),
            last_observation=reader.take("last_observation", np.float32, (observation,)),
            recent_returns=recent,
            recent_lengths=reader.take("recent.lengths", np.int64, recent.shape),
            curve=Curve.take(reader),
        )
        reader.nothing_else()
        _check_bounds(state, configuration.environment.max_episode_steps)
        return state


def _check_bounds(state: TrainingState, max_episode_steps: int) -> None:
    counters, episode = state.counters, len(state.cursor.actions)
    if counters.rows != counters.step or episode > min(counters.step, max_episode_steps):
        raise CheckpointCorrupt("Its counters contradict each other.")
    if len(state.recent_returns) != min(counters.episodes, RECENT_EPISODES) or (state.recent_lengths < 1).any():
        raise CheckpointCorrupt("Its latest episodes do not fit its counters.")
    for name, tensor in state.tensors.items():
        if name.endswith(("/step", "/exp_avg_sq")) and tensor.min(initial=0) < 0:
            raise CheckpointCorrupt(f"{name!r} is negative.")


def optimizers(configuration: Configuration) -> tuple[str, ...]:
    """Return the names of a job's optimizers."""
    names = ("actor.optimizer", "critic.optimizer")
    return (*names, "ent_coef_optimizer") if learns_entropy(configuration) else names


def learns_entropy(configuration: Configuration) -> bool:
    """Return whether the entropy coefficient is learned."""
    return isinstance(configuration.hyperparameters.ent_coef, str)


def expected_tensors(configuration: Configuration, *, updated: bool) -> dict[str, Shape]:
    """Return name → shape of all weights and, once there was an update, of Adam's moments.

    Weights are named `policy/…` as in `SACPolicy.state_dict()`; moments `actor.optimizer/0/exp_avg`, by the index of
    their parameter, as in `Adam.state_dict()`.
    """
    weights = _policy_shapes(configuration)
    parameters = {
        "actor.optimizer": [shape for name, shape in weights.items() if name.startswith("actor.")],
        "critic.optimizer": [shape for name, shape in weights.items() if name.startswith("critic.")],
    }
    expected = {f"policy/{name}": shape for name, shape in weights.items()}
    if learns_entropy(configuration):
        expected["log_ent_coef"] = (1,)
        parameters["ent_coef_optimizer"] = [(1,)]
    if updated:
        for optimizer, shapes in parameters.items():
            for index, shape in enumerate(shapes):
                place = f"{optimizer}/{index}"
                expected |= {f"{place}/step": (), f"{place}/exp_avg": shape, f"{place}/exp_avg_sq": shape}
    return expected


def _policy_shapes(configuration: Configuration) -> dict[str, Shape]:
    observation, action = configuration.environment.sizes
    layers = configuration.hyperparameters.policy_kwargs.layers()
    shapes = _linear_layers("actor.latent_pi", (observation, *layers.pi))
    last = layers.pi[-1] if layers.pi else observation
    for name in ("actor.mu", "actor.log_std"):
        shapes |= {f"{name}.weight": (action, last), f"{name}.bias": (action,)}
    for critic in ("critic", "critic_target"):
        for net in ("qf0", "qf1"):
            shapes |= _linear_layers(f"{critic}.{net}", (observation + action, *layers.qf, 1))
    return shapes


def _linear_layers(name: str, widths: Shape) -> dict[str, Shape]:
    """Return the shapes of an SB3 MLP, where every other module is an activation function."""
    shapes: dict[str, Shape] = {}
    for index, (before, after) in enumerate(itertools.pairwise(widths)):
        shapes |= {f"{name}.{2 * index}.weight": (after, before), f"{name}.{2 * index}.bias": (after,)}
    return shapes
