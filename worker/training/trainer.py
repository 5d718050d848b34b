"""One job's training from any point to its end: a TrainingRun over SB3's SAC."""

import io
from collections.abc import Callable, Iterable

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback

from worker.contract.errors import CheckpointCorrupt, Diverged
from worker.contract.job import Job
from worker.contract.manifest import PartialEvaluation
from worker.contract.score import summarise
from worker.snapshot.curve import Curve, EvaluationRow
from worker.snapshot.episodes import episodes_csv
from worker.snapshot.replay_rows import ReplayRows
from worker.snapshot.training_state import TrainingState
from worker.training.algorithm import build
from worker.training.environment import TrainingEnvironment, make_for_job
from worker.training.evaluation import evaluate
from worker.training.metrics import check_losses, curve_row, passed, steps_between_rows
from worker.training.policy import encode_policy
from worker.training.state import buffer_of, capture, check_weights, restore, state_digest
from worker.training_run import Boundary, FinishedRun, Snapshot

NEVER = 2**62
"""Episodes between SB3's own log lines, which carry the clock."""


def import_the_rest() -> None:
    """Import what torch itself leaves until its first optimizer: seconds without a sign of progress, in mid-job."""
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


class SacRun:
    """A TrainingRun that trains with torch in this process."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._configuration = job.configuration
        self._curve = Curve()
        self._partial: PartialEvaluation | None = None
        self._environment: TrainingEnvironment | None = None
        self._model: SAC | None = None

    @property
    def step(self) -> int:
        """Environment steps done."""
        return self._model.num_timesteps if self._model else 0

    @property
    def latest_return(self) -> float | None:
        """Return of the last finished training episode."""
        episodes = self._model.ep_info_buffer if self._model else None
        return float(episodes[-1]["r"]) if episodes else None

    @property
    def partial_evaluation(self) -> PartialEvaluation | None:
        """The evaluation under way, with its finished episodes."""
        return self._partial

    def restore(
        self,
        state: TrainingState,
        rows: Iterable[ReplayRows],
        partial: PartialEvaluation | None,
        beat: Callable[[], None],
        *,
        exact: bool,
    ) -> None:
        """Become the run that was captured; see TrainingRun."""
        self._curve = state.curve
        self._partial = partial
        if partial is not None and not self._continues(partial, state.step):
            kind = "final" if partial.final else "periodic"
            raise CheckpointCorrupt(f"The {kind} evaluation under way at step {partial.step} is not one of this state.")
        try:
            model, environment = self._build(seed=None)
            restore(model, environment, state, rows, beat, exact=exact)
        except BaseException:  # in mid-download storage may end, or a stop come: nobody else closes what was built
            self.close()
            raise

    def train(self, boundary: Boundary, beat: Callable[[], None]) -> FinishedRun:
        """Train from where it stands to the end; see TrainingRun."""
        model = self._model or self._build(seed=self._job.seed)[0]
        buffer_of(model).on_sample = beat
        try:
            remaining = self._configuration.timesteps - model.num_timesteps
            if remaining > 0:
                # SB3 adds the steps done to this number, so that schedules go on where they were.
                hook = _AtEveryRollout(lambda: self._at_rollout(model, boundary, beat), beat)
                model.learn(remaining, callback=hook, log_interval=NEVER, reset_num_timesteps=False)
            self._measure(model, boundary, beat)
            final = self._evaluate(model, boundary, beat, final=True)
            return self._finish(model, final)
        except (ValueError, ArithmeticError, AssertionError):
            check_weights(model)  # which may be what torch or the environment stumbled over
            raise
        finally:
            self.close()

    def capture(self, rows_from: int) -> Snapshot:
        """Copy the run; see TrainingRun."""
        model, environment = self._standing()
        state = capture(model, environment, self._curve)
        buffer = buffer_of(model)
        rows = buffer.copy_rows(max(rows_from, buffer.total - buffer.buffer_size, 0), buffer.total)
        if not all(np.isfinite(part).all() for part in (rows.observations, rows.next_observations, rows.rewards)):
            raise Diverged(f"The environment gave an observation or reward that is not finite by step {self.step}.")
        return Snapshot(state, rows, self._partial)

    def close(self) -> None:
        """Release the environment."""
        if self._environment is not None:
            self._environment.close()

    def _build(self, seed: int | None) -> tuple[SAC, TrainingEnvironment]:
        torch.set_num_threads(1)
        # As use_deterministic_algorithms(True), without its import of the compiler, which takes seconds.
        torch.set_deterministic_debug_mode("error")
        self._environment = TrainingEnvironment(make_for_job(self._configuration.environment))
        self._model = build(self._configuration, self._environment, seed)
        return self._model, self._environment

    def _standing(self) -> tuple[SAC, TrainingEnvironment]:
        if self._model is None or self._environment is None:
            raise RuntimeError("a run is captured at a boundary, and this one has reached none")
        return self._model, self._environment

    def _at_rollout(self, model: SAC, boundary: Boundary, beat: Callable[[], None]) -> None:
        check_losses(model)
        self._measure(model, boundary, beat)
        boundary(self)

    def _measure(self, model: SAC, boundary: Boundary, beat: Callable[[], None]) -> None:
        """Add to the curve what is due at this step, and has not been added before the run was captured here."""
        _, environment = self._standing()
        last_row = self._curve.rows[-1].step if self._curve.rows else 0
        last_episode_end = model.num_timesteps - environment.episode_steps
        if passed(steps_between_rows(self._configuration.timesteps), last_row, last_episode_end):
            self._curve = self._curve.with_row(curve_row(model))
        if self._periodic_is_due(model.num_timesteps):
            done = self._evaluate(model, boundary, beat, final=False)
            self._curve = self._curve.with_evaluation(EvaluationRow(done.step, done.returns, done.lengths))

    def _periodic_is_due(self, step: int) -> bool:
        last = self._curve.evaluations[-1].step if self._curve.evaluations else 0
        return passed(self._configuration.evaluation.every, last, step)

    def _continues(self, evaluation: PartialEvaluation, step: int) -> bool:
        """Return whether `evaluation` can be the beginning of the one that comes next at `step`."""
        periodic = self._periodic_is_due(step)
        due = not periodic and step >= self._configuration.timesteps if evaluation.final else periodic
        whole = len(evaluation.returns) == len(evaluation.lengths) <= self._episodes(final=evaluation.final)
        return due and whole and evaluation.step == step

    def _episodes(self, *, final: bool) -> int:
        settings = self._configuration.evaluation
        return settings.final_episodes if final else settings.episodes

    def _evaluate(self, model: SAC, boundary: Boundary, beat: Callable[[], None], *, final: bool) -> PartialEvaluation:
        """Fly the episodes of an evaluation that have not been flown yet, and return it whole."""
        check_weights(model)
        start = self._partial or PartialEvaluation(step=model.num_timesteps, final=final)

        def between() -> None:
            boundary(self)
            beat()

        environment = make_for_job(self._configuration.environment)
        try:
            self._partial = evaluation = start
            for evaluation in evaluate(model, environment, start, self._episodes(final=final), between):
                self._partial = evaluation
        finally:
            environment.close()
        self._partial = None
        return evaluation

    def _finish(self, model: SAC, evaluation: PartialEvaluation) -> FinishedRun:
        check_losses(model)
        snapshot = self.capture(rows_from=0)
        counters = snapshot.state.counters
        return FinishedRun(
            step=counters.step,
            episodes=counters.episodes,
            updates=counters.updates,
            evaluation=evaluation,
            summary=summarise(evaluation.returns, evaluation.lengths, self._configuration.environment.solved_at),
            curve=self._curve,
            state_digest=state_digest(snapshot.state, snapshot.rows),
            model_zip=_model_zip(model),
            policy=encode_policy(model, self._job),
            episode_log=episodes_csv(snapshot.rows),
        )


class _AtEveryRollout(BaseCallback):
    """SB3's only consistent point: in `_on_step` the last transition is not in the buffer yet (SB3 #2056)."""

    def __init__(self, at_rollout: Callable[[], None], beat: Callable[[], None]) -> None:
        super().__init__()
        self._at_rollout = at_rollout
        self._beat = beat

    def _on_rollout_start(self) -> None:
        self._at_rollout()

    def _on_step(self) -> bool:
        self._beat()
        return True


def _model_zip(model: SAC) -> bytes:
    """Return the model as SB3 saves it, without the names of classes that only tranquility has."""
    body = io.BytesIO()
    model.save(body, exclude=("replay_buffer_class",))
    return body.getvalue()
