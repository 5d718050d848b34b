"""Learning curves: one plot a hyperparameter set, with every seed, and where its job was evicted.

The unit is the training run. From 5 finished seeds on a band shows the t interval of their mean, step by step; below
that there is no band, since it would pretend to know the spread.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from producer.report.gather import Details, Gathered
from producer.report.svg import ACCENT, INK, LINE, MUTED, WARN, Plot
from producer.results.statistics import INTERVAL_RUNS, mean_interval
from producer.words import label_keys, number, plural, set_label
from worker.contract.manifest import EVICTED

EVALUATED = "eval/mean_reward"
TRAINED = "rollout/ep_rew_mean"
SHOWN = 12
"""Sets with a plot of their own."""
WIDTH, HEIGHT = 352, 232


@dataclass(frozen=True)
class RunCurve:
    """How one run went."""

    seed: int
    finished: bool
    points: tuple[tuple[int, float], ...]
    """(step, return), in the order of steps. Of a finished run periodic evaluations; else returns of training."""
    evicted_at: tuple[int, ...]
    inexact_at: tuple[int, ...]
    """Steps from which it went on, on another kind of machine."""


@dataclass(frozen=True)
class Spread:
    """The mean over the finished seeds at one step."""

    step: int
    mean: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class SetCurves:
    """The runs of one hyperparameter set."""

    index: int
    label: str
    rank: int | None
    runs: tuple[RunCurve, ...]

    @property
    def spread(self) -> tuple[Spread, ...]:
        """Return mean and interval at the steps that all finished runs have; empty below two of them."""
        finished = [dict(run.points) for run in self.runs if run.finished]
        if len(finished) < 2:
            return ()
        common = sorted(set.intersection(*(set(points) for points in finished)))
        return tuple(_spread(step, [points[step] for points in finished]) for step in common)


def _spread(step: int, values: Sequence[float]) -> Spread:
    interval = mean_interval(values)
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Spread(step, float(np.mean(values)), low, high)


def set_curves(gathered: Gathered) -> list[SetCurves]:
    """Return the sets to draw: by rank, then those without a finished run as planned; at most `SHOWN`."""
    plan = gathered.sweep.plan
    keys = label_keys([planned.differs for planned in plan.sets[:300]])
    ranks = {standing.entrant.index: standing.rank for board in gathered.boards for standing in board.standings}
    runs: dict[int, list[RunCurve]] = {}
    for job, details in gathered.jobs():
        if job.fresh:
            continue  # no part of the ranking, and so of no mean in it
        curve = run_curve(job.seed, details)
        if curve.points:
            runs.setdefault(job.set, []).append(curve)
    order = sorted(runs, key=lambda index: (ranks.get(index, len(plan.sets)), index))
    return [
        SetCurves(index, set_label(plan.sets[index].differs, keys), ranks.get(index), tuple(runs[index]))
        for index in order[:SHOWN]
    ]


def run_curve(seed: int, details: Details) -> RunCurve:
    """Return a run's curve: its periodic evaluations, where there are any, else the returns of its training."""
    attempts = details.manifest.attempts
    finished = details.result is not None
    points: tuple[tuple[int, float], ...]
    if finished:
        key = EVALUATED if any(EVALUATED in row.values for row in details.curve) else TRAINED
        points = tuple((row.step, row.values[key]) for row in details.curve if key in row.values)
    else:
        points = tuple((point.step, point.value) for point in details.manifest.trail)
    return RunCurve(
        seed,
        finished,
        points,
        tuple(attempt.reached_step for attempt in attempts if attempt.ended in EVICTED),
        tuple(attempt.from_step for attempt in attempts if not attempt.exact),
    )


