"""Statistics over training runs. The unit is the run, one number a seed: never the episode.

Below `INTERVAL_RUNS` runs there is no interval: a percentile bootstrap would cover 74 % at 3 runs and 85 % at 5 where
it claims 95 %. From there on a t interval is given for the mean, and from `IQM_RUNS` on a BCa interval for the
interquartile mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, stats

Runs = Sequence[float]
"""Scores of one hyperparameter set, one a seed."""

CONFIDENCE = 0.95
INTERVAL_RUNS = 5
IQM_RUNS = 10
POWER = 0.8
MOST_SEEDS = 50
"""Two sets that would need more seeds than this to be told apart are as good as tied."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval at 95 %."""

    low: float
    high: float
    method: str
    runs: int


def mean_interval(runs: Runs) -> Interval | None:
    """Return the t interval of the mean, from `INTERVAL_RUNS` runs on."""
    if len(runs) < INTERVAL_RUNS:
        return None
    values = np.asarray(runs, dtype=np.float64)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1) * values.std(ddof=1) / sqrt(len(values)))
    return Interval(float(values.mean()) - half, float(values.mean()) + half, "t", len(values))


def difference_interval(first: Runs, second: Runs) -> Interval | None:
    """Return Welch's t interval of the difference of the means, first − second, from `INTERVAL_RUNS` runs each on.

    None also where neither has any spread.
    """
    fewest = min(len(first), len(second))
    if fewest < INTERVAL_RUNS or (min(first) == max(first) and min(second) == max(second)):
        return None
    found = stats.ttest_ind(first, second, equal_var=False).confidence_interval(CONFIDENCE)
    return Interval(float(found.low), float(found.high), "Welch", fewest)


def interquartile_mean(runs: Runs) -> float | None:
    """Return the mean of the middle half, from `IQM_RUNS` runs on (Agarwal et al. 2021, arXiv:2108.13264)."""
    if len(runs) < IQM_RUNS:
        return None
    return float(stats.trim_mean(np.asarray(runs, dtype=np.float64), 0.25))


def iqm_interval(runs: Runs, seed: int = 0) -> Interval | None:
    """Return the BCa bootstrap interval of the interquartile mean; None where it has none, or all runs are equal."""
    if len(runs) < IQM_RUNS or min(runs) == max(runs):
        return None

    def middle(sample: NDArray[np.float64], axis: int = -1) -> Any:
        return stats.trim_mean(sample, 0.25, axis=axis)

    found = stats.bootstrap(
        (np.asarray(runs, dtype=np.float64),),
        middle,
        confidence_level=CONFIDENCE,
        method="BCa",
        n_resamples=4_999,
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    if not (isfinite(found.low) and isfinite(found.high)):
        return None
    return Interval(float(found.low), float(found.high), "BCa", len(runs))


def welch(leader: Runs, others: Sequence[Runs]) -> tuple[float | None, ...]:
    """Return the two-sided p of Welch's t test of each set against the leader.

    None where one has a single run, or neither has any spread to judge by.
    """
    if not others:
        return ()
    sets = [np.asarray(runs, dtype=np.float64) for runs in (leader, *others)]
    counts = np.array([len(runs) for runs in sets])
    means = np.array([runs.mean() for runs in sets])
    # What is left of equal numbers is rounding, not spread.
    spreads = np.array([0.0 if np.ptp(runs) <= 1e-12 * np.abs(runs).max() else runs.std(ddof=1) for runs in sets])
    tested = (np.minimum(counts[0], counts[1:]) > 1) & (np.maximum(spreads[0], spreads[1:]) > 0)
    index = np.flatnonzero(tested) + 1
    found = stats.ttest_ind_from_stats(
        means[0], spreads[0], counts[0], means[index], spreads[index], counts[index], equal_var=False
    ).pvalue
    p_values: list[float | None] = [None] * len(others)
    for place, p in zip(index, np.atleast_1d(found), strict=True):
        p_values[place - 1] = float(p)
    return tuple(p_values)


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return p values corrected for their number by Holm's step-down method; None stays None and does not count."""
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p))
        corrected[index] = highest
    return tuple(corrected)


def all_pairs(sets: Sequence[Runs]) -> Mapping[tuple[int, int], float | None]:
    """Return the p of Welch's test of every pair (i, j) of sets with i < j, Holm-corrected over all pairs."""
    pairs = [(i, j) for i in range(len(sets)) for j in range(i + 1, len(sets))]
    p_values = [p for i, runs in enumerate(sets) for p in welch(runs, sets[i + 1 :])]
    return dict(zip(pairs, holm(p_values), strict=True))


def rank_one_shares(sets: Sequence[Runs], seed: int = 0) -> tuple[float, ...] | None:
    """Return how often each set has the highest mean when the runs of every set are drawn again, with replacement.

    None where a set has one run only: drawing it again says nothing; nor does it where there is only one set. Equal
    means count for the set that comes first.
    """
    if len(sets) < 2 or any(len(runs) < 2 for runs in sets):
        return None
    draws = max(1_000, min(10_000, 5_000_000 // sum(map(len, sets))))
    rng = np.random.default_rng(seed)
    best = np.full(draws, -np.inf)
    first = np.zeros(draws, dtype=np.int64)
    for index, runs in enumerate(sets):
        values = np.asarray(runs, dtype=np.float64)
        means = values[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
        better = means > best
        best[better], first[better] = means[better], index
    shares = np.bincount(first, minlength=len(sets)) / draws
    return tuple(float(share) for share in shares)


def seeds_to_separate(first: Runs, second: Runs) -> int | None:
    """Return how many seeds each of two sets needs for a t test at 5 % to tell them apart four times in five.

    The difference and the pooled standard deviation are taken as found, which flatters the leader. None: more than
    `MOST_SEEDS`, or one has a single run.
    """
    if min(len(first), len(second)) < 2:
        return None
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    freedom = len(a) + len(b) - 2
    pooled = sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / freedom)
    difference = abs(float(a.mean() - b.mean()))
    if difference <= 0:
        return None
    return seeds_for_effect(difference / pooled) if pooled > 0 else 2


def seeds_for_effect(effect: float) -> int | None:
    """Return the seeds a set needs to show a difference of `effect` standard deviations; None: above `MOST_SEEDS`.

    Power of the two-sided t test of two samples of equal size, by the noncentral t distribution (Cohen 1988, ch. 2).
    """
    for seeds in range(2, MOST_SEEDS + 1):
        freedom, shift = 2 * seeds - 2, effect * sqrt(seeds / 2)
        critical = float(stats.t.ppf(0.975, freedom))
        if shift > critical + 10:
            return seeds  # certain, and the distribution's tail is past what SciPy computes
        if float(stats.nct.sf(critical, freedom, shift)) >= POWER:
            return seeds
    return None


def best_of_equals(sets: int) -> float:
    """Return by how many standard errors the best of `sets` equally good sets looks better than it is.

    The expected maximum of so many standard normal variables: 1.87 for 20.
    """
    if sets < 2:
        return 0.0

    def weighted(x: float) -> float:
        return float(x * sets * stats.norm.pdf(x) * stats.norm.cdf(x) ** (sets - 1))

    return float(integrate.quad(weighted, -10, 10, limit=200)[0])
