"""Which hyperparameters lead, and whether one can believe it. Ranks sets within one environment and its kwargs."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from producer.results import statistics
from producer.results.confirmation import Confirmation, confirmation
from producer.results.entrants import Entrant, Standing, entrants, score_words
from producer.results.progress import SweepProgress
from producer.words import number, plural
from worker.contract.job import EnvironmentSpec


@dataclass(frozen=True)
class Leaderboard:
    """The ranking within one environment."""

    environment: EnvironmentSpec
    standings: tuple[Standing, ...]
    """The best first; at least one."""
    without_result: int
    """Sets of this environment without a finished run."""
    seeds_to_separate: int | None
    """Seeds that would tell the first from the second; None: more than 50, or not to be said."""
    confirmation: Confirmation | None = None
    """What runs on fresh seeds say; None where `confirm` added none."""

    @property
    def leader(self) -> Standing:
        """Return the set that leads."""
        return self.standings[0]

    @cached_property
    def sentence(self) -> str:
        """Return what may be said of the leader, and no more."""
        return sentence(self)

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """Return what a reader must know before believing any of it."""
        return tuple(_warnings(self))


def environment_label(environment: EnvironmentSpec) -> str:
    """Return an environment with its kwargs."""
    kwargs = ", ".join(f"{name}={value}" for name, value in sorted(environment.kwargs.items()))
    return f"{environment.id}({kwargs})" if kwargs else environment.id


# ---- building ------------------------------------------------------------------------------------------------------


def leaderboards(progress: Sequence[SweepProgress]) -> tuple[Leaderboard, ...]:
    """Return one ranking for each environment and its kwargs, over one sweep or several.

    The order is that of the plans. Environments without any finished run have no ranking.
    """
    ranked: dict[bytes, list[Entrant]] = defaultdict(list)
    environments: dict[bytes, EnvironmentSpec] = {}
    without: dict[bytes, int] = defaultdict(int)
    for sweep in progress:
        prefix = f"{sweep.sweep}: " if len(progress) > 1 else ""
        for entrant in entrants(sweep, prefix):
            environment = entrant.configuration.environment
            key = environment.canonical()
            environments.setdefault(key, environment)
            if entrant.runs:
                ranked[key].append(entrant)
            else:
                without[key] += 1
    return tuple(rank(environments[key], ranked[key], without[key]) for key in environments if ranked[key])


def rank(environment: EnvironmentSpec, sets: Sequence[Entrant], without_result: int = 0) -> Leaderboard:
    """Return the ranking of sets with at least one finished run each; equal means keep the order of the plan."""
    ranked = sorted(sets, key=lambda entrant: -entrant.mean)
    leader = ranked[0]
    corrected = statistics.holm(statistics.welch(leader.scores, [other.scores for other in ranked[1:]]))
    shares = statistics.rank_one_shares([entrant.scores for entrant in ranked])
    standings = tuple(
        Standing(
            rank=place + 1,
            entrant=entrant,
            p=corrected[place - 1] if place else None,
            rank_one_share=shares[place] if shares else None,
        )
        for place, entrant in enumerate(ranked)
    )
    seeds = statistics.seeds_to_separate(leader.scores, ranked[1].scores) if len(ranked) > 1 else None
    return Leaderboard(environment, standings, without_result, seeds, confirmation(ranked))


# ---- in words ------------------------------------------------------------------------------------------------------


def sentence(board: Leaderboard) -> str:
    """Return the one sentence about the leader: its score with every seed or an interval, and who is not behind it."""
    leader, others = board.leader, board.standings[1:]
    name = leader.entrant.label
    if not others:
        return f"{name} is the only set with results: {score_words(leader)}."
    parts = [f"{name} leads with {score_words(leader)}"]
    tied = [other for other in others if not other.separated]
    if all(other.p is None for other in others):
        parts.append(f"{_untested(board)}, so nothing is separated")
    elif tied:
        parts.append(f"not separated from {plural(len(tied), 'other')}")
    else:
        parts.append("separated from every other set (exploratory: the leader was selected)")
    parts.append(_confirmed(board))
    return "; ".join(parts) + "."


def _untested(board: Leaderboard) -> str:
    """Return why no set could be compared with the leader."""
    leader, *others = (len(standing.entrant.scores) for standing in board.standings)
    if max(others) < 2:
        return "one seed a set says nothing of the spread"
    return "one seed of the leader says nothing of its spread" if leader < 2 else "no set has any spread between seeds"


def _confirmed(board: Leaderboard) -> str:
    found = board.confirmation
    if found is None:
        return "not confirmed on fresh seeds"
    if found.still_open:
        return f"{found.finished} of {plural(found.planned, 'run')} on fresh seeds have ended"
    if found.winner is None:
        return "no winner on fresh seeds"
    if found.winner.same_set(board.leader.entrant):
        return "and the winner on fresh seeds"
    return f"but on fresh seeds {found.winner.label} is the winner"


def separation(board: Leaderboard) -> str:
    """Return how many seeds would tell the first two apart; empty where there are no two."""
    if len(board.standings) < 2:
        return ""
    first, second = (standing.entrant.scores for standing in board.standings[:2])
    if min(len(first), len(second)) < 2:
        return "With one seed a set, nobody can say how many seeds would separate the first two: run at least 3."
    if board.seeds_to_separate is None:
        return (
            f"More than {statistics.MOST_SEEDS} seeds a set would be needed to separate the first two: treat as tied."
        )
    return f"About {board.seeds_to_separate} seeds a set would separate the first two, if their difference is real."


def selection(board: Leaderboard) -> str:
    """Return how much better than it is the best of so many equal sets would look; empty where it cannot be said."""
    spreads = [float(np.std(s.entrant.scores, ddof=1)) for s in board.standings if len(s.entrant.scores) > 1]
    if len(board.standings) < 3 or not spreads:
        return ""
    runs = float(np.median([len(standing.entrant.scores) for standing in board.standings]))
    errors = statistics.best_of_equals(len(board.standings))
    points = errors * float(np.sqrt(np.mean(np.square(spreads)) / runs))
    return (
        f"Of {len(board.standings)} equally good sets, the best would look {errors:.1f} standard errors "
        f"({number(points)}) better than it is."
    )


def _warnings(board: Leaderboard) -> Iterator[str]:
    sets = [standing.entrant for standing in board.standings]
    runs = [run for entrant in sets for run in (*entrant.runs, *(entrant.fresh.runs if entrant.fresh else ()))]
    yield from _nothing_learned(board)
    missing = sum(len(entrant.runs) < entrant.planned for entrant in sets)
    lacks = (
        *((f"{plural(missing, 'set', 'lack')} seeds",) if missing else ()),
        *((f"{plural(board.without_result, 'set', 'have')} none",) if board.without_result else ()),
    )
    if lacks:
        yield f"Not every run has a result: {' and '.join(lacks)}. The order may change."
    releases = sorted({release for run in runs for release in run.releases})
    if len(releases) > 1:
        yield f"The runs were made by {len(releases)} releases ({', '.join(releases)}): differences may be the code's."
    yield from _mixed(sets)
    inexact = sum(not run.exact for run in runs)
    if inexact:
        yield f"{plural(inexact, 'run')} resumed on another kind of machine, so not bit by bit what one machine makes."


def _nothing_learned(board: Leaderboard) -> Iterator[str]:
    solved_at = board.environment.solved_at
    leader = board.leader.entrant
    if solved_at is not None and leader.mean < solved_at / 2:
        steps = max(standing.entrant.configuration.timesteps for standing in board.standings)
        yield (
            f"No set has learned the task in {steps:,} steps: the best mean return is {number(leader.mean)}, a success "
            f"is {number(solved_at)} or more. The order says little of longer runs."
        )


def _mixed(sets: Iterable[Entrant]) -> Iterator[str]:
    configurations = [entrant.configuration for entrant in sets]
    trainers = sorted({configuration.trainer for configuration in configurations})
    if len(trainers) > 1:
        yield f"The runs were made by different trainers ({', '.join(trainers)})."
    episodes = sorted({configuration.evaluation.final_episodes for configuration in configurations})
    if len(episodes) > 1:
        yield f"Final models were evaluated on {' or '.join(map(str, episodes))} held-out episodes."
    steps = sorted({configuration.timesteps for configuration in configurations})
    if len(steps) > 1:
        yield f"Sets were trained for different lengths, {steps[0]:,} to {steps[-1]:,} steps."
