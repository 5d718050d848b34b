"""Is an environment brought back exactly by replaying its actions? `python -m worker probe ENV` asks this."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from worker.contract.base import Scalar
from worker.contract.environments import ProbeVerdict
from worker.contract.errors import CheckpointCorrupt
from worker.snapshot.arrays import Floats
from worker.snapshot.random_streams import Pcg64
from worker.snapshot.training_state import EnvironmentCursor
from worker.training.environment import TrainingEnvironment, make_environment, spaces_of

SEED: Final = 1
OTHER_SEED: Final = 2
"""Of the environments that replay: nothing of their own past may show."""

Happened = tuple[bytes, float, bool, bool]
"""Observation, reward, terminated, truncated."""


@dataclass(frozen=True, eq=False)
class _Episode:
    """An episode as it went on from a random cut, into the reset after it."""

    cut: EnvironmentCursor
    observation: Floats
    actions: tuple[Floats, ...]
    happened: tuple[Happened, ...]
    next_observation: Floats
    next_stream: Pcg64


def probe(environment_id: str, keywords: Mapping[str, Scalar], episodes: int, beat: Callable[[], None]) -> ProbeVerdict:
    """Fly episodes with random actions, cut each at random, and replay it in a new environment.

    Args:
        environment_id: as gymnasium knows it.
        keywords: for its constructor.
        episodes: how many to compare, at least 1.
        beat: called for every step.

    Raises:
        BadConfiguration: SAC cannot train in it at all; the message says why.
    """
    environment = TrainingEnvironment(make_environment(environment_id, dict(keywords)))
    try:
        registered = environment.single.spec
        observations, actions = spaces_of(environment.single)
        chance = np.random.default_rng(SEED)
        observation, _ = environment.single.reset(seed=SEED)
        exact = True
        for _ in range(episodes):
            episode = _fly(environment, observation, chance, beat)
            observation = episode.next_observation
            exact = exact and _goes_on_equally(environment_id, keywords, episode, beat)
        return ProbeVerdict(
            observation_size=observations.shape[0],
            action_size=actions.shape[0],
            max_episode_steps=registered.max_episode_steps if registered else None,
            episodes=episodes,
            exact=exact,
        )
    finally:
        environment.close()


def _fly(
    environment: TrainingEnvironment, observation: Floats, chance: np.random.Generator, beat: Callable[[], None]
) -> _Episode:
    """Fly from the first observation of an episode to its end, and reset."""
    _, space = spaces_of(environment.single)
    cut_at, cut, cut_observation = 0, environment.position(), observation
    actions: list[Floats] = []
    happened: list[Happened] = []
    while not happened or not _ended(happened[-1]):
        if chance.uniform() * (len(actions) + 1) < 1:  # which makes every step equally likely to be the cut
            cut_at, cut, cut_observation = len(actions), environment.position(), observation
        actions.append(chance.uniform(space.low, space.high).astype(np.float32))
        observation, reward, terminated, truncated, _ = environment.single.step(actions[-1])
        happened.append((observation.tobytes(), float(reward), terminated, truncated))
        beat()
    following, _ = environment.single.reset()
    return _Episode(
        cut=cut,
        observation=cut_observation,
        actions=tuple(actions[cut_at:]),
        happened=tuple(happened[cut_at:]),
        next_observation=following,
        next_stream=environment.position().head.now,
    )


def _goes_on_equally(
    environment_id: str, keywords: Mapping[str, Scalar], episode: _Episode, beat: Callable[[], None]
) -> bool:
    """Return whether a new environment, brought to the cut, does what the first one did, the next reset included."""
    environment = TrainingEnvironment(make_environment(environment_id, dict(keywords)))
    try:
        environment.single.reset(seed=OTHER_SEED)
        environment.replay(episode.cut, episode.observation, beat, exact=True)
        for action, expected in zip(episode.actions, episode.happened, strict=True):
            observation, reward, terminated, truncated, _ = environment.single.step(action)
            beat()
            if (observation.tobytes(), float(reward), terminated, truncated) != expected:
                return False
        following, _ = environment.single.reset()
        same_start = following.tobytes() == episode.next_observation.tobytes()
        return same_start and environment.position().head.now == episode.next_stream
    except CheckpointCorrupt:
        return False
    finally:
        environment.close()


def _ended(happened: Happened) -> bool:
    _, _, terminated, truncated = happened
    return terminated or truncated
