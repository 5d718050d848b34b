"""Does it learn as SB3 does? The zoo's configuration, trained by both trainers through the fleet, side by side.

`learning-fast.yaml` and `learning-sb3.yaml` beside this file differ in nothing but the trainer. The unit is the run.
"""

from pathlib import Path
from typing import Any

from tests.bench.figures import keep, kept
from worker.contract.result import RESULT, Result

SWEEPS = {"fast": "learning-fast", "sb3": "learning-sb3"}


def learning(folder: Path) -> None:
    """Read what `results SWEEP --download` fetched into `folder`/SWEEP, and add its runs to those that were kept.

    A trainer whose sweep is not in `folder` keeps the runs that it had, so that each can be trained when there is time.
    Raises SystemExit where there is neither.
    """
    found = {trainer: runs(folder / sweep) for trainer, sweep in SWEEPS.items()}
    if not any(found.values()):
        raise SystemExit(
            f"{folder} holds no results of {' or '.join(SWEEPS.values())}. Run `tranquility local run tests/bench/"
            f"{SWEEPS['fast']}.yaml` first, and the other: hours."
        )
    before = kept("learning") or {}
    keep(
        "learning", {"runs": {trainer: found[trainer] or before.get("runs", {}).get(trainer, []) for trainer in SWEEPS}}
    )


def runs(folder: Path) -> list[dict[str, Any]]:
    """Return what the page shows of the results below a folder, by seed."""
    results = [Result.model_validate_json(file.read_bytes()) for file in folder.rglob(RESULT)]
    return [
        {
            "seed": run.job.seed,
            "timesteps": run.job.configuration.timesteps,
            "score": run.score.mean,
            "landings": run.score.solved,
            "steps": [evaluation.step for evaluation in run.evaluations],
            "means": [evaluation.mean for evaluation in run.evaluations],
            "evictions": run.eviction_count,
            "steps_per_second": run.steps_per_second,
            "release": run.release,
        }
        for run in sorted(results, key=lambda run: run.job.seed)
    ]
