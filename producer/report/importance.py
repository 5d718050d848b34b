"""Which hyperparameters the scores depend on: permutation importance of a random forest, on sets it has not seen.

For each of five folds a forest learns the mean scores of the other sets; then one hyperparameter at a time is shuffled
among the fold's sets, and the importance is by how much the error grows, as a share of the scores' variance. The forest
is asked for nothing it has seen, so that noise gets no importance; whether it learned anything at all is told by R²
over the same folds, and said beside the plot. Two hyperparameters that only matter together both get their share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import permutation_importance
from sklearn.model_selection import KFold

from producer.report.parameters import Parameter, matrix
from producer.report.svg import ACCENT, INK, Plot
from producer.results.leaderboard import Leaderboard
from producer.words import number, plural

LEAST_SETS: Final = 20
MOST_SETS: Final = 2_000
"""Of more, this many are drawn: a forest of 10,000 takes minutes and says the same."""
FOLDS: Final = 5
TREES: Final = 60
REPEATS: Final = 5
WIDTH: Final = 560


@dataclass(frozen=True)
class Importance:
    """What the scores depend on."""

    shares: tuple[tuple[str, float, float], ...]
    """(parameter, mean growth of the error as a share of the variance, its standard deviation), largest first."""
    explained: float
    """R² on sets that the forest had not seen; at 0 or below it learned nothing."""
    sets: int

    @property
    def sentence(self) -> str:
        """Return how far to believe it."""
        if self.explained <= 0:
            return (
                f"A forest learned from {plural(self.sets, 'set')} predicts a set that it has not seen no better than "
                f"the mean does (R² {number(self.explained, 2)}): what follows is noise."
            )
        return (
            f"A forest learned from {plural(self.sets, 'set')} explains {100 * self.explained:.0f} % of the variance "
            "of sets that it has not seen. The bars say how much its error grows when one hyperparameter is shuffled."
        )


def importance(board: Leaderboard, chosen: Sequence[Parameter]) -> Importance | str:
    """Return the importance of what differs between the sets, or why there is none."""
    count = len(board.standings)
    if count < LEAST_SETS:
        return (
            f"There is no parameter importance: {plural(count, 'set')} have results, and below {LEAST_SETS} "
            "it would mostly be chance."
        )
    if len(chosen) < 2:
        return "There is no parameter importance: the sets differ in fewer than two hyperparameters."
    features, scores = matrix(board, chosen)
    if count > MOST_SETS:
        drawn = np.random.default_rng(0).choice(count, MOST_SETS, replace=False)
        features, scores = features[drawn], scores[drawn]
    variance = float(scores.var())
    if variance <= 1e-12 * float(np.abs(scores).max()) ** 2:
        return "There is no parameter importance: all sets have the same score."
    growth, explained = _over_folds(features, scores, variance)
    ranked = sorted(
        zip((one.name for one in chosen), growth.mean(axis=0), growth.std(axis=0), strict=True), key=lambda row: -row[1]
    )
    return Importance(tuple((name, float(mean), float(std)) for name, mean, std in ranked), explained, len(scores))


def _over_folds(
    features: NDArray[np.float64], scores: NDArray[np.float64], variance: float
) -> tuple[NDArray[np.float64], float]:
    """Return the growth of the error (folds × parameters), and R² over all folds."""
    growth, error = [], 0.0
    for learned, held_out in KFold(FOLDS, shuffle=True, random_state=0).split(features):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, random_state=0)
        forest.fit(features[learned], scores[learned])
        error += float(np.square(forest.predict(features[held_out]) - scores[held_out]).sum())
        found = permutation_importance(
            forest,
            features[held_out],
            scores[held_out],
            scoring="neg_mean_squared_error",
            n_repeats=REPEATS,
            random_state=0,
        )
        growth.append(found.importances_mean / variance)
    return np.array(growth), 1.0 - error / (len(scores) * variance)


def draw(found: Importance, name: str) -> Markup:
    """Return the bars."""
    with Plot(name, WIDTH, 70 + 26 * len(found.shares)) as plot:
        plot.figure.set_layout_engine("constrained")  # the names may be long
        axes = plot.figure.add_subplot()
        names = [share[0] for share in found.shares]
        means = [share[1] for share in found.shares]
        spread = [share[2] for share in found.shares]
        axes.barh(range(len(names)), means, xerr=spread, height=0.6, color=ACCENT, error_kw={"ecolor": INK, "lw": 1})
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("growth of the error ÷ variance of the scores")
        listed = ", ".join(f"{name} {number(mean, 2)}" for name, mean, _ in found.shares)
        return plot.svg("Importance of each hyperparameter", f"The largest first: {listed}.")
