"""A job's manifest: the truth about it, its fence and its heartbeat."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from worker.contract.base import SCHEMA_VERSION, STATE_VERSION, Frozen, Nonce, Sha256
from worker.contract.job import Job
from worker.contract.score import EvaluationSummary

Status = Literal["planned", "running", "released", "done", "failed", "poisoned", "cancelled"]
TERMINAL: Final = frozenset({"done", "failed", "poisoned", "cancelled"})
KEPT_GENERATIONS: Final = 2
KEPT_ATTEMPTS: Final = 100
TRAIL_POINTS: Final = 24

Ended = Literal[
    "running",  # not ended
    "done",
    "failed",  # an exception from training, or diverged, or a bad configuration
    "killed",  # witnessed by the supervisor: out of memory, watchdog, a fatal signal
    "evicted",  # a Preempt event for this VM
    "vanished",  # the next claim found it silent: an eviction without notice, most often
    "stopped",  # SIGTERM or SIGINT
    "drained",
    "held",  # cancelled, paused or out of budget
    "storage",  # gave up on storage after an outage
]
EVICTED: Final = frozenset({"evicted", "vanished"})


class BlobRef(Frozen):
    """A blob as the manifest names it: nothing that does not match is ever used."""

    name: str
    length: Annotated[int, Field(ge=0)]
    sha256: Sha256


class SegmentRef(BlobRef):
    """An append-only slice of the replay buffer: rows `first_row` ≤ row < `first_row + rows`, counted from step 0."""

    first_row: Annotated[int, Field(ge=0)]
    rows: Annotated[int, Field(gt=0)]


class Generation(Frozen):
    """A whole checkpoint."""

    step: Annotated[int, Field(ge=0)]
    state: BlobRef
    segments: tuple[SegmentRef, ...]

    def blob_names(self) -> frozenset[str]:
        """Return the names of all blobs of this generation."""
        return frozenset((self.state.name, *(segment.name for segment in self.segments)))


class PartialEvaluation(Frozen):
    """The finished episodes of an evaluation that is under way; small enough to ride in a manifest write.

    It is about the policy at `step` and means nothing without the state of that very step.
    """

    step: Annotated[int, Field(ge=0)]
    final: bool
    returns: Annotated[tuple[float, ...], Field(max_length=1_000)] = ()
    lengths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(max_length=1_000)] = ()
    """Steps of each episode."""

    @model_validator(mode="after")
    def _belong_together(self) -> Self:
        if len(self.returns) != len(self.lengths):
            raise ValueError("every finished episode has a return and a length")
        return self


class Attempt(Frozen):
    """What one claim did."""

    epoch: int
    worker: str
    release: str
    from_step: int
    to_step: int
    """Last committed step."""
    reached_step: int
    """Last step seen in a manifest write; what lies above `to_step` was lost."""
    started: str
    """UTC, ISO 8601, by the worker's clock: for people, never compared."""
    seconds: float = 0.0
    ended: Ended = "running"
    reason: str = ""
    exact: bool = True
    """False where the machine differed from the one before, so that the resume is not bit-exact."""


class Counts(Frozen):
    """What decides about poison."""

    failures_in_a_row: int = 0
    """Witnessed failures without progress in between."""
    claims_without_progress: int = 0
    """Claims in a row without progress that nobody gave back."""
    storage_failures: int = 0
    """Storage, token and disk errors in a row: they only make the message wait longer."""


class Outcome(Frozen):
    """What a terminal job names."""

    reason: str = ""
    result: BlobRef | None = None
    curve: BlobRef | None = None
    model: BlobRef | None = None
    """SB3's model.zip: for people; never read by this code."""
    policy: BlobRef | None = None
    """The policy's weights as raw arrays: what `play` reads."""
    episodes: BlobRef | None = None
    """Return and length of every training episode that the replay buffer still held whole at the end."""
    score: EvaluationSummary | None = None
    """Of the final evaluation: it rides in listings, so that a leaderboard reads no results."""


class TrailPoint(Frozen):
    """The latest return as it was at a step."""

    step: Annotated[int, Field(ge=0)]
    value: float


