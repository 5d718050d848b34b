"""What the episodes of an evaluation amount to. While it is under way they are the manifest's `PartialEvaluation`."""

from typing import Annotated

import numpy as np
from pydantic import Field

from worker.contract.base import Frozen
from worker.contract.manifest import PartialEvaluation


class EvaluationSummary(Frozen):
    """A policy's score."""

    episodes: Annotated[int, Field(ge=1)]
    mean: float
    std: float
    """Over the episodes of this one policy (ddof 0), as Stable-Baselines3 prints it."""
    solved: float | None
    """Share of returns of at least `solved_at`, where the environment has one (LunarLander: landings)."""
    percentile_5: float
    mean_length: float


def summarise(evaluation: PartialEvaluation, solved_at: float | None) -> EvaluationSummary:
    """Return the summary of an evaluation with at least one finished episode."""
    returns = np.asarray(evaluation.returns, dtype=np.float64)
    return EvaluationSummary(
        episodes=len(returns),
        mean=float(returns.mean()),
        std=float(returns.std()),
        solved=None if solved_at is None else float((returns >= solved_at).mean()),
        percentile_5=float(np.percentile(returns, 5)),
        mean_length=float(np.mean(evaluation.lengths)),
    )
