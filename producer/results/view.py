"""One moment of a sweep with everything that is shown of it, and what happened since the moment before."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from producer.results.cost import Cost
from producer.results.endings import bad_endings
from producer.results.fleet_view import FleetView, why_idle
from producer.results.progress import ALIVE, JobProgress, SweepProgress
from producer.words import number, plural

Tone = Literal["good", "bad", "plain"]


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened between two moments."""

    text: str
    tone: Tone = "plain"
    clock: str = ""
    """When it was noticed: hours, minutes and seconds of this machine."""


@dataclass(frozen=True)
class View:
    """A sweep and the fleet at one moment."""

    sweep: SweepProgress
    fleet: FleetView
    cost: Cost | None = None
    max_instances: int = 0
    happened: tuple[Happening, ...] = ()
    """The newest last."""

    @property
    def why_idle(self) -> tuple[str, ...]:
        """Return why nothing is running, if nothing is."""
        return why_idle(self.sweep, self.fleet)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return, in sentences, what somebody may want to act on: why nothing is running, and what ended badly."""
        return (*self.why_idle, *bad_endings(self.sweep))


def since(before: View, after: View) -> Iterator[Happening]:
    """Yield what happened between two moments: jobs in the order of the plan, then the fleet."""
    known = {job.id: job for job in before.sweep.jobs}
    for job in after.sweep.jobs:
        if job.id in known and job != known[job.id]:
            yield from _of_job(known[job.id], job)
    yield from _of_fleet(before.fleet, after.fleet)
    if after.sweep.hold != before.sweep.hold:
        hold = after.sweep.hold
        text = f"the sweep is held: {hold.kind} {hold.reason}".rstrip() if hold else "the sweep's hold is lifted"
        yield Happening(text, "bad" if hold else "good")


def _of_job(before: JobProgress, after: JobProgress) -> Iterator[Happening]:
    name = f"job {after.id[:6]}"
    if after.evictions > before.evictions:
        lost = after.lost_steps - before.lost_steps
        steps = f", {plural(lost, 'step')} to make again" if lost else ", nothing lost"
        yield Happening(f"{name}: evicted from {before.worker or 'its VM'}{steps}", "bad")
    if after.attempts > before.attempts:
        went_on = f"goes on from step {after.step:,}" if after.attempts > 1 else "started"
        yield Happening(f"{name}: {went_on} on {after.worker}", "good")
    if after.state == before.state:
        return
    if after.state == "waiting" and after.reason and after.evictions == before.evictions:
        yield Happening(f"{name}: {after.reason} on {before.worker}", "bad")
    elif after.state == "done":
        score = f", return {number(after.score.mean, 1)}" if after.score else ""
        yield Happening(f"{name}: done{score}", "good")
    elif after.state in {"failed", "poisoned", "cancelled"}:
        yield Happening(f"{name}: {after.state}: {after.reason or 'no reason given'}", "bad")
    elif after.state == "silent" and before.state in ALIVE:
        yield Happening(f"{name}: no word from {after.worker} for {after.age_s:.0f} s", "bad")


def _of_fleet(before: FleetView, after: FleetView) -> Iterator[Happening]:
    if before.set and after.set:
        if after.set.capacity != before.set.capacity:
            yield Happening(f"capacity {before.set.capacity} → {after.set.capacity}")
        old = {vm.name for vm in before.set.instances}
        new = {vm.name for vm in after.set.instances}
        if new - old:
            yield Happening(f"new VM: {', '.join(sorted(new - old))}", "good")
        if old - new:
            yield Happening(f"VM gone: {', '.join(sorted(old - new))}")
    if after.refusal and (before.refusal is None or after.refusal.message != before.refusal.message):
        yield Happening(f"Azure granted no more VMs: {after.refusal.message}", "bad")
    if after.poisoned > before.poisoned:
        yield Happening(f"{plural(after.poisoned, 'message')} in the poison queue", "bad")
    if after.hold != before.hold:
        yield Happening(f"fleet on hold: {after.hold}" if after.hold else "the fleet's hold is lifted", "bad")
