"""Row 10: mutants of single lines, each killed by a test."""

from typing import Final

from tests.proof.broken_lines import MUTANTS
from tests.proof.mutants import Fate, kill_all
from tests.proof.row import Found, Row, Size, Tell

TRIED: Final = {"small": 1, "full": len(MUTANTS)}


def run(size: Size, tell: Tell) -> Found:
    """Try to kill them."""
    fates: list[Fate] = []

    def found() -> Found:
        alive = [fate.mutant for fate in fates if not fate.killed_by]
        figures = {"killed": len(fates) - len(alive), "alive": len(alive)}
        return Found(len(fates), figures, [f"{mutant.file}: {mutant.name}" for mutant in alive])

    def count(fate: Fate) -> None:
        fates.append(fate)
        tell(f"{fate.mutant.name}: {fate.killed_by or 'alive'}", found())

    kill_all(MUTANTS[tell.done : TRIED[size]], count)
    return found()


ROW = Row(
    number=10,
    part="lines",
    promise="A line written as by somebody who did not know its rule makes a test fail: `make mutants` says which",
    run=run,
    wanted=len(MUTANTS),
    adds_up=True,
)
