"""What a job's loop and a trainer agree on. Without torch: the simulator has a trainer of its own behind it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from worker.contract.manifest import PartialEvaluation
from worker.contract.score import EvaluationSummary
from worker.snapshot.curve import Curve
from worker.snapshot.replay_rows import ReplayRows
from worker.snapshot.training_state import TrainingState


@dataclass(frozen=True)
class Snapshot:
    """A run at a boundary, copied: nothing in it changes when the run goes on."""

    state: TrainingState
    rows: ReplayRows
    """The rows asked for, as far as the ring buffer still has them."""
    partial: PartialEvaluation | None
    """The evaluation under way at this boundary, if any."""


@dataclass(frozen=True)
class FinishedRun:
    """What training leaves behind."""

    step: int
    """Environment steps done; with `train_freq` above 1 a few more than were asked for."""
    episodes: int
    updates: int
    evaluation: PartialEvaluation
    """The final one, all of its episodes finished."""
    summary: EvaluationSummary
    curve: Curve
    state_digest: str
    """SHA-256 of all state that a resume restores, replay buffer included; equal for runs that trained the same."""
    model_zip: bytes
    """For people: `stable_baselines3.SAC.load` opens it. tranquility itself never reads it."""
    policy: bytes
    """The policy's weights as safetensors, for `play`."""
    episode_log: bytes
    """Return and length of the training episodes, as CSV (`worker.snapshot.episodes`)."""


class Boundary(Protocol):
    """Called where a run can be captured: at every rollout start, and before every step of an evaluation episode.

    It may call `run.capture`, and raises to stop the run there. Evaluation does not touch training, so all calls within
    one evaluation see the same training state; only `run.partial_evaluation` grows, and an unfinished episode is flown
    again after a resume.
    """

    def __call__(self, run: "TrainingRun", /) -> None: ...


class TrainingRun(Protocol):
    """One job being trained. `train` is called once; `restore` right before it, or not at all.

    A run draws from the random streams of the whole process: there is one at a time.
    """

    @property
    def step(self) -> int:
        """Environment steps done."""

    @property
    def latest_return(self) -> float | None:
        """Return of the last finished training episode."""

    @property
    def partial_evaluation(self) -> PartialEvaluation | None:
        """The evaluation under way, with its finished episodes."""

    def restore(
        self,
        state: TrainingState,
        rows: Iterable[ReplayRows],
        partial: PartialEvaluation | None,
        beat: Callable[[], None],
        *,
        exact: bool,
    ) -> None:
        """Become the run that was captured.

        Args:
            state: decoded for this job.
            rows: all rows that the ring buffer held then, in order; older ones may come before them.
            partial: the evaluation that was under way; it must be of the state's step.
            beat: called for every environment step that is replayed.
            exact: False on a machine with another fingerprint, where a replayed episode may come out otherwise.

        Raises:
            CheckpointCorrupt: state and rows do not fit together, or the episode does not replay. The run cannot be
                used any more: restore another generation into a new one.
        """

    def train(self, boundary: Boundary, beat: Callable[[], None]) -> FinishedRun:
        """Train from where it stands to the end, evaluations included.

        Args:
            boundary: called at every point where the run can be captured.
            beat: called for every environment step, update and evaluation step.

        Raises:
            Diverged: a loss, an evaluation's return, or (when captured and at the end) a weight, an observation or a
                reward is not finite.
            BadConfiguration: the environment cannot be made or is not of the kind that SAC needs.
        """

    def capture(self, rows_from: int) -> Snapshot:
        """Copy the run, with the replay rows from the absolute number `rows_from` on; only at a boundary.

        Raises:
            Diverged: a weight, or an observation or reward among the rows, is not finite.
        """
