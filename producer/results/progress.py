"""How far a sweep is: frozen values from its plan, its hold and one listing of its manifests. No manifest is read."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from pydantic import ValidationError

from producer.sweep.plans import there_is
from worker.contract import names
from worker.contract.beside import beside
from worker.contract.control import Hold, read_hold
from worker.contract.manifest import TERMINAL, as_listed
from worker.contract.plan import Plan, PlannedJob
from worker.contract.plans import PlanReader
from worker.contract.records import BlobStore, Listed
from worker.contract.score import EvaluationSummary

State = Literal["waiting", "running", "evaluating", "silent", "done", "failed", "poisoned", "cancelled"]
"""What a person wants to know: `waiting` has no worker; `silent` has one that has not written for too long."""
_TRAIL = re.compile(r"-?\d+(?:,-?\d+)*")
ALIVE: frozenset[State] = frozenset({"running", "evaluating"})


@dataclass(frozen=True, slots=True)
class JobProgress:
    """One job, as its plan and the listing of its manifest show it."""

    id: str
    set: int
    """Index into the plan's sets."""
    seed: int
    total: int
    """Steps asked for."""
    state: State = "waiting"
    step: int = 0
    """Steps that are safe."""
    reached: int = 0
    latest_return: float | None = None
    trail_text: str = ""
    """Returns over the run so far, as they are listed: of 10,000 jobs a screen shows few."""
    attempts: int = 0
    evictions: int = 0
    lost_steps: int = 0
    steps_per_second: float = 0.0
    seconds: float = 0.0
    """Time of all attempts."""
    worker: str = ""
    exact: bool = True
    releases: tuple[str, ...] = ()
    reason: str = ""
    score: EvaluationSummary | None = None
    age_s: float = 0.0
    """Since the manifest was written."""
    fresh: bool = False
    """Added by `confirm`: no part of the ranking."""

    @property
    def trail(self) -> tuple[float, ...]:
        """Return the returns over the run so far."""
        return tuple(float(value) for value in self.trail_text.split(",")) if self.trail_text else ()

    @property
    def terminal(self) -> bool:
        """Return whether the job has ended."""
        return self.state in TERMINAL

    @property
    def shown_step(self) -> int:
        """Return the step to show: with `train_freq` above 1 a run goes a little further than asked."""
        return min(max(self.reached, self.step), self.total)

    @property
    def eta_s(self) -> float | None:
        """Return the seconds until all steps are made at the present pace; None where it stands still."""
        if self.state not in ALIVE or self.steps_per_second <= 0:
            return None
        return (self.total - self.shown_step) / self.steps_per_second


@dataclass(frozen=True)
class SweepProgress:
    """A sweep at one moment."""

    plan: Plan
    jobs: tuple[JobProgress, ...]
    """In the order of the plan."""
    hold: Hold | None = None

    @property
    def sweep(self) -> str:
        """Return the name of the sweep."""
        return self.plan.sweep

    @cached_property
    def counts(self) -> Mapping[State, int]:
        """Return how many jobs are in each state."""
        return Counter(job.state for job in self.jobs)

    @cached_property
    def ended(self) -> int:
        """Return how many jobs have ended, well or not."""
        return sum(job.terminal for job in self.jobs)

    @property
    def finished(self) -> bool:
        """Return whether every job has ended."""
        return self.ended == len(self.jobs)

    @cached_property
    def alive(self) -> tuple[JobProgress, ...]:
        """Return the jobs that a living worker trains or evaluates."""
        return tuple(job for job in self.jobs if job.state in ALIVE)

    @cached_property
    def steps(self) -> tuple[int, int]:
        """Return the steps made and the steps to make; a job that ended without result has none left to make."""
        open_jobs = [job for job in self.jobs if job.state == "done" or not job.terminal]
        made = sum(job.total if job.state == "done" else job.shown_step for job in open_jobs)
        return made, sum(job.total for job in open_jobs)

    @cached_property
    def steps_per_second(self) -> float:
        """Return the pace of all living jobs together."""
        return sum(job.steps_per_second for job in self.alive)

    @cached_property
    def seconds(self) -> float:
        """Return the time of all attempts of all jobs."""
        return sum(job.seconds for job in self.jobs)

    @cached_property
    def evictions(self) -> int:
        """Return the evictions so far."""
        return sum(job.evictions for job in self.jobs)

    @cached_property
    def lost_steps(self) -> int:
        """Return the steps that evictions and crashes took so far."""
        return sum(job.lost_steps for job in self.jobs)

    @property
    def eta_s(self) -> float | None:
        """Return the seconds until the last job has made its steps, at the present pace; final evaluations come on top.

        None where nothing moves. A job that has just begun counts with the mean pace of the others. At least the time
        of the slowest living job: the tail of a sweep is not shared.
        """
        moving = sum(job.steps_per_second > 0 for job in self.alive)
        if not moving:
            return None
        made, total = self.steps
        pace = self.steps_per_second * len(self.alive) / moving
        return max((total - made) / pace, *(job.eta_s or 0.0 for job in self.alive))


