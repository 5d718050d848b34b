"""Commands that change sweeps: enqueue, confirm, cancel, pause, resume, retry, delete; each may be called again."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from producer import session as sessions
from producer.commands.options import AllowUnproven, AsJson, TargetFile, Yes
from producer.results.progress import ProgressReader
from producer.session import Session
from producer.sweep import hold, lifecycle
from producer.sweep.budget import unwatched
from producer.sweep.confirm import FEWEST_SEEDS, confirm
from producer.sweep.enqueue import Enqueued, NotConfirmed, enqueue
from producer.sweep.parallel import Progress as Told
from producer.sweep.patience import patient
from producer.sweep.planning import plan_file
from producer.sweep.plans import read_plan
from producer.sweep.preview import STEPS_PER_SECOND, document, preview
from producer.sweep.targets import Meant, meant
from producer.target.release import check_jobs_can_run
from producer.words import plural
from worker.contract.errors import InputError
from worker.contract.plans import find_plan

Say = Callable[[str], None]
OpenSession = Callable[[Path | None], Session]
After = Callable[[Session, Say], object]

MOST_LISTED = 10
UNLIMITED = 100_000
"""Columns of what is no terminal: a file or a program gets every value whole."""

Sweep = Annotated[str, typer.Argument(metavar="SWEEP")]
SweepOrJobs = Annotated[
    list[str], typer.Argument(metavar="SWEEP|JOB…", help="A sweep, or jobs: JOB or SWEEP/JOB, ids may be cut short.")
]


def register(app: typer.Typer, after: After, open_session: OpenSession = sessions.open_session) -> None:
    """Add the commands to `app`.

    Args:
        app: the program.
        after: the tick that ends whatever sends messages: gets the session, and a function that tells the person.
        open_session: how to reach the target.
    """
    commands = Commands(after, open_session)
    for command in (
        commands.enqueue,
        commands.confirm,
        commands.cancel,
        commands.pause,
        commands.resume,
        commands.retry,
        commands.delete,
    ):
        app.command(epilog=EXAMPLES[command.__name__])(command)


EXAMPLES = {
    "enqueue": "Example: tranquility enqueue examples/lunar.yaml",
    "confirm": "Example: tranquility confirm lunar --top 3 --seeds 10",
    "cancel": "Example: tranquility cancel lunar",
    "pause": "Example: tranquility pause lunar",
    "resume": "Example: tranquility resume lunar",
    "retry": "Example: tranquility retry lunar",
    "delete": "Example: tranquility delete lunar",
}


class Commands:
    """The commands, bound to a way to reach the target and to the tick that ends them."""

    def __init__(self, after: After, open_session: OpenSession) -> None:
        self._after = after
        self._open = open_session

    def enqueue(
        self,
        file: Annotated[Path, typer.Argument(metavar="SWEEP.yaml")],
        update: Annotated[bool, typer.Option("--update", help="Add jobs to a sweep that exists.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan, send nothing.")] = False,
        allow_unproven: AllowUnproven = False,
        steps_per_second: Annotated[
            float, typer.Option(min=0.1, help="Pace of one core that --dry-run reckons with.")
        ] = STEPS_PER_SECOND,
        yes: Yes = False,
        as_json: AsJson = False,
        target: TargetFile = None,
    ) -> None:
        """Plan the sweep in a file and send its jobs to the queue.

        The same file again goes on where an earlier call was killed, and does nothing when nothing is left to do.
        """
        planned = plan_file(file, allow_unproven=allow_unproven)
        if dry_run:
            self._show(as_json, document(planned, steps_per_second), *preview(planned, steps_per_second))
            return
        session = self._session(target)
        check_jobs_can_run(session)
        for note in planned.notes:
            say(note)
        for warning in unwatched(session, planned.plan):
            say(warning)
        with bar("sending") as told:
            found = enqueue(session, planned.plan, asking(yes), update=update, progress=told, file=str(file))
        self._show(as_json, enqueued_document(found), *enqueued_words(found))
        if found.hold is None or found.hold.jobs:
            self._after(session, say)

    def confirm(
        self,
        sweep: Sweep,
        top: Annotated[int, typer.Option(min=2, max=100, help="How many of the leading sets.")] = 3,
        seeds: Annotated[int, typer.Option(min=FEWEST_SEEDS, max=1000, help="Fresh seeds for each.")] = 10,
        yes: Yes = False,
        as_json: AsJson = False,
        target: TargetFile = None,
    ) -> None:
        """Run the leaders of a sweep on fresh seeds, so that `results` can name a winner.

        The best of many sets looks better than it is, because it was selected. Seeds that no set was chosen by do not
        flatter it. Decide on --seeds beforehand: adding more because the answer was not the hoped one makes chance
        findings likelier than the 5 % that `results` claims. Called again, it adds nothing that is there already.
        """
        from producer.results.answers import leaders  # SciPy takes a second to import

        session = self._session(target)
        check_jobs_can_run(session)
        progress = ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s).read()
        chosen = leaders(progress, top)
        with bar("sending") as told:
            found = confirm(session, sweep, [one.index for one in chosen], seeds, asking(yes), progress=told)
        words = [f"{sweep}: {plural(seeds, 'fresh seed')} for each of {', '.join(one.label for one in chosen)}"]
        self._show(as_json, {**asdict(found), "sets": [one.index for one in chosen]}, *words, *enqueued_words(found))
        if found.hold is None or found.hold.jobs:
            self._after(session, say)

    def cancel(self, what: SweepOrJobs, yes: Yes = False, as_json: AsJson = False, target: TargetFile = None) -> None:
        """End a sweep, or some of its jobs, for good. Running jobs commit first; what is done stays."""
        session, about = self._meant(what, target)
        self._ask_owner(session, about, "Cancel", yes)
        with bar("cancelling") as told:
            found = hold.cancel(session, about.sweep, about.jobs, progress=told)
        self._show(
            as_json,
            asdict(found),
            f"{found.sweep}: {plural(found.cancelled, 'job')} cancelled, {found.ended:,} had ended before.",
            *stopping_words(found),
        )

    def pause(self, sweep: Sweep, as_json: AsJson = False, target: TargetFile = None) -> None:
        """Stop a sweep until it is resumed. Running jobs commit and go back to the queue."""
        session = self._session(target)
        with bar("withdrawing messages") as told:
            found = hold.pause(session, sweep, progress=told)
        verb = "stops" if found.running == 1 else "stop"
        running = f" {plural(found.running, 'running job')} {verb} at the next commit." if found.running else ""
        self._show(as_json, asdict(found), f"{sweep} is on hold: {found.hold.reason}.{running}")

    def resume(self, sweep: Sweep, as_json: AsJson = False, target: TargetFile = None) -> None:
        """Let a paused sweep go on."""
        session = self._session(target)
        with bar("sending") as told:
            found = hold.resume(session, sweep, progress=told)
        words = "goes on" if found.lifted else "was not on hold"
        self._show(as_json, asdict(found), f"{sweep} {words}: {plural(found.sent, 'message')} sent.")
        self._after(session, say)

    def retry(
        self,
        what: SweepOrJobs,
        cancelled: Annotated[
            bool, typer.Option("--cancelled", help="Cancelled jobs too; lifts the hold of a cancelled sweep.")
        ] = False,
        as_json: AsJson = False,
        target: TargetFile = None,
    ) -> None:
        """Let failed and poisoned jobs begin anew, from their last commit."""
        session, about = self._meant(what, target)
        with bar("retrying") as told:
            found = lifecycle.retry(session, about.sweep, about.jobs, cancelled=cancelled, progress=told)
        self._show(as_json, retried_document(found), *retried_words(found))
        if found.hold is None or found.hold.jobs:
            self._after(session, say)

    def delete(self, sweep: Sweep, yes: Yes = False, as_json: AsJson = False, target: TargetFile = None) -> None:
        """Remove a sweep whose jobs have all ended, with its results, models and logs."""
        session = self._session(target)
        if find_plan(session.blobs, sweep) is not None:
            question = f"Delete {sweep} with its results, models and logs{_owner(session, sweep)}?"
            if not asking(yes)(question):
                raise NotConfirmed(f"{sweep} stays as it is.")
        with bar("deleting") as told:
            found = lifecycle.delete(session, sweep, progress=told)
        self._show(as_json, asdict(found), f"{sweep} is gone: {plural(found.blobs, 'blob')} deleted.")

    def _session(self, target: Path | None) -> Session:
        return patient(self._open(target), say)

    def _meant(self, what: list[str], target: Path | None) -> tuple[Session, Meant]:
        session = self._session(target)
        return session, meant(session, what)

    def _ask_owner(self, session: Session, about: Meant, verb: str, yes: bool) -> None:
        owner = _owner(session, about.sweep)
        which = f"{plural(len(about.jobs), 'job')} of {about.sweep}" if about.jobs else about.sweep
        if owner and not asking(yes)(f"{verb} {which}{owner}?"):
            raise NotConfirmed(f"{about.sweep} stays as it is.")

    def _show(self, as_json: bool, content: Any, *words: Any) -> None:
        if as_json:
            typer.echo(json.dumps(content, indent=2, ensure_ascii=False, default=_plain))
            return
        console = Console()
        if not console.is_terminal:
            console.width = UNLIMITED
        for word in words:
            console.print(word, markup=False, highlight=False, soft_wrap=isinstance(word, str))


def enqueued_document(found: Enqueued) -> dict[str, Any]:
    """Return what an enqueue did, for programs."""
    return asdict(found)


def enqueued_words(found: Enqueued) -> Iterator[str]:
    """Yield what an enqueue did, for people."""
    have = "has" if found.ended == 1 else "have"
    yield (
        f"{found.sweep}: {plural(found.jobs, 'job')} planned ({found.added:,} new), "
        f"{plural(found.sent, 'message')} sent, {plural(found.ended, 'job')} {have} ended."
    )
    if found.unnamed:
        verbs = "is not in the file, and stays" if len(found.unnamed) == 1 else "are not in the file, and stay"
        yield f"{plural(len(found.unnamed), 'job')} of this sweep {verbs}: {_listed(found.unnamed)}"
    if found.lifted:
        yield "The budget is raised, and the hold that it had put is lifted."
    if found.hold is not None:
        what = f"{len(found.hold.jobs)} of its jobs are" if found.hold.jobs else f"{found.sweep} is"
        way = {
            "paused": f"tranquility resume {found.sweep}",
            "budget": "raise budget_usd in the file and enqueue it again",
            "cancelled": f"tranquility retry {found.sweep} --cancelled",
        }[found.hold.kind]
        yield f"But {what} on hold ({found.hold.reason}), and not sent. To go on: {way}"


def stopping_words(found: hold.Cancelled) -> Iterator[str]:
    """Yield what is still to come of a cancel."""
    if found.stopping:
        yield f"{len(found.stopping):,} are running, and end at their next commit: {_listed(found.stopping)}"


def retried_document(found: lifecycle.Retried) -> dict[str, Any]:
    """Return what a retry did, for programs."""
    return {**asdict(found), "jobs": [{"job": job, "ended_by": reason} for job, reason in found.jobs]}


def retried_words(found: lifecycle.Retried) -> Iterator[str]:
    """Yield what a retry did, for people."""
    for job, reason in found.jobs[:MOST_LISTED]:
        yield f"{found.sweep}/{job} had ended: {reason}"
    if len(found.jobs) > MOST_LISTED:
        yield f"… and {len(found.jobs) - MOST_LISTED:,} more."
    if not found.jobs and not found.sent:
        yield f"{found.sweep}: there is nothing to retry."
    else:
        verb = "begins" if len(found.jobs) == 1 else "begin"
        yield f"{found.sweep}: {plural(len(found.jobs), 'job')} {verb} anew, {plural(found.sent, 'message')} sent."
    if found.hold is not None:
        yield f"It is on hold ({found.hold.reason}): its jobs wait for that."


def asking(yes: bool) -> Callable[[str], bool]:
    """Return how to ask the person; without one at the terminal, only --yes says yes."""

    def ask(question: str) -> bool:
        if yes:
            return True
        if not sys.stdin.isatty():
            raise InputError(f"{question} Nobody is there to answer: say --yes.")
        return typer.confirm(question, err=True)

    return ask


@contextmanager
def bar(words: str) -> Iterator[Told]:
    """Show a progress bar on standard error while something goes on, once there is anything to show."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(words, visible=False)

        def told(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total, visible=total > 0)

        yield told


def say(line: str) -> None:
    """Tell the person something on the way; standard output is for what comes out."""
    typer.echo(line, err=True)


def _owner(session: Session, sweep: str) -> str:
    """Return who enqueued a sweep, as part of a question, if that is somebody else."""
    owner = read_plan(session.blobs, sweep).plan.enqueued_by
    return f", which was enqueued by {owner or 'somebody else'}" if owner != session.user else ""


def _listed(jobs: tuple[str, ...]) -> str:
    more = f" … ({len(jobs) - MOST_LISTED:,} more)" if len(jobs) > MOST_LISTED else ""
    return " ".join(jobs[:MOST_LISTED]) + more


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json")
