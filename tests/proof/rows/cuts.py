"""Row 7: jobs that are cut at random places and resumed in new processes."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from tests.proof.programs import LANDER_PLACES, PENDULUM_PLACES, lander, pendulum, run_program
from tests.proof.row import Found, Row, Size, Tell, added
from worker.contract.job import Job

SEED: Final = 1
LOSE_EVERY: Final = 3
JOBS: Final[Mapping[str, tuple[Job, frozenset[str]]]] = {
    "LunarLander fast": (lander(), LANDER_PLACES),
    "Pendulum sb3": (pendulum("sb3"), PENDULUM_PLACES),
    "Pendulum fast": (pendulum("fast"), PENDULUM_PLACES),
}
CUTS: Final[Mapping[Size, Mapping[str, int]]] = {
    "small": {"LunarLander fast": 11, "Pendulum sb3": 6, "Pendulum fast": 6},
    "full": {"LunarLander fast": 30, "Pendulum sb3": 10, "Pendulum fast": 10},
}
KILLS: Final = 20
"""Of one job, each in a process of its own, at full size."""


def cut(name: str, cuts: int, folder: Path, seed: int = SEED) -> Found:
    """Cut one job, and compare every piece with the straight run."""
    job, places = JOBS[name]
    report = run_program("tests.proof.cutting", folder, job, cuts=cuts, seed=seed, lose_every=LOSE_EVERY)
    failures = [f"{name}, seed {seed}: {problem}" for problem in _problems(report, cuts, places)]
    return Found(cuts, {"processes that died for nothing": report["killed_for_nothing"]}, failures)


def _problems(report: dict[str, Any], cuts: int, places: frozenset[str]) -> list[str]:
    straight, pieces = report["straight"], report["pieces"]
    wrong = {
        f"{cuts} cuts made {len(pieces)} pieces": len(pieces) != cuts + 1,
        f"no cut was {', '.join(sorted(places - set(report['kinds'])))}": set(report["kinds"]) != places,
        "a state was saved that the straight run did not have": [piece["saved"] for piece in pieces[:-1]]
        != straight["digests"],
        "a state was restored that was not saved": [piece["restored"] for piece in pieces[1:]] != straight["digests"],
        "the outcome is another": pieces[-1]["outcome"] != straight["outcome"],
    }
    return [problem for problem, holds in wrong.items() if holds]


def run(size: Size, tell: Tell) -> Found:
    """Cut every job, and one more 20 times."""
    found = Found(0)
    plan = [(name, count, SEED) for name, count in CUTS[size].items()]
    if size == "full":
        plan.append(("LunarLander fast", KILLS, SEED + 1))
    with tempfile.TemporaryDirectory(prefix="tranquility-proof-") as folder:
        for number, (name, count, seed) in enumerate(plan):
            if sum(one for _, one, _ in plan[: number + 1]) <= tell.done:
                continue  # an earlier slice had it
            tell(f"{name}: {count} cuts", found)
            found = added(found, cut(name, count, Path(folder) / str(number), seed))
    return found


ROW = Row(
    number=7,
    part="cuts",
    promise="A job cut at 50 random places, and 20 times more, and resumed in new processes, is the same bit for bit",
    run=run,
    wanted=sum(CUTS["full"].values()) + KILLS,
    adds_up=True,
)
