"""Row 3: kill -9 of a producer's process at every request."""

from typing import Final

from tests.proof.crash_points import Point, points_at
from tests.proof.herd import Herd
from tests.proof.killed_producers import COMMANDS, kill_at, requests_of
from tests.proof.real_processes import DURATIONS
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.stage import Stage, on_stage

POINTS: Final = 266
"""All that there are."""


def play(stage: Stage, herd: Herd, size: Size, tell: Tell = told) -> Found:
    """Kill each command at each point; at small size at one in the middle."""
    killed = dict.fromkeys(COMMANDS, 0)
    every = [(name, point) for name in COMMANDS for point in points_at(requests_of(stage, herd, name))]
    failures = [] if len(every) == POINTS else [f"there are {len(every)} points: correct POINTS"]

    def found() -> Found:
        figures = {f"kills of {name}": count for name, count in killed.items()}
        return Found(sum(killed.values()), {**figures, "wrong": len(failures)}, tuple(failures))

    for name, point in every[tell.done :] if size == "full" else [_middle(every, name) for name in COMMANDS]:
        failures += [f"{name}, killed {point}: {problem}" for problem in kill_at(stage, herd, name, point)]
        killed[name] += 1
        tell(f"{name}: {killed[name]} kills", found())
    return found()


def _middle(every: list[tuple[str, Point]], name: str) -> tuple[str, Point]:
    its = [one for one in every if one[0] == name]
    return its[len(its) // 2]


def run(size: Size, tell: Tell) -> Found:
    """Play it on a stage of its own."""
    with on_stage() as stage, Herd(stage.folder / "herd", stage.identity, DURATIONS) as herd:
        return play(stage, herd, size, tell)


ROW = Row(
    number=3,
    part="producers",
    promise="kill -9 of a producer at any request of enqueue, retry, delete or drain: the same command mends it",
    run=run,
    wanted=POINTS,
    adds_up=True,
)
