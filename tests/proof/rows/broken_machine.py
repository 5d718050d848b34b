"""Row 3: storage that goes away and comes back, and a disk that is full."""

from typing import Final

from tests.proof.broken_machine import full_disk, restart_under_load, train_on
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.stage import Stage, on_stage

RESTARTS: Final = {"small": 1, "full": 10}
AWAY_S: Final = {"small": 0.0, "full": 5.0}
JOBS: Final = {"small": 1, "full": 20}


def play(stage: Stage, size: Size, tell: Tell = told) -> Found:
    """Restart Azurite under two workers, then fill a worker's disk."""
    tell(f"{RESTARTS[size]} restarts of Azurite under load")
    failures = [f"after restarts: {wrong}" for wrong in restart_under_load(stage, RESTARTS[size], AWAY_S[size])]
    figures: dict[str, int | float | str] = {"restarts of Azurite": RESTARTS[size]}
    try:
        with full_disk() as disk:
            failures += [f"on a full disk: {wrong}" for wrong in train_on(disk, JOBS[size])]
        figures["jobs on a full disk"] = JOBS[size]
    except PermissionError as error:
        figures["jobs on a full disk"] = f"none, since {error}"
    return Found(RESTARTS[size], {**figures, "wrong": len(failures)}, failures)


def run(size: Size, tell: Tell) -> Found:
    """Play it on a stage of its own."""
    with on_stage() as stage:
        return play(stage, size, tell)


ROW = Row(
    number=3,
    part="machine",
    promise="Azurite restarted under load, and a worker's disk full: every job ends, with the same digest",
    run=run,
    wanted=RESTARTS["full"],
)
