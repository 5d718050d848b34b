"""A tiny deterministic trainer with the real state interface: a chain of numbers in place of networks."""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np

from worker.contract.errors import CheckpointCorrupt
from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job, PolicyKwargs
from worker.contract.manifest import PartialEvaluation
from worker.contract.score import summarise
from worker.slot import Trainers
from worker.snapshot.curve import Curve, EvaluationRow
from worker.snapshot.episodes import episodes_csv
from worker.snapshot.random_streams import Pcg64, RandomStreams, StreamsHead
from worker.snapshot.replay_rows import ReplayRows
from worker.snapshot.training_state import (
    Counters,
    CursorHead,
    EnvironmentCursor,
    TrainingState,
    expected_tensors,
    optimizers,
)
from worker.training_run import Boundary, FinishedRun, Snapshot

OBSERVATION, ACTION = 3, 1  # Pendulum's
_STREAM = Pcg64(state=1, inc=1, has_uint32=0, uinteger=0)


def tiny_job(sweep: str = "tiny", seed: int = 0, timesteps: int = 60, **hyperparameters: object) -> Job:
    """Return a job that `TinyRun` trains in no time."""
    configuration = Configuration(
        environment=EnvironmentSpec(id="Pendulum-v1"),
        timesteps=timesteps,
        trainer="sb3",
        hyperparameters=Hyperparameters.model_validate(
            {"policy_kwargs": PolicyKwargs(net_arch=(1,)), "buffer_size": 1000, **hyperparameters}
        ),
        evaluation=Evaluation(every=100, episodes=2, final_episodes=3),
    )
    return Job.of(sweep, configuration, seed)


