"""Does it learn as SB3 does? The zoo's configuration, trained by both trainers through the fleet, side by side.

`learning-fast.yaml` and `learning-sb3.yaml` beside this file differ in nothing but the trainer. The unit is the run.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from tests.bench.figures import keep
from worker.contract.result import RESULT, Result

SWEEPS = ("learning-fast", "learning-sb3")
CONFIDENCE = 0.95


def learning(folder: Path) -> None:
    """Read what `results SWEEP --download` fetched into `folder`/SWEEP, and keep the figures.

    Raises SystemExit where a sweep is not there or its runs are not of the same seeds.
    """
    fast, sb3 = (runs(folder / sweep) for sweep in SWEEPS)
    if [run.job.seed for run in fast] != [run.job.seed for run in sb3]:
        raise SystemExit("The two sweeps hold runs of other seeds: one of them is not finished.")
    scores = {"fast": [run.score.mean for run in fast], "sb3": [run.score.mean for run in sb3]}
    keep(
        "learning",
        {
            "timesteps": fast[0].job.configuration.timesteps,
            "seeds": [run.job.seed for run in fast],
            "scores": scores,
            "landings": {"fast": [run.score.solved for run in fast], "sb3": [run.score.solved for run in sb3]},
            "difference": welch(scores["fast"], scores["sb3"]),
            "curves": {"fast": curves(fast), "sb3": curves(sb3)},
            "evictions": {
                "fast": sum(run.eviction_count for run in fast),
                "sb3": sum(run.eviction_count for run in sb3),
            },
            "steps_per_second": {
                "fast": statistics.median(run.steps_per_second for run in fast),
                "sb3": statistics.median(run.steps_per_second for run in sb3),
            },
        },
    )


def runs(folder: Path) -> list[Result]:
    """Return the results below a folder, by seed."""
    found = [Result.model_validate_json(file.read_bytes()) for file in folder.rglob(RESULT)]
    if not found:
        raise SystemExit(
            f"{folder} holds no results. Run `tranquility local run tests/bench/{folder.name}.yaml` first: hours."
        )
    return sorted(found, key=lambda run: run.job.seed)


def curves(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return each run's evaluations during training."""
    return [
        {
            "seed": run.job.seed,
            "steps": [evaluation.step for evaluation in run.evaluations],
            "means": [evaluation.mean for evaluation in run.evaluations],
        }
        for run in results
    ]


def welch(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Return the difference of the means with Welch's interval."""
    found = stats.ttest_ind(ours, theirs, equal_var=False)
    interval = found.confidence_interval(CONFIDENCE)
    return {"mean": float(np.mean(ours) - np.mean(theirs)), "low": float(interval.low), "high": float(interval.high)}