@dataclass(frozen=True)
class Frame:
    """What all plots of a page share, so that they can be compared by eye."""

    steps: int
    low: float
    high: float
    solved_at: float | None

    @classmethod
    def around(cls, sets: Sequence[SetCurves], steps: int, solved_at: float | None) -> "Frame":
        """Return the frame that holds all runs. Bands may leave it: they would squeeze the curves."""
        values = [value for one in sets for run in one.runs for _, value in run.points]
        values += [solved_at] if solved_at is not None and values else []
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        margin = 0.06 * (high - low) or 1.0
        return cls(steps, low - margin, high + margin, solved_at)


def draw(one: SetCurves, frame: Frame) -> Markup:
    """Return the plot of a set."""
    with Plot(f"curve-{one.index}", WIDTH, HEIGHT) as plot:
        # Margins for five-digit returns: laying each plot out anew would take twice the time and not line them up.
        axes = plot.figure.add_axes((0.17, 0.19, 0.79, 0.77))
        axes.set_xlim(0, frame.steps)
        axes.set_ylim(frame.low, frame.high)
        axes.grid(axis="y")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
        axes.set_xlabel("environment steps")
        axes.set_ylabel("mean return")
        if frame.solved_at is not None:
            axes.axhline(frame.solved_at, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        for run in one.runs:
            _draw_run(axes, run)
        _draw_spread(axes, one.spread)
        return plot.svg(f"Learning curves of {one.label}", description(one))


def _draw_run(axes: Axes, run: RunCurve) -> None:
    steps, values = zip(*run.points, strict=True)
    style = "-" if run.finished else (0, (4, 2))
    mark = "o" if len(steps) == 1 else ""
    axes.plot(steps, values, color=ACCENT, linewidth=0.9, linestyle=style, marker=mark, markersize=3, alpha=0.65)
    for places, shape in ((run.evicted_at, "v"), (run.inexact_at, "x")):
        if places:
            heights = np.interp(places, steps, values)
            axes.plot(places, heights, shape, color=WARN, markersize=6, clip_on=False, zorder=5, markeredgewidth=1.3)


def _draw_spread(axes: Axes, spread: Sequence[Spread]) -> None:
    if not spread:
        return
    steps = [point.step for point in spread]
    mark = "o" if len(steps) == 1 else ""
    axes.plot(steps, [point.mean for point in spread], color=INK, linewidth=1.8, marker=mark, markersize=4, zorder=4)
    band = [(point.step, point.low, point.high) for point in spread if point.low is not None]
    if band:
        at, low, high = zip(*band, strict=True)
        axes.fill_between(at, low, high, color=ACCENT, alpha=0.18, linewidth=0, zorder=1)
        for edge in (low, high):
            axes.plot(at, edge, color=LINE, linewidth=0.8, zorder=2)


def description(one: SetCurves) -> str:
    """Return in words what the plot shows."""
    return " ".join(_sentences(one))


def _sentences(one: SetCurves) -> Iterator[str]:
    finished = sum(run.finished for run in one.runs)
    yield f"{plural(finished, 'finished seed')}" + (
        f" and {plural(len(one.runs) - finished, 'unfinished one')}." if finished < len(one.runs) else "."
    )
    spread = one.spread
    if spread:
        first, last = spread[0], spread[-1]
        yield f"The mean goes from {number(first.mean)} at step {first.step:,} to {number(last.mean)} at {last.step:,}."
        if last.low is not None:
            yield f"The 95 % interval at the end is {number(last.low)} to {number(last.high)}."
        elif finished < INTERVAL_RUNS:
            yield f"There is no band below {INTERVAL_RUNS} seeds."
    else:
        for run in one.runs:
            step, value = run.points[-1]
            yield f"Seed {run.seed} stands at {number(value)} at step {step:,}."
    for run in one.runs:
        if run.evicted_at:
            yield f"Seed {run.seed} was evicted at step {' and '.join(f'{step:,}' for step in run.evicted_at)}."
        if run.inexact_at:
            yield f"Seed {run.seed} went on inexactly from step {' and '.join(f'{step:,}' for step in run.inexact_at)}."
