"""Row 5: every crash point of workers and producers."""

from typing import Final

from tests.proof.crash_points import SCENARIOS, crash, points
from tests.proof.row import Found, Row, Size, Tell

EVERY: Final = {"small": 17, "full": 1}
"""Of the points of a scenario, every so-manieth."""
POINTS: Final = 1234
"""All that there are; a test counts them."""


def run(size: Size, tell: Tell) -> Found:
    """Crash at every point of every scenario."""
    crashed = dict.fromkeys(SCENARIOS, 0)
    failures: list[str] = []

    def found() -> Found:
        figures = {f"points of {name}": count for name, count in crashed.items()}
        return Found(sum(crashed.values()), {**figures, "wrong": len(failures)}, tuple(failures))

    every = [(name, point) for name, scenario in SCENARIOS.items() for point in points(scenario)]
    for name, point in every[tell.done :: EVERY[size]]:
        failures += [f"{name}, crash {point}: {problem}" for problem in crash(SCENARIOS[name], point)]
        crashed[name] += 1
        tell(f"{name}: {crashed[name]} crash points", found())
    return found()


ROW = Row(
    number=5,
    part="memory",
    promise="A crash at any request of a worker, enqueue, retry, cancel, delete or drain: old or new, and never a mix",
    run=run,
    wanted=POINTS,
    adds_up=True,
)
