"""Two sweeps side by side: how far the best of one is above the best of the other, and whether one can believe it."""

from collections.abc import Iterator, Sequence

from producer.results import statistics
from producer.results.entrants import SEPARATED_P, Standing, score_words
from producer.results.leaderboard import Leaderboard, environment_label
from producer.words import number


def compared(boards: Sequence[Leaderboard], sweeps: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for each environment in which two sweeps have results; nothing for fewer sweeps than two."""
    if len(sweeps) != 2:
        return
    for board in boards:
        sets = [[standing for standing in board.standings if standing.entrant.sweep == sweep] for sweep in sweeps]
        if all(sets):
            first, second = sorted((of_sweep[0] for of_sweep in sets), key=lambda standing: standing.rank)
            place = f"In {environment_label(board.environment)}: " if len(boards) > 1 else ""
            chosen = any(len(of_sweep) > 1 for of_sweep in sets)
            yield place + " ".join(_sentences(first, second, chosen=chosen))


def _sentences(first: Standing, second: Standing, *, chosen: bool) -> Iterator[str]:
    """`chosen`: a leader had others of its sweep to be chosen from."""
    ours, theirs = first.entrant, second.entrant
    difference = number(ours.mean - theirs.mean)
    yield (
        f"{ours.label} with {score_words(first)} is {difference} above {theirs.label} with {score_words(second)}."
        if difference != "0"
        else f"{ours.label} with {score_words(first)} and {theirs.label} with {score_words(second)} are level."
    )
    (p,) = statistics.welch(ours.scores, [theirs.scores])
    if p is None:
        yield "There is no spread between seeds to judge the difference by."
        return
    interval = statistics.difference_interval(ours.scores, theirs.scores)
    range_text = f"; 95 % interval {number(interval.low)} to {number(interval.high)}" if interval else ""
    verdict = "The test tells them apart" if p < SEPARATED_P else "The test does not tell them apart"
    yield f"{verdict} (Welch's P {p:.2g}{range_text})."
    if p >= SEPARATED_P:
        seeds = statistics.seeds_to_separate(ours.scores, theirs.scores)
        yield (
            f"About {seeds} seeds a set would, if the difference is real."
            if seeds is not None
            else f"More than {statistics.MOST_SEEDS} seeds a set would be needed: treat them as tied."
        )
    if chosen:
        yield "Exploratory: a leader was chosen among others of its sweep, which flatters it."
