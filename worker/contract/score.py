"""What the episodes of an evaluation amount to: the score of one policy."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from worker.contract.base import Frozen


class EvaluationSummary(Frozen):
    """A policy's score over the episodes of one evaluation."""

    episodes: Annotated[int, Field(ge=1)]
    mean: float
    std: float
    """Over the episodes of this one policy (ddof 0), as Stable-Baselines3 prints it; not over seeds."""
    solved: Annotated[float, Field(ge=0, le=1)] | None
    """Share of returns of at least `solved_at`, where the environment has one (LunarLander: landings)."""
    percentile_5: float
    mean_length: float


def summarise(returns: Sequence[float], lengths: Sequence[int], solved_at: float | None) -> EvaluationSummary:
    """Return the summary of at least one finished episode; `returns` and `lengths` go together, one an episode."""
    import numpy as np  # only who evaluates needs it: a tenth of the time in which `status` starts

    values = np.asarray(returns, dtype=np.float64)
    return EvaluationSummary(
        episodes=len(values),
        mean=float(values.mean()),
        std=float(values.std()),
        solved=None if solved_at is None else float((values >= solved_at).mean()),
        percentile_5=float(np.percentile(values, 5)),
        mean_length=float(np.mean(lengths)),
    )
