"""What runs on fresh seeds say of the sets that `confirm` chose: only they may call a set the winner."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from producer.results import statistics
from producer.results.entrants import Entrant, Standing, score_words
from producer.sweep.confirm import FEWEST_SEEDS
from producer.words import plural

FEWEST_SETS = 2


@dataclass(frozen=True)
class Confirmation:
    """The sets with fresh seeds, ranked by those alone."""

    standings: tuple[Standing, ...]
    """The best first; of sets with a finished fresh run. The entrants' runs are the fresh ones."""
    planned: int
    still_open: int
    without: tuple[Entrant, ...] = ()
    """Sets of whose fresh runs none has finished: failed on every seed, they are not beaten but untried."""

    @property
    def finished(self) -> int:
        """Return how many runs on fresh seeds have ended, well or not."""
        return self.planned - self.still_open

    @cached_property
    def winner(self) -> Entrant | None:
        """Return the set that fresh seeds tell from every other confirmed set; None before all runs have ended."""
        if self.still_open or len(self.standings) < FEWEST_SETS:
            return None
        if self._with_few:
            return None
        first, *others = self.standings
        return first.entrant if all(other.separated for other in others) else None

    @property
    def _with_few(self) -> tuple[Entrant, ...]:
        few = (one.entrant for one in self.standings if len(one.entrant.runs) < FEWEST_SEEDS)
        return (*self.without, *few)

    @cached_property
    def sentence(self) -> str:
        """Return what the fresh seeds say."""
        if self.still_open:
            ended = f"{self.finished} of {plural(self.planned, 'run')} on fresh seeds have ended"
            return f"Confirmation under way: {ended}. There is no winner before all have."
        if len(self.standings) < FEWEST_SETS:
            return "Fewer than two sets have finished runs on fresh seeds: there is no winner."
        if self._with_few:
            few = self._with_few[0]
            have = f"{few.label} has {plural(len(few.runs), 'finished run')} on fresh seeds"
            return f"No winner: {have}, and it takes {FEWEST_SEEDS}."
        first, *others = self.standings
        score = score_words(first)
        if self.winner is not None:
            beaten = plural(len(others), "other set")
            return f"Winner: {first.entrant.label} with {score} on fresh seeds, separated from {beaten} tried there."
        tied = ", ".join(other.entrant.label for other in others if not other.separated)
        return f"No winner: on fresh seeds {first.entrant.label} has {score}, not separated from {tied}."


def confirmation(sets: Sequence[Entrant]) -> Confirmation | None:
    """Return what fresh seeds say of the sets that have any; None where none has.

    The best of a few confirmed sets is selected once more, so each is compared with every other one, and Holm's
    correction is over all of these pairs: what then separates the best from the rest holds whichever set is the best.
    """
    chosen = [(entrant, entrant.fresh) for entrant in sets if entrant.fresh is not None]
    if not chosen:
        return None
    tried = [replace(entrant, runs=fresh.runs, planned=fresh.planned) for entrant, fresh in chosen]
    ranked = sorted((entrant for entrant in tried if entrant.runs), key=lambda entrant: -entrant.mean)
    scores = [entrant.scores for entrant in ranked]
    p_values = statistics.all_pairs(scores)
    shares = statistics.rank_one_shares(scores)
    standings = tuple(
        Standing(place + 1, entrant, p_values.get((0, place)), shares[place] if shares else None)
        for place, entrant in enumerate(ranked)
    )
    return Confirmation(
        standings,
        sum(fresh.planned for _, fresh in chosen),
        sum(fresh.still_open for _, fresh in chosen),
        tuple(entrant for entrant in tried if not entrant.runs),
    )
