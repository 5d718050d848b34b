"""What the benchmarks are held to, beside what they reached."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

Kept = Mapping[str, Any]
"""The figures of each part that was measured, by its name."""


@dataclass(frozen=True)
class Goal:
    """A figure and its limit."""

    text: str
    part: str
    limit: float
    figure: Callable[[Mapping[str, Any]], float]
    """From the part's figures."""
    shown: str = "{:.2f}"
    at_most: bool = False

    def met(self, reached: float) -> bool:
        """Return whether a figure keeps the limit."""
        return reached <= self.limit if self.at_most else reached >= self.limit


def answer(command: str, found: Mapping[str, Any]) -> float:
    """Return how long a command took."""
    return float(found["commands"][command]["seconds"].median)


GOALS = (
    Goal("steps/s of one core ÷ SB3's", "per_core", 2.3, lambda found: float(found["ratio"]["sb3"].median)),
    Goal("steps/s of one core ÷ SBX's", "per_core", 1.35, lambda found: float(found["ratio"]["sbx"].median)),
    Goal("packed machine ÷ one process of SB3", "machine", 4.0, lambda found: float(found["ratio"]["sb3"].median)),
    Goal("share of the floor, early", "per_core", 0.75, lambda found: float(found["share_of_floor"].median), "{:.0%}"),
    Goal("share of the floor, late", "late", 0.75, lambda found: float(found["share_of_floor"].median), "{:.0%}"),
    Goal(
        "largest commit, MB",
        "checkpoints",
        4.0,
        lambda found: worst(found, lambda row: row["bytes"].high / 1e6),
        at_most=True,
    ),
    Goal(
        "p99 of the stall, ms",
        "checkpoints",
        20.0,
        lambda found: worst(found, lambda row: row["stall_p99_ms"]),
        at_most=True,
    ),
    Goal(
        "share of a run that commits take",
        "checkpoints",
        0.01,
        lambda found: worst(found, lambda row: row["share_of_run"]),
        "{:.2%}",
        at_most=True,
    ),
    Goal(
        "restore of 1,000,000 transitions, s",
        "checkpoints",
        3.0,
        lambda found: found["sizes"]["1000000"]["restore_s"],
        at_most=True,
    ),
    *(
        Goal(f"{name} of 10,000 jobs, s", "answers", 3.0, partial(answer, name), at_most=True)
        for name in ("status", "results", "watch")
    ),
    Goal(
        "report of 200 jobs, s",
        "answers",
        30.0,
        lambda found: float(found["report"]["seconds"].median),
        "{:.1f}",
        at_most=True,
    ),
)


def worst(found: Mapping[str, Any], figure: Callable[[Mapping[str, Any]], float]) -> float:
    """Return the highest figure of any size of checkpoint."""
    return max(figure(row) for row in found["sizes"].values())


def rows(kept: Kept) -> Iterator[tuple[str, str, str, str]]:
    """Yield a goal, its limit, what was reached, and the verdict, for each part that was measured."""
    for goal in GOALS:
        if goal.part in kept:
            reached = goal.figure(kept[goal.part])
            sign = "≤" if goal.at_most else "≥"
            yield (
                goal.text,
                f"{sign} {goal.shown.format(goal.limit)}",
                goal.shown.format(reached),
                "met" if goal.met(reached) else "**missed**",
            )
