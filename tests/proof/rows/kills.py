"""Row 3: kill -9 of random workers at random moments."""

from typing import Final

from tests.proof.herd import Herd
from tests.proof.real_processes import DURATIONS, Account, kill_at_random
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.stage import Stage, on_stage

KILLS: Final = {"small": 8, "full": 1000}
JOBS_AT_ONCE: Final = {"small": 3, "full": 200}
PROCESSES: Final = {"small": 2, "full": 8}
SEED: Final = 1


def play(stage: Stage, herd: Herd, size: Size, tell: Tell = told) -> Found:
    """Kill workers until the kills are done; then let the others finish."""
    found = kill_at_random(
        Account(stage.target(), stage.credential),
        herd,
        kills=KILLS[size] - tell.done,
        jobs_at_once=JOBS_AT_ONCE[size],
        processes=PROCESSES[size],
        seed=SEED + tell.done,
        tell=tell,
    )
    wrong = {
        "jobs lost": found.lost,
        "jobs poisoned": found.poisoned,
        "other digests": found.other_bits,
        "runs in which no kill met a job": int(found.claims == found.jobs),
    }
    return Found(
        trials=found.kills,
        figures={"jobs": found.jobs, "claims": found.claims, **wrong},
        failures=[f"{count} {what} (seed {SEED + tell.done})" for what, count in wrong.items() if count],
    )


def run(size: Size, tell: Tell) -> Found:
    """Play it on a stage of its own."""
    with on_stage() as stage, Herd(stage.folder / "herd", stage.identity, DURATIONS) as herd:
        return play(stage, herd, size, tell)


ROW = Row(
    number=3,
    part="kills",
    promise="kill -9 of random workers, 200 jobs at a time on 8: no job lost, none poisoned, all digests equal",
    run=run,
    wanted=KILLS["full"],
    adds_up=True,
)
