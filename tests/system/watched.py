"""A training run that a test looks at, and holds, at every boundary: where it stands depends on no machine's pace."""

import threading
from collections.abc import Callable
from typing import Any

from worker.contract.job import Job
from worker.slot import Trainers
from worker.training_run import Boundary, FinishedRun, TrainingRun

LOOK_S = 0.01
Beat = Callable[[], None]
Look = Callable[[TrainingRun, Boundary, Beat], None]


class WatchedRun:
    """A run; `look` is called before the slot's own boundary, which it may call too."""

    def __init__(self, run: TrainingRun, look: Look) -> None:
        self._run, self._look = run, look

    def __getattr__(self, name: str) -> Any:
        return getattr(self._run, name)

    def train(self, boundary: Boundary, beat: Beat) -> FinishedRun:
        def watched(run: TrainingRun) -> None:
            self._look(run, boundary, beat)
            boundary(run)

        return self._run.train(watched, beat)


def watched(trainers: Trainers, look: Look) -> Trainers:
    """Return trainers whose runs are looked at."""

    def build(job: Job) -> TrainingRun:
        run: Any = WatchedRun(trainers.build(job), look)
        built: TrainingRun = run
        return built

    return Trainers(build, trainers.fingerprint)


def hold(run: TrainingRun, boundary: Boundary, beat: Beat, until: Callable[[], bool]) -> None:
    """Keep a run where it is until something is so. Meanwhile it lives, commits and can be stopped, as a slow one."""
    never = threading.Event()
    while not until():
        never.wait(LOOK_S)
        beat()
        boundary(run)
