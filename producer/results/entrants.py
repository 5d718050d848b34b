"""Who takes part in a ranking: the hyperparameter sets of a sweep, each with its finished runs, and their places."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from producer.results import statistics
from producer.results.progress import JobProgress, SweepProgress
from producer.results.statistics import Interval
from producer.words import label_keys, number, plural, set_label
from worker.contract.job import Configuration
from worker.contract.plan import Plan, resolve
from worker.contract.score import EvaluationSummary

SEPARATED_P = 0.05
SHOWN_SEEDS = 5
"""Seeds that a sentence lists one by one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One finished training run."""

    job: str
    seed: int
    score: EvaluationSummary
    releases: tuple[str, ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class FreshRuns:
    """Runs on seeds that had no part in choosing the set."""

    planned: int
    still_open: int
    """Of those planned, neither finished nor ended otherwise."""
    runs: tuple[Run, ...]
    """The finished ones, in the order of seeds."""


@dataclass(frozen=True)
class Entrant:
    """A hyperparameter set with its finished runs."""

    sweep: str
    index: int
    """Into the plan's sets."""
    label: str
    differs: Mapping[str, Any]
    configuration: Configuration
    """As far as ranking needs it: environment, lengths, trainer, evaluation."""
    planned: int
    """Seeds in the plan."""
    runs: tuple[Run, ...]
    """In the order of seeds; in a ranking at least one."""
    fresh: FreshRuns | None = None
    """What `confirm` added."""

    def same_set(self, other: "Entrant") -> bool:
        """Return whether both are the same set of the same sweep."""
        return (self.sweep, self.index) == (other.sweep, other.index)

    @cached_property
    def scores(self) -> tuple[float, ...]:
        """Return the score of each run: the mean return of its final model over the held-out episodes."""
        return tuple(run.score.mean for run in self.runs)

    @cached_property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(np.mean(self.scores))

    @property
    def worst(self) -> float:
        """Return the score of the worst seed."""
        return min(self.scores)

    @property
    def solved(self) -> float | None:
        """Return the share of held-out episodes that count as a success, over all seeds."""
        shares = [run.score.solved for run in self.runs if run.score.solved is not None]
        return float(np.mean(shares)) if shares else None

    @property
    def percentile_5(self) -> float:
        """Return the 5th percentile of a run's held-out returns, mean over seeds."""
        return float(np.mean([run.score.percentile_5 for run in self.runs]))


@dataclass(frozen=True)
class Standing:
    """A set and its place."""

    rank: int
    entrant: Entrant
    p: float | None
    """Welch's test against the leader, Holm-corrected; None for the leader, and where a set has one run. In a ranking
    it is exploratory, since the leader was selected; on fresh seeds it is corrected over all pairs, and is not."""
    rank_one_share: float | None
    """How often it leads when seeds are drawn again."""

    @cached_property
    def interval(self) -> Interval | None:
        """Return the interval of the mean; from 5 seeds on."""
        return statistics.mean_interval(self.entrant.scores)

    @cached_property
    def iqm(self) -> float | None:
        """Return the interquartile mean; from 10 seeds on."""
        return statistics.interquartile_mean(self.entrant.scores)

    @cached_property
    def iqm_interval(self) -> Interval | None:
        """Return the interval of the interquartile mean; from 10 seeds on. It takes a bootstrap, so ask for few."""
        return statistics.iqm_interval(self.entrant.scores)

    @property
    def separated(self) -> bool:
        """Return whether the test tells it from the leader."""
        return self.p is not None and self.p < SEPARATED_P


def entrants(sweep: SweepProgress, prefix: str) -> Iterator[Entrant]:
    """Yield every set of a sweep, also those without a finished run; `prefix` goes before the labels."""
    plan = sweep.plan
    keys = label_keys([planned.differs for planned in plan.sets[:300]])
    jobs: dict[int, list[JobProgress]] = defaultdict(list)
    fresh: dict[int, list[JobProgress]] = defaultdict(list)
    for job in sweep.jobs:
        (fresh if job.fresh else jobs)[job.set].append(job)
    for index, one in enumerate(plan.sets):
        added = fresh[index]
        yield Entrant(
            sweep=sweep.sweep,
            index=index,
            label=prefix + set_label(one.differs, keys),
            differs=one.differs,
            configuration=_ranked_as(plan, index),
            planned=len(jobs[index]),
            runs=_finished(jobs[index]),
            fresh=FreshRuns(len(added), sum(not job.terminal for job in added), _finished(added)) if added else None,
        )


def _finished(jobs: Iterable[JobProgress]) -> tuple[Run, ...]:
    runs = [
        Run(job.id, job.seed, job.score, job.releases, job.exact)
        for job in jobs
        if job.state == "done" and job.score is not None
    ]
    return tuple(sorted(runs, key=lambda run: run.seed))


def _ranked_as(plan: Plan, index: int) -> Configuration:
    """Return a set's configuration as far as ranking needs it; resolving 10,000 sets in full takes seconds."""
    matters = {
        key: value
        for key, value in plan.sets[index].differs.items()
        if key.split(".")[0] == "env" or key.split(".")[0] in Configuration.model_fields
    }
    return resolve(plan.common, matters) if matters else plan.common


def score_words(standing: Standing) -> str:
    """Return a score with every seed, or from 5 seeds on with its interval."""
    runs, count = standing.entrant.scores, len(standing.entrant.scores)
    seeds = plural(count, "seed")
    mean = number(standing.entrant.mean)
    if standing.interval is not None:
        low, high = number(standing.interval.low), number(standing.interval.high)
        return f"{mean} (95 % {standing.interval.method} interval {low} to {high}; {seeds})"
    listed = ", ".join(number(run) for run in sorted(runs)[:SHOWN_SEEDS])
    return f"{mean} ({listed}; {seeds})" if count > 1 else f"{mean} ({seeds})"
