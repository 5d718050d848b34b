"""Episodes that were flown to evaluate a policy: those finished so far, and what they amount to."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from worker.contract.base import Frozen

Kind = Literal["periodic", "final"]


class PartialEvaluation(Frozen):
    """The finished episodes of an evaluation that is under way; small enough to ride in a manifest write.

    It is about the policy at `step` and means nothing without the state of that very step.
    """

    kind: Kind
    step: Annotated[int, Field(ge=0)]
    returns: Annotated[tuple[float, ...], Field(max_length=1_000)] = ()
    lengths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=1_000)] = ()
    """Steps of each episode."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if len(self.returns) != len(self.lengths):
            raise ValueError("every finished episode has a return and a length")
        return self

    def with_episode(self, episode_return: float, length: int) -> "PartialEvaluation":
        """Return this evaluation with one more finished episode."""
        return PartialEvaluation(
            kind=self.kind,
            step=self.step,
            returns=(*self.returns, episode_return),
            lengths=(*self.lengths, length),
        )


class EvaluationSummary(Frozen):
    """What the episodes of an evaluation amount to."""

    episodes: int
    mean: float
    std: float
    """Over the episodes of this one policy (ddof 0), as Stable-Baselines3 prints it."""
    solved: float | None
    """Share of returns of at least `solved_at`, where the environment has one (LunarLander: landings)."""
    percentile_5: float
    mean_length: float


def summarise(returns: Sequence[float], lengths: Sequence[int], solved_at: float | None) -> EvaluationSummary:
    """Return the summary of at least one finished episode."""
    values = np.asarray(returns, dtype=np.float64)
    return EvaluationSummary(
        episodes=len(values),
        mean=float(values.mean()),
        std=float(values.std()),
        solved=None if solved_at is None else float((values >= solved_at).mean()),
        percentile_5=float(np.percentile(values, 5)),
        mean_length=float(np.mean(lengths)),
    )
