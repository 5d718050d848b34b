"""`local run`: a sweep from its file to its leaderboard on a fleet that exists only for it. `make demo` calls this."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from producer.emulator.errors import EmulatorError
from producer.emulator.fleet import LocalFleet
from producer.emulator.local import LocalOptions, local_fleet, scaling
from producer.emulator.states import Refused
from producer.fleet.scale_set import AzureScaleSet, Glances
from producer.results.answers import unfinished
from producer.results.leaderboard import leaderboards
from producer.results.parts import download
from producer.results.progress import ProgressReader
from producer.results.ranking_table import ranking
from producer.results.view import View
from producer.results.watch import open_watcher, watch
from producer.session import Session
from producer.sweep.budget import unwatched
from producer.sweep.enqueue import enqueue
from producer.sweep.planning import Planned
from producer.words import plural
from worker.contract.plan import Plan

SHOWN_SETS = 10
EVICT_AT = 0.3
"""Share of the steps after which `--evict` takes an instance away whose job has a commit to go on from."""
EVICT_ANY_AT = 0.5
"""Share after which it takes any that trains: the jobs are shorter than a commit's interval. The notice makes one."""


def run_locally(
    path: Path, planned: Planned, options: LocalOptions, out: Path, console: Console, *, evict: bool
) -> int:
    """Run the sweep that was planned from a file and return the exit status: 0 when every job is done.

    Raises EmulatorError where the fleet cannot start, or cannot go on.
    """
    for note in planned.notes:
        console.print(note)
    try:
        with local_fleet(options, console.print) as (fleet, session):
            return _run(path, planned.plan, fleet, session, out, console, evict=evict)
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running. The same command again goes on where it was.")
        return 130


def _run(
    path: Path, plan: Plan, fleet: LocalFleet, session: Session, out: Path, console: Console, *, evict: bool
) -> int:
    for warning in unwatched(session, plan):
        console.print(warning)
    enqueued = enqueue(session, plan, confirm=lambda _question: True, file=str(path))
    console.print(f"{enqueued.sweep}: {plural(enqueued.jobs, 'job')}, {enqueued.ended:,} of them ended before.")
    with scaling(fleet, session, lambda _report: None):
        tick_s = session.durations.tick_s
        glances = Glances(lambda: AzureScaleSet(session.compute, session.target), session.runtime, tick_s / 2)
        watcher = open_watcher(session, plan.sweep, glances)
        until = Director(fleet, evict=evict)
        watch(watcher, console, session.runtime, fleet.failed, every_s=1.0, until=until)
        if fleet.problem:
            raise EmulatorError(fleet.problem)
    if until.missed:
        console.print(until.missed)
    return conclude(session, plan.sweep, out, console)


@dataclass
class Director:
    """Evicts once, where that was asked for, and says when the show is over: all jobs ended, and the set at zero."""

    fleet: LocalFleet
    evict: bool
    """Whether an instance is still to be evicted."""
    _trained: frozenset[str] = frozenset()
    """The jobs that trained at the look before."""

    def __call__(self, view: View) -> bool:
        """Look at a moment, act, and return whether it is the last."""
        vm = self._whom(view) if self.evict else None
        if vm:
            with contextlib.suppress(Refused):  # it went since it reported: the next look finds another
                self.fleet.evict(vm)
                self.evict = False
        scale_set = view.fleet.set
        return view.sweep.finished and scale_set is not None and not scale_set.capacity and not scale_set.instances

    @property
    def missed(self) -> str:
        """Return what to say at the end where an eviction was asked for and did not come; else nothing."""
        if not self.evict:
            return ""
        return (
            "No instance was evicted: the jobs ended first. More timesteps would give it time, and so would a smaller "
            "--time-scale, with which jobs commit more often."
        )

    def _whom(self, view: View) -> str | None:
        """Return the VM to evict now, if any: of those that may go the one whose job has the most steps before it."""
        made, total = view.sweep.steps
        vms = {
            slot.name: slot.seen.report.vm
            for slot in view.fleet.slots
            if slot.alive and slot.seen.report.state == "busy"
        }
        training = [job for job in view.sweep.alive if job.worker in vms]
        before, self._trained = self._trained, frozenset(job.id for job in training)
        candidates = [job for job in training if job.step] if made >= EVICT_AT * total else []
        if not candidates and made >= EVICT_ANY_AT * total:
            candidates = [job for job in training if job.id in before]
        return vms[min(candidates, key=lambda job: job.shown_step).worker] if candidates else None


def conclude(session: Session, sweep: str, out: Path, console: Console) -> int:
    """Show the leaderboard, fetch the results, say what did not end well, and return the exit status."""
    progress = ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s).read()
    for board in leaderboards([progress]):
        console.print()
        console.print(ranking(board, SHOWN_SETS))
    folder = out / sweep
    fetched = download(session.blobs, progress, folder)
    for problem in fetched.problems:
        console.print(f"! {problem}")
    console.print(f"\nModels, curves and results: {folder}/")
    notes = list(unfinished([progress]))
    for note in notes:
        console.print(note, markup=False)
    return 1 if notes or fetched.problems else 0
