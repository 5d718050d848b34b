"""Row 3: storage that goes away and comes back, and a disk that is full."""

from typing import Final

from tests.proof.broken_machine import fill, fill_the_disk_of_azurite, restart_under_load, small_disk, train_on
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.stage import Stage, on_stage

TIMES: Final = {"small": 1, "full": 10}
"""Of restarts, and of full disks under Azurite."""
AWAY_S: Final = {"small": 0.0, "full": 5.0}
FULL_S: Final = {"small": 0.0, "full": 30.0}
"""Longer than the visibility timeout, from when a worker has noticed."""
JOBS: Final = {"small": 1, "full": 20}


def play(stage: Stage, size: Size, tell: Tell = told) -> Found:
    """Restart Azurite under two workers, fill its disk under them, then fill a worker's disk."""
    times = TIMES[size]
    tell(f"{times} restarts of Azurite under load")
    failures = [f"after restarts: {wrong}" for wrong in restart_under_load(stage, times, AWAY_S[size])]
    figures: dict[str, int | float | str] = {"restarts of Azurite": times}
    trials = times
    try:
        tell(f"{times} times a full disk under Azurite", Found(trials, figures, failures))
        wrong = fill_the_disk_of_azurite(stage, times, FULL_S[size])
        failures += [f"after a full disk under Azurite: {one}" for one in wrong]
        trials, figures["full disks under Azurite"] = trials + times, times
        with small_disk("64k") as disk:
            fill(disk)
            failures += [f"on a full disk: {wrong}" for wrong in train_on(disk, JOBS[size])]
        figures["jobs on a full disk"] = JOBS[size]
    except PermissionError as error:
        figures["full disks"] = f"none, since {error}"
    return Found(trials, {**figures, "wrong": len(failures)}, failures)


def run(size: Size, tell: Tell) -> Found:
    """Play it on a stage of its own."""
    with on_stage() as stage:
        return play(stage, size, tell)


ROW = Row(
    number=3,
    part="machine",
    promise="Azurite restarted, or its disk full, under load, or a worker's disk full: every job ends, with its digest",
    run=run,
    wanted=2 * TIMES["full"],
)
