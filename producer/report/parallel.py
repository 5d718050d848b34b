"""Parallel coordinates: every set a line over its hyperparameters, ending at its score."""

from collections.abc import Sequence

from markupsafe import Markup

from producer.report.parameters import Parameter
from producer.report.svg import ACCENT, INK, LINE, MUTED, SCALE, SURFACE, Plot
from producer.results.leaderboard import Leaderboard
from producer.words import number

DRAWN = 300
"""Sets, the best ones."""
AXIS_WIDTH, HEIGHT = 132, 300


def draw(board: Leaderboard, chosen: Sequence[Parameter], name: str) -> Markup:
    """Return the plot of the best sets of a ranking."""
    standings = board.standings[:DRAWN]
    best, worst = standings[0].entrant.mean, standings[-1].entrant.mean
    span = best - worst or 1.0
    heights = [(standing.entrant.mean - worst) / span for standing in standings]
    with Plot(name, max(420, AXIS_WIDTH * (len(chosen) + 1)), HEIGHT) as plot:
        axes = plot.figure.add_axes((0.01, 0.16, 0.98, 0.83))
        axes.set_xlim(-0.25, len(chosen) + 0.25)
        axes.set_ylim(-0.08, 1.08)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_yticks([])
        axes.set_xticks(range(len(chosen) + 1), [*(_wrapped(one.name) for one in chosen), "mean return"])
        axes.tick_params(axis="x", length=0, pad=6)
        for place, standing in reversed(list(enumerate(standings))):
            line = [*(one.positions[place] for one in chosen), heights[place]]
            leader = place == 0
            shade = ACCENT if leader else SCALE[min(len(SCALE) - 1, int(heights[place] * len(SCALE)))]
            (drawn,) = axes.plot(range(len(line)), line, color=shade, linewidth=2.6 if leader else 1.2, zorder=3)
            drawn.set_gid(f"line-{standing.entrant.index}")
        for at, one in enumerate(chosen):
            axes.axvline(at, color=MUTED, linewidth=0.8, zorder=2)
            _ticks(plot, at, one.ticks)
        axes.axvline(len(chosen), color=INK, linewidth=1.2, zorder=2)
        middle = (worst + best) / 2
        _ticks(plot, len(chosen), [(0.0, number(worst)), (0.5, number(middle)), (1.0, number(best))])
        return plot.svg("Hyperparameters and mean return of every set", _description(board, chosen))


def _ticks(plot: Plot, at: int, ticks: Sequence[tuple[float, str]]) -> None:
    (axes,) = plot.figure.axes
    for height, text in ticks:
        axes.plot([at - 0.02, at + 0.02], [height, height], color=MUTED, linewidth=1, zorder=4)
        box = {"boxstyle": "round,pad=0.15", "facecolor": SURFACE, "edgecolor": LINE, "linewidth": 0.5, "alpha": 0.9}
        axes.text(at + 0.05, height, text, fontsize=8, va="center", ha="left", zorder=5, bbox=box)


def _wrapped(name: str) -> str:
    return name if len(name) <= 16 else name.replace("_", "_\n", 1)


def _description(board: Leaderboard, chosen: Sequence[Parameter]) -> str:
    leader = board.leader.entrant
    names = ", ".join(one.name for one in chosen)
    shown = min(len(board.standings), DRAWN)
    return (
        f"One line for each of {shown} sets, over {names}, to its mean return. "
        f"The leader is {leader.label} with {number(leader.mean)}. The leaderboard above lists the same numbers."
    )