@dataclass
class ProgressReader:
    """Reads one sweep again and again, for a watch: the plan only when it has changed.

    A read is 3 requests and one more for every 5,000 jobs.
    """

    blobs: BlobStore
    sweep: str
    silent_after_s: float
    """A running job whose manifest is older has no living worker: the protocol's visibility timeout."""

    def __post_init__(self) -> None:
        self._plans = PlanReader(self.blobs)

    def read(self) -> SweepProgress:
        """Return the sweep as it is now. Raises InputError where there is no such sweep, and StorageError."""
        # Of 10,000 jobs either takes a while.
        listing = beside("manifests", lambda: tuple(self.blobs.list(names.SWEEPS, names.manifests(self.sweep))))
        plan = there_is(self._plans.find(self.sweep), self.blobs, self.sweep).plan
        seen = {blob.name.rpartition("/")[2]: blob for blob in listing.result()}
        totals = [int(planned.differs.get("timesteps", plan.common.timesteps)) for planned in plan.sets]
        jobs = tuple(
            job_progress(planned, totals[planned.set], seen.get(planned.id), self.silent_after_s)
            for planned in plan.jobs
        )
        return SweepProgress(plan, jobs, read_hold(self.blobs, self.sweep))


def job_progress(planned: PlannedJob, total: int, blob: Listed | None, silent_after_s: float) -> JobProgress:
    """Return a job's progress from its listed manifest; without one it was never claimed."""
    job = JobProgress(planned.id, planned.set, planned.seed, total, fresh=planned.fresh)
    if blob is None:
        return job
    try:
        return _from_metadata(job, blob, silent_after_s)
    except (ValueError, KeyError, ValidationError) as error:
        reason = f"its manifest is listed with metadata that this release cannot read: {error!r}"
        return replace(job, state="silent", reason=reason, age_s=blob.age_s)


def _from_metadata(job: JobProgress, blob: Listed, silent_after_s: float) -> JobProgress:
    listed = as_listed(blob.metadata)
    latest, trail, score = listed.get("latest"), listed.get("trail", ""), listed.get("score")
    if trail and not _TRAIL.fullmatch(trail):
        raise ValueError(f"trail {trail!r}")
    return JobProgress(
        id=job.id,
        set=job.set,
        seed=job.seed,
        total=job.total,
        fresh=job.fresh,
        state=_state(listed["status"], "evaluating" in listed, blob.age_s > silent_after_s),
        step=int(listed["step"]),
        reached=int(listed["reached"]),
        latest_return=float(latest) if latest else None,
        trail_text=trail,
        attempts=int(listed["attempts"]),
        evictions=int(listed["evictions"]),
        lost_steps=int(listed["lost"]),
        steps_per_second=float(listed["rate"]),
        seconds=float(listed["seconds"]),
        worker=listed.get("worker", ""),
        exact=listed["exact"] == "yes",
        releases=tuple(filter(None, listed.get("releases", "").split(","))),
        reason=listed.get("reason", ""),
        score=None if score is None else EvaluationSummary.model_validate(score),
        age_s=blob.age_s,
    )


def _state(status: str, evaluating: bool, old: bool) -> State:
    match status:
        case "planned" | "released":
            return "waiting"
        case "running":
            return "silent" if old else "evaluating" if evaluating else "running"
        case "done" | "failed" | "poisoned" | "cancelled":
            return status
    raise ValueError(f"status {status!r}")
