"""Time and money of each job, evicted attempts included, and what checkpoints saved."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from producer.report.gather import Details, Gathered
from producer.results.cost import Cost, Price, cost_of, job_usd, lost_seconds
from producer.results.progress import JobProgress
from producer.words import duration, plural
from worker.contract.manifest import Attempt
from worker.contract.money import money

MOST_ATTEMPTS = 500
"""Rows of the table of attempts."""


@dataclass(frozen=True)
class JobBill:
    """One job's time and money."""

    job: JobProgress
    label: str
    usd: float | None
    lost_seconds: float
    """In steps that evictions and crashes took."""
    kept_steps: int
    """That later attempts did not have to make again, because they went on from a commit."""
    kept_seconds: float
    """The same in time, at the job's own average pace."""


@dataclass(frozen=True)
class AttemptRow:
    """One attempt of a job that took more than one."""

    job: str
    attempt: Attempt
    usd: float | None


@dataclass(frozen=True)
class Bill:
    """A sweep's time and money."""

    jobs: tuple[JobBill, ...]
    attempts: tuple[AttemptRow, ...]
    attempts_left_out: int
    cost: Cost | None
    price: Price | None

    @property
    def kept_seconds(self) -> float:
        """Return the time that checkpoints saved."""
        return sum(job.kept_seconds for job in self.jobs)

    @property
    def sentence(self) -> str:
        """Return what checkpoints saved, in words."""
        steps = sum(job.kept_steps for job in self.jobs)
        again = sum(job.kept_steps > 0 for job in self.jobs)
        if not steps:
            return "No job went on from a checkpoint, so checkpoints saved nothing here."
        worth = f", {money(self.price.of_slot_seconds(self.kept_seconds))}" if self.price else ""
        return (
            f"{plural(again, 'job')} went on from a checkpoint. Begun anew each time, they would have made "
            f"{plural(steps, 'step')} more: {duration(self.kept_seconds)} of a slot{worth}, "
            "and more still where the longer run is evicted again."
        )


def bill(gathered: Gathered, labels: Sequence[str], price: Price | None) -> Bill:
    """Return the bill; jobs as planned.

    Args:
        gathered: the sweep.
        labels: of its sets.
        price: of the VMs, where it is known.
    """
    jobs = tuple(_job(job, details, labels[job.set], price) for job, details in gathered.jobs())
    rows = list(_attempts(gathered, price))
    cost = cost_of(gathered.sweep.jobs, price) if price else None
    return Bill(jobs, tuple(rows[:MOST_ATTEMPTS]), max(0, len(rows) - MOST_ATTEMPTS), cost, price)


def _job(job: JobProgress, details: Details, label: str, price: Price | None) -> JobBill:
    kept = sum(attempt.from_step for attempt in details.manifest.attempts)
    made = max(job.reached, job.step) + job.lost_steps
    return JobBill(
        job=job,
        label=label,
        usd=job_usd(job, price) if price else None,
        lost_seconds=lost_seconds(job),
        kept_steps=kept,
        kept_seconds=job.seconds * kept / made if made else 0.0,
    )


def _attempts(gathered: Gathered, price: Price | None) -> Iterator[AttemptRow]:
    for job, details in gathered.jobs():
        attempts = details.manifest.attempts
        if len(attempts) > 1:
            for attempt in attempts:
                usd = price.of_slot_seconds(attempt.seconds) if price else None
                yield AttemptRow(job.id, attempt, usd)
