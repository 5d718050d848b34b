"""A job's learning curve: what was measured at which step. No clock in it, so that a resumed run has the same curve."""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from worker.contract.errors import CheckpointCorrupt
from worker.snapshot.arrays import Array, Reader

KEYS: Final = (
    "rollout/ep_rew_mean",
    "rollout/ep_len_mean",
    "train/learning_rate",
    "train/ent_coef",
    "train/actor_loss",
    "train/critic_loss",
    "train/ent_coef_loss",
)
"""Stable-Baselines3's logger keys, in the order of the columns."""
EVALUATION_KEYS: Final = ("eval/mean_reward", "eval/mean_ep_length")
MAX_ROWS: Final = 1_000


@dataclass(frozen=True)
class CurveRow:
    """Training as it stood at `step`."""

    step: int
    values: Mapping[str, float]
    """Some of `KEYS`; there are no `train/…` values before the first update."""


@dataclass(frozen=True)
class EvaluationRow:
    """One periodic evaluation of the policy as it stood at `step`."""

    step: int
    returns: tuple[float, ...]
    lengths: tuple[int, ...]
    """Steps of each episode."""


@dataclass(frozen=True)
class Curve:
    """Both kinds of rows, each in the order of steps and with every step at most once."""

    rows: tuple[CurveRow, ...] = ()
    evaluations: tuple[EvaluationRow, ...] = ()

    def with_row(self, row: CurveRow) -> "Curve":
        """Return the curve with one more row."""
        return Curve((*self.rows, row), self.evaluations)

    def with_evaluation(self, row: EvaluationRow) -> "Curve":
        """Return the curve with one more evaluation."""
        return Curve(self.rows, (*self.evaluations, row))

    def merged(self) -> Iterator[CurveRow]:
        """Yield rows and the means of evaluations together, one for each step, in order."""
        lines: dict[int, dict[str, float]] = {row.step: dict(row.values) for row in self.rows}
        for evaluation in self.evaluations:
            means = (float(np.mean(evaluation.returns)), float(np.mean(evaluation.lengths)))
            lines.setdefault(evaluation.step, {}).update(zip(EVALUATION_KEYS, means, strict=True))
        return (CurveRow(step, lines[step]) for step in sorted(lines))

    def after(self, step: int) -> tuple[CurveRow, ...]:
        """Return what is worth telling of the rows above `step`: every evaluation, and the newest row."""
        new = [row for row in self.merged() if row.step > step]
        return tuple(row for row in new if row is new[-1] or EVALUATION_KEYS[0] in row.values)

    def to_csv(self) -> str:
        """Return the curve as CSV: one line a step, an empty cell where nothing was measured."""
        text = io.StringIO()
        writer = csv.DictWriter(text, ("step", *KEYS, *EVALUATION_KEYS), lineterminator="\n")
        writer.writeheader()
        for row in self.merged():
            writer.writerow({"step": row.step, **row.values})
        return text.getvalue()

    def arrays(self) -> dict[str, Array]:
        """Return the curve as arrays, for a checkpoint."""
        values = [[row.values.get(key, np.nan) for key in KEYS] for row in self.rows]
        return {
            "curve.steps": np.array([row.step for row in self.rows], dtype=np.int64),
            "curve.values": np.array(values, dtype=np.float64).reshape(len(self.rows), len(KEYS)),
            "evaluation.steps": np.array([row.step for row in self.evaluations], dtype=np.int64),
            "evaluation.counts": np.array([len(row.returns) for row in self.evaluations], dtype=np.int64),
            "evaluation.returns": np.array([r for row in self.evaluations for r in row.returns], dtype=np.float64),
            "evaluation.lengths": np.array([n for row in self.evaluations for n in row.lengths], dtype=np.int64),
        }

    @classmethod
    def take(cls, reader: Reader) -> "Curve":
        """Return the curve in a checkpoint.

        Raises:
            CheckpointCorrupt: it is not as `arrays` makes it.
        """
        steps = reader.take("curve.steps", np.int64, (None,))
        values = reader.take("curve.values", np.float64, (len(steps), len(KEYS)), nan_is_absent=True)
        rows = (
            CurveRow(int(step), {key: float(value) for key, value in zip(KEYS, line, strict=True) if value == value})
            for step, line in zip(steps, values, strict=True)
        )
        evaluated = reader.take("evaluation.steps", np.int64, (None,))
        counts = reader.take("evaluation.counts", np.int64, (len(evaluated),))
        if (np.diff(steps) <= 0).any() or (np.diff(evaluated) <= 0).any() or (counts < 1).any():
            raise CheckpointCorrupt("Its curve is out of order.")
        returns = reader.take("evaluation.returns", np.float64, (int(counts.sum()),))
        lengths = reader.take("evaluation.lengths", np.int64, (int(counts.sum()),))
        ends = np.cumsum(counts)
        evaluations = (
            EvaluationRow(int(step), tuple(returns[end - n : end].tolist()), tuple(lengths[end - n : end].tolist()))
            for step, n, end in zip(evaluated, counts, ends, strict=True)
        )
        return cls(tuple(rows), tuple(evaluations))
