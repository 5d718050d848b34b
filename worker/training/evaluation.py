"""Evaluation: the deterministic policy on seeds that training never sees, in an environment of its own.

It draws from no random stream of the training, and goes on from any number of finished episodes.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.contract.errors import Diverged
from worker.contract.manifest import PartialEvaluation
from worker.snapshot.arrays import Floats
from worker.training.environment import Environment

FIRST_PERIODIC_SEED: Final = 2**30
"""Jobs have seeds below it."""
FIRST_HELD_OUT_SEED: Final = 2**30 + 2**20


class Policy(Protocol):
    """What acts; SB3's models and policies do."""

    def predict(self, observation: Floats, *, deterministic: bool) -> tuple[NDArray[np.float32], object]:
        """Return the action for one observation, and a hidden state."""


def fly(policy: Policy, environment: Environment, seed: int, between: Callable[[], None]) -> tuple[float, int]:
    """Fly one episode and return its return and its length; `between` is called before every step."""
    observation, _ = environment.reset(seed=seed)
    total, length, ended = 0.0, 0, False
    while not ended:
        between()
        action, _ = policy.predict(observation, deterministic=True)
        observation, reward, terminated, truncated, _ = environment.step(action)
        total += float(reward)
        length += 1
        ended = terminated or truncated
    return total, length


def evaluate(
    policy: Policy,
    environment: Environment,
    start: PartialEvaluation,
    episodes: int,
    between: Callable[[], None],
) -> Iterator[PartialEvaluation]:
    """Fly what is missing of `episodes`, and yield the evaluation after each episode that has finished.

    Raises:
        Diverged: a return is not finite.
    """
    first = FIRST_HELD_OUT_SEED if start.final else FIRST_PERIODIC_SEED
    evaluation = start
    for index in range(len(start.returns), episodes):
        total, length = fly(policy, environment, first + index, between)
        if not math.isfinite(total):
            raise Diverged(f"The return of an evaluation episode is {total} after {start.step} steps.")
        evaluation = PartialEvaluation(
            step=start.step,
            final=start.final,
            returns=(*evaluation.returns, total),
            lengths=(*evaluation.lengths, length),
        )
        yield evaluation
