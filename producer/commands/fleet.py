"""`tranquility scale`: the scale set follows the queue, for as long as this runs, once, or again after a hold."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

import typer
from rich.console import Console

from producer.commands.options import TargetFile
from producer.fleet.scaler import Audited, Scaler, TickReport, open_scaler
from producer.session import Session, open_session
from producer.words import plural
from worker.contract.errors import InputError

EXAMPLE = "Example: tranquility scale --watch"


def register(app: typer.Typer, audit: Callable[[Session], Audited]) -> None:
    """Add `scale`. `audit` compares plans and manifests when the queue is empty (rule 7)."""

    @app.command(epilog=EXAMPLE)
    def scale(
        watch: Annotated[
            bool, typer.Option("--watch", help="Go on until Ctrl-C; one line whenever something changes.")
        ] = False,
        once: Annotated[bool, typer.Option("--once", help="Look once, act, and end: for cron or any timer.")] = False,
        resume: Annotated[
            bool, typer.Option("--resume", help="Ask for VMs again after the fleet was put on hold.")
        ] = False,
        target: TargetFile = None,
    ) -> None:
        """Reconcile the scale set with the queue.

        Any number of these may run at once, here and elsewhere, and none has to: idle VMs retire by themselves.
        """
        if watch + once + resume != 1:
            raise InputError("Say one of --watch, --once and --resume.")
        console = Console()
        scaler = open_scaler(open_session(target), audit)
        if watch:
            run_watch(scaler, console)
        elif once:
            run_once(scaler, console)
        else:
            run_resume(scaler, console)


def run_watch(scaler: Scaler, console: Console) -> None:
    """Tick until Ctrl-C."""
    told = Told(console)
    console.print("Watching the queue and the scale set; Ctrl-C ends this, and the VMs go on without it.")
    try:
        scaler.watch(scaler.session.runtime.event(), told.tell)
    except KeyboardInterrupt:
        console.print("Ended. VMs work on; idle ones delete themselves.")


def run_once(scaler: Scaler, console: Console) -> None:
    """Tick once. Exits with 1 where the tick could not be carried out."""
    from producer.fleet.memory import Memory

    report = scaler.tick(Memory())
    Told(console).tell(report)
    raise typer.Exit(1 if report.problem or report.refused else 0)


def run_resume(scaler: Scaler, console: Console) -> None:
    """Lift the hold of the fleet and raise the capacity to what the queue needs. Exits with 1 where that fails."""
    hold = scaler.session.control.fleet_hold()
    scaler.session.control.resume_fleet()
    console.print(f"The hold of {hold.since} is lifted: {hold.reason}" if hold else "The fleet was not on hold.")
    told = Told(console)
    report = scaler.ensure_capacity(told.say)
    told.say(standing_line(report))
    raise typer.Exit(0 if report.enough else 1)


class Told:
    """Tells a person what is new, and nothing twice in a row."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last = ("", "")

    def tell(self, report: TickReport) -> None:
        """Print a report's changes, and where the fleet stands if that is new."""
        for change in report.changes:
            self.say(change)
        now = (standing_line(report), report.problem or report.held)
        for line, before in zip(now, self._last, strict=True):
            if line and line != before:
                self.say(line)
        self._last = now

    def say(self, line: str) -> None:
        """Print one line with the time of day."""
        self._console.print(f"{datetime.now():%H:%M:%S}  {line}", markup=False, highlight=False, soft_wrap=True)


def standing_line(report: TickReport) -> str:
    """Say where the fleet stands; empty where the look failed."""
    if report.look is None or report.standing is None:
        return ""
    stands = report.standing
    leaving = f", {len(stands.lost)} leaving" if stands.lost else ""
    queued, living = plural(report.look.count, "job"), plural(len(stands.living), "VM")
    return f"{queued} in the queue, capacity {report.capacity}, {living}{leaving}"
