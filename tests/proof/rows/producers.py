"""Row 3: kill -9 of a producer's process at every request."""

from typing import Final

from tests.proof.crash_points import Point
from tests.proof.herd import Herd
from tests.proof.killed_producers import COMMANDS, kill_at, requests_of
from tests.proof.real_processes import DURATIONS
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.stage import Stage, on_stage

EVERY: Final = {"small": 1_000, "full": 1}
"""Of the points of a command, every so-manieth."""
POINTS: Final = 266
"""All that there are; a test compares."""


def play(stage: Stage, herd: Herd, size: Size, tell: Tell = told) -> Found:
    """Kill each command at each point."""
    killed = dict.fromkeys(COMMANDS, 0)
    failures: list[str] = []
    there_are = 0

    def found() -> Found:
        figures = {"points": there_are, **{f"kills of {name}": count for name, count in killed.items()}}
        return Found(sum(killed.values()), {**figures, "wrong": len(failures)}, failures)

    for name in COMMANDS:
        count = requests_of(stage, herd, name)
        points = [Point(at, after) for at in range(1, count + 1) for after in (False, True)]
        there_are += len(points)
        for point in points[len(points) // 2 :: EVERY[size]] if size == "small" else points:
            failures += [f"{name}, killed {point}: {problem}" for problem in kill_at(stage, herd, name, point)]
            killed[name] += 1
            tell(f"{name}: {killed[name]} of {len(points)} kills", found())
    return found()


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
)
