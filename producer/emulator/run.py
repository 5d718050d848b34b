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
from producer.results.leaderboard import leaderboards
from producer.results.parts import download
from producer.results.progress import ProgressReader
from producer.results.ranking_table import ranking
from producer.results.view import View
from producer.results.watch import open_watcher, watch
from producer.results.words import plural
from producer.session import Session
from producer.sweep.enqueue import enqueue
from producer.sweep.planning import plan_file
from worker.contract.plan import Plan

SHOWN_SETS = 10
EVICT_AT = 0.3
"""Share of the steps after which `--evict` takes an instance away: late enough for a commit to be there."""


def run_locally(path: Path, options: LocalOptions, out: Path, console: Console, *, evict: bool) -> int:
    """Run the sweep of a file and return the exit status: 0 when every job is done.

    Raises InputError where the file cannot be used, and EmulatorError where the fleet cannot start.
    """
    plan = plan_file(path).plan  # before anything is started: a mistake in the file costs no time
    try:
        with local_fleet(options, console.print) as (fleet, session):
            return _run(path, plan, fleet, session, out, console, evict=evict)
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running. The same command again goes on where it was.")
        return 130


def _run(
    path: Path, plan: Plan, fleet: LocalFleet, session: Session, out: Path, console: Console, *, evict: bool
) -> int:
    enqueued = enqueue(session, plan, confirm=lambda _question: True, file=str(path))
    console.print(f"{enqueued.sweep}: {plural(enqueued.jobs, 'job')}, {enqueued.ended:,} of them done before.")
    with scaling(session, lambda _report: None):
        glances = Glances(AzureScaleSet(session.compute, session.target), session.runtime, session.durations.tick_s / 2)
        watcher = open_watcher(session, plan.sweep, glances)
        until = Director(fleet, evict=evict)
        last = watch(watcher, console, session.runtime, fleet.failed, every_s=1.0, until=until)
        if fleet.problem:
            raise EmulatorError(fleet.problem)
    return _conclude(session, plan.sweep, last, out, console)


@dataclass
class Director:
    """Evicts once, where that was asked for, and says when the show is over: all jobs ended, and the set at zero."""

    fleet: LocalFleet
    evict: bool

    def __call__(self, view: View) -> bool:
        """Look at a moment, act, and return whether it is the last."""
        made, total = view.sweep.steps
        if self.evict and made >= EVICT_AT * total:
            busy = [
                slot.seen.report.vm
                for slot in view.fleet.slots
                if slot.alive and slot.seen.report.state == "busy" and slot.seen.report.commits
            ]
            if busy:
                with contextlib.suppress(Refused):  # it went since it reported: the next look finds another
                    self.fleet.evict(busy[0])
                    self.evict = False
        scale_set = view.fleet.set
        return view.sweep.finished and scale_set is not None and not scale_set.capacity and not scale_set.instances


def _conclude(session: Session, sweep: str, last: View, out: Path, console: Console) -> int:
    progress = ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s).read()
    for board in leaderboards([progress]):
        console.print()
        console.print(ranking(board, SHOWN_SETS))
    folder = out / sweep
    fetched = download(session.blobs, progress, folder)
    for problem in fetched.problems:
        console.print(f"! {problem}")
    console.print(f"\nModels, curves and results: {folder}/")
    failed = [job for job in last.sweep.jobs if job.state != "done"]
    return 1 if failed or fetched.problems else 0