def trailed(trail: tuple[TrailPoint, ...], step: int, value: float, total: int) -> tuple[TrailPoint, ...]:
    """Return `trail` with one more point, at most `TRAIL_POINTS` over `total` steps: of each stretch the newest.

    Points from `step` on are dropped: a resumed run goes back.
    """

    def stretch(point_step: int) -> int:
        return min(TRAIL_POINTS - 1, point_step * TRAIL_POINTS // max(total, 1))

    kept = (point for point in trail if point.step < step and stretch(point.step) != stretch(step))
    return (*kept, TrailPoint(step=step, value=value))


class Manifest(Frozen):
    """The truth about a job. Written only with If-Match on the ETag last seen (at its birth: If-None-Match)."""

    schema_version: Literal[1] = SCHEMA_VERSION
    state_version: int = STATE_VERSION
    job: Job
    status: Status
    epoch: Annotated[int, Field(ge=0)]
    nonce: Nonce
    worker: str = ""
    """VM/slot of the last claim."""
    message_id: str = ""
    """The message that this job runs on; a second one is a duplicate."""
    step: Annotated[int, Field(ge=0)] = 0
    """Steps that are safe: of the newest generation, or of the finished training."""
    reached: Annotated[int, Field(ge=0)] = 0
    """Steps that the trainer had made at the last write."""
    generations: Annotated[tuple[Generation, ...], Field(max_length=KEPT_GENERATIONS)] = ()
    """Newest first."""
    evaluation: PartialEvaluation | None = None
    attempts: tuple[Attempt, ...] = ()
    """The last ones; `attempt_count` and `eviction_count` count all."""
    attempt_count: int = 0
    eviction_count: int = 0
    lost_steps: int = 0
    """Steps trained after a commit and lost before the next one: to evictions without notice, and to crashes."""
    seconds: float = 0.0
    """Time of all attempts, ended or not, as of the last write."""
    counts: Counts = Counts()
    latest_return: float | None = None
    """Of the last finished training episode."""
    trail: Annotated[tuple[TrailPoint, ...], Field(max_length=TRAIL_POINTS)] = ()
    """Returns over the run so far, for a sparkline; `trailed` adds to it."""
    steps_per_second: float = 0.0
    exact: bool = True
    fingerprint: Mapping[str, str] = {}
    """Of the machine that wrote the newest generation."""
    outcome: Outcome = Outcome()

    @property
    def terminal(self) -> bool:
        """Return whether the job has ended for good (until someone retries it)."""
        return self.status in TERMINAL

    def metadata(self) -> dict[str, str]:
        """Return what listings need, as blob metadata: it rides in the same Put Blob. `as_listed` reads it.

        The status is for people who look at the container, and all else is one value: a listing has an XML element for
        each name, and with one for each figure 5,000 manifests take Azurite and whoever reads them twice as long.
        """
        summary = {
            "step": str(self.step),
            "reached": str(self.reached),
            "total": str(self.job.configuration.timesteps),
            "latest": "" if self.latest_return is None else f"{self.latest_return:.2f}",
            "attempts": str(self.attempt_count),
            "evictions": str(self.eviction_count),
            "lost": str(self.lost_steps),
            "trail": ",".join(f"{point.value:.0f}" for point in self.trail),
            "rate": f"{self.steps_per_second:.2f}",
            "seconds": f"{self.seconds:.1f}",
            "worker": self.worker,
            "epoch": str(self.epoch),
            "exact": "yes" if self.exact else "no",
            "releases": ",".join(sorted({attempt.release[:12] for attempt in self.attempts})),
            "score": None if self.outcome.score is None else self.outcome.score.model_dump(mode="json"),
            "evaluating": "" if self.evaluation is None else ("final" if self.evaluation.final else "yes"),
            "reason": _ascii(self.outcome.reason or (self.attempts[-1].reason if self.attempts else "")),
        }
        said = {key: value for key, value in summary.items() if value}
        return {"status": self.status, "summary": json.dumps(said, separators=(",", ":"))}


def as_listed(metadata: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what a manifest's metadata says, by name: texts, and `score` as an object. Raises ValueError.

    What is empty is left out, and everything is where the blob is no manifest of ours.
    """
    try:
        said = json.loads(metadata.get("summary", "{}"))
    except RecursionError as error:
        raise ValueError("summary nests too deep") from error
    if not isinstance(said, dict) or not all(isinstance(said[key], str) for key in said.keys() - {"score"}):
        raise ValueError(f"summary {metadata['summary']!r}")
    return said | {"status": metadata.get("status", "")}


def _ascii(text: str) -> str:
    """Make a reason fit into a metadata header: one line of printable ASCII."""
    ascii_only = text.encode("ascii", "replace").decode()
    printable = "".join(char if char.isprintable() else " " for char in ascii_only)
    return " ".join(printable.split())[:200].rstrip()
