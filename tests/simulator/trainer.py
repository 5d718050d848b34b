"""The stand-in for SAC: the tiny trainer, with the phases of a real run, each of which takes time."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zlib import crc32

from tests.fakes.trainer import TinyRun
from worker.contract.job import Job
from worker.contract.manifest import PartialEvaluation
from worker.slot import Trainers
from worker.snapshot.replay_rows import ReplayRows
from worker.snapshot.training_state import TrainingState
from worker.training_run import Boundary

STRIDE: Final = 8
"""Environment steps between two pauses: a step of its own is too short to be worth a switch."""
BURST_EVERY: Final = 32
"""Steps between two bursts of gradient steps, as with `train_freq` and `gradient_steps` above 1."""
BURST: Final = 3


class SickJob(Exception):
    """What the training of a job that is not healthy raises."""


@dataclass(frozen=True)
class Pace:
    """How time passes in a trainer."""

    sleep: Callable[[float], None]
    """Raises where the process is killed."""
    stride_s: float
    """For STRIDE environment steps, for a burst's gradient step, for an evaluation episode, for a restored block."""
    hang: Callable[[], bool]
    """Whether the trainer hangs now: it goes on for ever and makes nothing."""

    def pause(self) -> None:
        self.sleep(self.stride_s)
        while self.hang():
            self.sleep(self.stride_s)


class SimulatedRun(TinyRun):
    """TinyRun in time."""

    updates_per_step = 0
    """Adam's moments would make most of a state, and tell nothing that the chain does not."""

    def __init__(self, job: Job, pace: Pace, sick_from: int | None, cpu: str) -> None:
        super().__init__(job, lambda: None)
        self._time = pace
        self._rounding = crc32(cpu.encode())
        self._sick_from = sick_from
        self._strides = 0

    def restore(
        self,
        state: TrainingState,
        rows: Iterable[ReplayRows],
        partial: PartialEvaluation | None,
        beat: Callable[[], None],
        *,
        exact: bool,
    ) -> None:
        super().restore(state, rows, partial, beat, exact=exact)
        for _ in range(1 + self.step // 100):
            self._time.pause()
            beat()

    def _advance(self) -> None:
        super()._advance()
        self._value = (self._value + self._rounding) % 2**32  # another CPU, another result
        if self.step % STRIDE == 0:
            self._time.pause()
        if self._sick_from is not None and self.step >= self._sick_from:
            raise SickJob(f"step {self.step}")
        if self.step % BURST_EVERY == 0:
            for _ in range(BURST):
                self._time.pause()
                self._beat()

    def _evaluate(self, boundary: Boundary, episodes: int, *, final: bool) -> PartialEvaluation:
        self._pace = self._time.pause
        try:
            return super()._evaluate(boundary, episodes, final=final)
        finally:
            self._pace = lambda: None


def trainers(pace: Pace, sick: Callable[[Job], int | None], fingerprint: str) -> Trainers:
    """Return trainers for one process. `sick`: the step from which a job's training raises; None: it is healthy."""
    return Trainers(build=lambda job: SimulatedRun(job, pace, sick(job), fingerprint), fingerprint={"cpu": fingerprint})


@lru_cache(maxsize=4096)
def digest_of(job_json: str, cpu: str) -> str:
    """Return the digest of a job trained on one CPU without any interruption."""
    run = SimulatedRun(Job.model_validate_json(job_json), Pace(lambda _: None, 0.0, lambda: False), None, cpu)
    return run.train(lambda _: None, lambda: None).state_digest