class TinyRun:
    """Every step is one number of a chain, and one replay row made from it."""

    updates_per_step = 1

    def __init__(self, job: Job, pace: Callable[[], None]) -> None:
        self._job = job
        self._pace = pace
        self._capacity = job.configuration.hyperparameters.buffer_size
        self._numbers: list[int] = []
        self._first = 0
        self._value = int(job.id[:8], 16)
        self._curve = Curve()
        self._evaluating: PartialEvaluation | None = None
        self._beat: Callable[[], None] = lambda: None

    @property
    def step(self) -> int:
        return self._first + len(self._numbers)

    @property
    def latest_return(self) -> float | None:
        return float(self._value % 400) if self.step else None

    @property
    def partial_evaluation(self) -> PartialEvaluation | None:
        return self._evaluating

    def restore(
        self,
        state: TrainingState,
        rows: Iterable[ReplayRows],
        partial: PartialEvaluation | None,
        beat: Callable[[], None],
        *,
        exact: bool,
    ) -> None:
        beat()
        held = ReplayRows.concatenate(rows) if state.counters.rows else None
        oldest = max(0, state.counters.rows - self._capacity)
        if held is not None:
            if held.first_row > oldest or held.stop_row != state.counters.rows:
                raise CheckpointCorrupt("The rows do not reach from the oldest to the newest.")
            self._numbers = [int(value) for value in held.slice(oldest, held.stop_row).rewards]
        self._first = oldest
        self._value = int(state.streams.python_key[0])
        self._curve = state.curve
        self._evaluating = partial

    def train(self, boundary: Boundary, beat: Callable[[], None]) -> FinishedRun:
        evaluation = self._job.configuration.evaluation
        self._beat = beat
        while self.step < self._job.configuration.timesteps:
            boundary(self)
            due = self.step // evaluation.every * evaluation.every
            if due and due == self.step and all(row.step != due for row in self._curve.evaluations):
                done = self._evaluate(boundary, evaluation.episodes, final=False)
                self._curve = self._curve.with_evaluation(EvaluationRow(due, done.returns, done.lengths))
                self._evaluating = None
            self._advance()
        boundary(self)
        final = self._evaluate(boundary, evaluation.final_episodes, final=True)
        return self._finished(final)

    def capture(self, rows_from: int) -> Snapshot:
        return Snapshot(state=self._state(), rows=self._rows(max(rows_from, self._first)), partial=self._evaluating)

    def _advance(self) -> None:
        self._pace()
        self._value = (self._value * 1_664_525 + 1_013_904_223) % 2**32
        self._numbers.append(self._value % 2**20)
        if len(self._numbers) > self._capacity:
            self._numbers.pop(0)
            self._first += 1
        self._beat()

    def _evaluate(self, boundary: Boundary, episodes: int, *, final: bool) -> PartialEvaluation:
        partial = self._evaluating
        if partial is None or (partial.final, partial.step) != (final, self.step):
            partial = PartialEvaluation(step=self.step, final=final)
        self._evaluating = partial
        while len(partial.returns) < episodes:
            self._pace()
            boundary(self)
            partial = PartialEvaluation(
                step=self.step,
                final=final,
                returns=(*partial.returns, float((self._value + len(partial.returns)) % 300)),
                lengths=(*partial.lengths, 1 + self._value % 7),
            )
            self._evaluating = partial
            self._beat()
        return partial

    def _finished(self, final: PartialEvaluation) -> FinishedRun:
        digest = hashlib.sha256(self._state().encode() + self._rows(self._first).encode()).hexdigest()
        return FinishedRun(
            step=self.step,
            episodes=0,
            updates=self.step,
            evaluation=final,
            summary=summarise(final.returns, final.lengths, None),
            curve=self._curve,
            state_digest=digest,
            model_zip=b"a model for people",
            policy=b"a policy",
            episode_log=episodes_csv(self._rows(self._first)),
        )

    def _state(self) -> TrainingState:
        configuration = self._job.configuration
        words = np.zeros(624, dtype=np.uint32)
        words[0] = self._value
        head = StreamsHead(
            numpy_position=0,
            numpy_has_gauss=0,
            numpy_gauss=0.0,
            python_position=0,
            python_gauss=None,
            action_space=_STREAM,
        )
        updates = self.step * self.updates_per_step
        shapes = expected_tensors(configuration, updated=updates > 0)
        return TrainingState(
            counters=Counters(step=self.step, updates=updates, episodes=0, rows=self.step),
            tensors={name: np.full(shape, self.step, dtype=np.float32) for name, shape in shapes.items()},
            learning_rates=dict.fromkeys(optimizers(configuration), 3e-4),
            streams=RandomStreams(head, np.zeros(624, np.uint32), np.zeros(5056, np.uint8), words),
            cursor=EnvironmentCursor(
                CursorHead(before_reset=_STREAM, now=_STREAM), np.zeros((0, ACTION), dtype=np.float32)
            ),
            last_observation=np.zeros(OBSERVATION, dtype=np.float32),
            recent_returns=np.zeros(0, dtype=np.float64),
            recent_lengths=np.zeros(0, dtype=np.int64),
            curve=self._curve,
        )

    def _rows(self, rows_from: int) -> ReplayRows:
        numbers = np.array(self._numbers[rows_from - self._first :], dtype=np.float32)
        n = len(numbers)
        return ReplayRows(
            first_row=rows_from,
            observations=np.repeat(numbers[:, None], OBSERVATION, axis=1),
            next_observations=np.repeat(numbers[:, None] + 1, OBSERVATION, axis=1),
            actions=np.zeros((n, ACTION), dtype=np.float32),
            rewards=numbers,
            dones=np.zeros(n, dtype=np.bool_),
            timeouts=np.zeros(n, dtype=np.bool_),
        )


def tiny_trainers(pace: Callable[[], None] = lambda: None) -> Trainers:
    """Return trainers that build `TinyRun`s."""
    return Trainers(build=lambda job: TinyRun(job, pace), fingerprint={"cpu": "tiny"})


def straight_digest(job: Job) -> str:
    """Return the digest of `job` trained without any interruption."""
    return TinyRun(job, lambda: None).train(lambda _run: None, lambda: None).state_digest
