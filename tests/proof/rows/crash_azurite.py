"""Row 5: every crash point of a worker, with real processes over Azurite. Those of producers are in row 3-producers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from tests.proof.crash_points import Point, points_at
from tests.proof.herd import Herd
from tests.proof.killed_workers import kill_at, requests_of
from tests.proof.real_processes import DURATIONS
from tests.proof.row import Found, Row, Size, Tell, told
from tests.proof.stage import Stage, on_stage
from tests.proof.worker_process import AT_STEP

EVERY: Final = {"small": 120, "full": 1}
"""Of all points, every so-manieth."""
POINTS: Final = 330
"""So many there are at least: threads race, and with them a few of the 120 requests or so of each scenario."""
LANES: Final = 6
"""Points at a time: most of a point's time is spent on waiting for a message to be visible again."""


def play(stage: Stage, herd: Herd, size: Size, tell: Tell = told) -> Found:
    """Kill a worker at each point of each scenario."""
    killed = dict.fromkeys(AT_STEP, 0)
    every = [(name, point) for name in AT_STEP for point in points_at(requests_of(stage, herd, name))]
    failures = [] if len(every) >= POINTS else [f"there are {len(every)} points: correct POINTS"]
    not_reached = 0
    one_at_a_time = threading.Lock()

    def found() -> Found:
        figures = {f"kills in {name}": count for name, count in killed.items()}
        figures |= {"not reached": not_reached, "wrong": len(failures)}
        return Found(sum(killed.values()), figures, tuple(failures))

    def kill(name: str, point: Point) -> None:
        nonlocal not_reached
        wrong = kill_at(stage, herd, name, point)
        with one_at_a_time:
            killed[name] += wrong is not None
            not_reached += wrong is None
            failures.extend(f"{name}, killed {point}: {problem}" for problem in wrong or ())
            tell(f"{name}: {killed[name]} kills", found())

    with ThreadPoolExecutor(LANES) as pool:
        chosen = every[tell.done + EVERY[size] // 2 :: EVERY[size]]
        kills = [pool.submit(kill, name, point) for name, point in chosen]
        try:
            for one in kills:
                one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found()


def run(size: Size, tell: Tell) -> Found:
    """Play it on a stage of its own."""
    with on_stage() as stage, Herd(stage.folder / "herd", stage.identity, DURATIONS) as herd:
        return play(stage, herd, size, tell)


ROW = Row(
    number=5,
    part="azurite",
    promise="kill -9 of a worker at any request of a job's life or an eviction, over Azurite: old or new, never a mix",
    run=run,
    wanted=POINTS,
    adds_up=True,
)
