"""Row 4: answers lost after the operation was applied."""

from collections import Counter
from typing import Final

from tests.proof.lost_replies import OPERATIONS, Trial, lose_many
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.stage import Stage, on_stage

TIMES: Final = {"small": 1, "full": 50}
LANES: Final = {"small": 6, "full": 8}


def play(stage: Stage, size: Size, tell: Tell = told) -> Found:
    """Lose the answers to each kind of request."""
    right: Counter[str] = Counter(dict.fromkeys(OPERATIONS, 0))
    failures: list[str] = []

    def found() -> Found:
        return Found(
            sum(right.values()) + len(failures), {f"right after a lost {op}": n for op, n in right.items()}, failures
        )

    def count(trial: Trial) -> None:
        wrong = trial.wrong if trial.lost else ("the run had no such request", *trial.wrong)
        failures.extend([f"{trial.operation} {trial.number}: {'; '.join(wrong)}"] if wrong else [])
        right[trial.operation] += not wrong
        tell(f"{sum(right.values())} of {len(OPERATIONS) * TIMES[size]} lost answers", found())

    lose_many(stage, TIMES[size], LANES[size], count, tell.done)
    return found()


def run(size: Size, tell: Tell) -> Found:
    """Play it on a stage of its own."""
    with on_stage() as stage:
        return play(stage, size, tell)


ROW = Row(
    number=4,
    promise="A lost answer to send, receive, update, delete, put state or put manifest: no false loss, nothing twice",
    run=run,
    wanted=len(OPERATIONS) * TIMES["full"],
    adds_up=True,
)
