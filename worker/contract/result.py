"""A job's result.json: all that is known of one finished training run. The worker writes it once, readers verify it."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from worker.contract.base import SCHEMA_VERSION, Frozen, Sha256
from worker.contract.job import Job
from worker.contract.manifest import Attempt, Manifest
from worker.contract.score import EvaluationSummary, summarise

RESULT = "result.json"
CURVE = "curve.csv"
MODEL = "model.zip"
POLICY = "policy.safetensors"
EPISODES = "episodes.csv"
"""The parts of a result: the `what` of `names.result`, and the file names of a download."""


class PeriodicEvaluation(Frozen):
    """One evaluation during training, of the policy as it stood at `step`."""

    step: Annotated[int, Field(ge=0)]
    returns: Annotated[tuple[float, ...], Field(min_length=1)]
    lengths: tuple[Annotated[int, Field(ge=1)], ...]
    """Steps of each episode."""

    @property
    def mean(self) -> float:
        """Return the mean return."""
        return float(np.mean(self.returns))


class FinalEvaluation(Frozen):
    """The final model on the held-out episodes, which are the same for every run of one environment."""

    returns: Annotated[tuple[float, ...], Field(min_length=1)]
    lengths: tuple[Annotated[int, Field(ge=1)], ...]
    """Steps of each episode."""


class Result(Frozen):
    """One finished training run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    job: Job
    """Configuration, trainer, seed, sweep and id."""
    step: Annotated[int, Field(ge=0)]
    """Environment steps made; with `train_freq` above 1 a few more than were asked for."""
    episodes: Annotated[int, Field(ge=0)]
    """Training episodes that were finished."""
    updates: Annotated[int, Field(ge=0)]
    """Gradient steps."""
    final: FinalEvaluation
    score: EvaluationSummary
    evaluations: tuple[PeriodicEvaluation, ...]
    seconds: Annotated[float, Field(ge=0)]
    """Time of all attempts, evicted ones included."""
    steps_per_second: Annotated[float, Field(ge=0)]
    """Of the last attempt, evaluations included."""
    attempts: tuple[Attempt, ...]
    attempt_count: Annotated[int, Field(ge=1)]
    eviction_count: Annotated[int, Field(ge=0)]
    lost_steps: Annotated[int, Field(ge=0)]
    """Steps trained after a commit and lost before the next one."""
    release: str
    """The code of the last attempt; earlier ones stand in `attempts`."""
    exact: bool
    """False where some resume was on a machine with another fingerprint."""
    fingerprint: Mapping[str, str]
    """Of the machine that finished: processor, BLAS, threads, versions of the libraries."""
    state_digest: Sha256
    """Of all state that a resume restores, replay buffer included; equal for runs that trained the same."""

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        step: int,
        episodes: int,
        updates: int,
        returns: Sequence[float],
        lengths: Sequence[int],
        evaluations: Sequence[PeriodicEvaluation],
        fingerprint: Mapping[str, str],
        state_digest: str,
    ) -> Self:
        """Return the result of a finished run, with the history of its job as the manifest has it.

        Args:
            manifest: as it is about to be written with status done: time and attempts up to now.
            step: environment steps made.
            episodes: training episodes finished.
            updates: gradient steps made.
            returns: of the held-out episodes, in the order of their seeds.
            lengths: their steps.
            evaluations: the periodic ones, in the order of steps.
            fingerprint: of this machine.
            state_digest: SHA-256 of the run's state, in hex.
        """
        return cls(
            job=manifest.job,
            step=step,
            episodes=episodes,
            updates=updates,
            final=FinalEvaluation(returns=tuple(returns), lengths=tuple(lengths)),
            score=summarise(returns, lengths, manifest.job.configuration.environment.solved_at),
            evaluations=tuple(evaluations),
            seconds=manifest.seconds,
            steps_per_second=manifest.steps_per_second,
            attempts=manifest.attempts,
            attempt_count=manifest.attempt_count,
            eviction_count=manifest.eviction_count,
            lost_steps=manifest.lost_steps,
            release=manifest.attempts[-1].release,
            exact=manifest.exact,
            fingerprint=fingerprint,
            state_digest=state_digest,
        )

    @model_validator(mode="after")
    def _score_is_that_of_the_episodes(self) -> Self:
        if len(self.final.returns) != len(self.final.lengths):
            raise ValueError("every held-out episode has a return and a length")
        solved_at = self.job.configuration.environment.solved_at
        again = summarise(self.final.returns, self.final.lengths, solved_at).model_dump()
        for name, stated in self.score.model_dump().items():
            if not _same(stated, again[name]):
                raise ValueError(f"score.{name} is {stated}, and the episodes make {again[name]}")
        return self

    @property
    def trainer(self) -> str:
        """Return which trainer made this run."""
        return self.job.configuration.trainer


def _same(stated: float | None, computed: float | None) -> bool:
    """Compare up to what another NumPy may sum in another order."""
    if stated is None or computed is None:
        return stated is computed
    return math.isclose(stated, computed, rel_tol=1e-9, abs_tol=1e-9)
