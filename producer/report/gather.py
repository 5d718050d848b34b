"""Everything that a report says, read from the blobs: the sweep's listing, and of its best jobs what listings lack."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from producer.results.export import CurveRow, parse_curve
from producer.results.leaderboard import Leaderboard, leaderboards
from producer.results.parts import ResultDamaged, read_manifest, read_part, read_result, side_by_side
from producer.results.progress import JobProgress, SweepProgress
from producer.words import plural
from worker.contract.manifest import Manifest
from worker.contract.records import BlobStore
from worker.contract.result import Result

DETAILED = 1_000
"""Jobs whose manifest, result and curve are read: three requests each."""


@dataclass(frozen=True)
class Details:
    """What the listing does not carry of one job."""

    manifest: Manifest
    result: Result | None = None
    """Of a finished job."""
    curve: tuple[CurveRow, ...] = ()


@dataclass(frozen=True)
class Gathered:
    """A sweep as a report shows it."""

    sweep: SweepProgress
    boards: tuple[Leaderboard, ...]
    details: Mapping[str, Details]
    """By job; those of the best sets first where there are more than `DETAILED`."""
    problems: tuple[str, ...]
    """What could not be read, and what was left out."""

    def jobs(self) -> Iterator[tuple[JobProgress, Details]]:
        """Yield the jobs with details, in the order of the plan."""
        for job in self.sweep.jobs:
            if job.id in self.details:
                yield job, self.details[job.id]


def gather(blobs: BlobStore, sweep: SweepProgress) -> Gathered:
    """Read what a report says. What is damaged is named and left out. Raises StorageError."""
    boards = leaderboards([sweep])
    wanted = _best_first(sweep, boards)
    details: dict[str, Details] = {}
    problems: list[str] = []

    def read(job: JobProgress) -> None:
        try:
            manifest = read_manifest(blobs, sweep.sweep, job.id)
            details[job.id] = Details(manifest)
            if manifest.status == "done":
                details[job.id] = _finished(blobs, manifest)
        except ResultDamaged as error:
            problems.append(str(error))

    side_by_side(read, wanted[:DETAILED])
    problems.sort()
    if len(wanted) > DETAILED:
        left = plural(len(wanted) - DETAILED, "job")
        problems.append(f"{left} of sets further down the ranking are counted here, but not shown one by one.")
    return Gathered(sweep, boards, details, tuple(problems))


def _best_first(sweep: SweepProgress, boards: tuple[Leaderboard, ...]) -> list[JobProgress]:
    """Return the jobs that were ever claimed: those of ranked sets by rank, then the others as planned."""
    rank = {standing.entrant.index: standing.rank for board in boards for standing in board.standings}
    started = [job for job in sweep.jobs if job.attempts]
    return sorted(started, key=lambda job: rank.get(job.set, len(sweep.plan.sets) + 1))


def _finished(blobs: BlobStore, manifest: Manifest) -> Details:
    job, outcome = manifest.job.id, manifest.outcome
    result = read_result(blobs, job, outcome)
    return Details(manifest, result, parse_curve(read_part(blobs, job, outcome.curve)))
