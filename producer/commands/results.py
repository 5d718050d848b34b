"""Commands that look at sweeps: status, watch, results, logs, cost. None of them changes anything in Azure."""

import json
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from producer import session as sessions
from producer.commands.options import AsJson, SweepName, TargetFile
from producer.results.bill import bill, bill_document, no_price
from producer.results.cost import price_of
from producer.results.documents import sweep_document, view_document
from producer.results.fleet_view import FleetReader, SetReader
from producer.results.logs import LEVELS, Level, LogLine, LogPrinter, LogReader, find_job
from producer.results.logs import follow as tail
from producer.results.overview import overview, read_all, the_sweep
from producer.results.progress import ProgressReader
from producer.results.screen import Size, screen
from producer.results.watch import Watcher, open_watcher, watch
from producer.session import Session
from worker.contract.beside import beside
from worker.contract.errors import InputError

OpenSession = Callable[[Path | None], Session]
OpenSet = Callable[[Session], SetReader]

EVERY_S = 2.0


def register(
    app: typer.Typer, open_session: OpenSession = sessions.open_session, open_set: OpenSet | None = None
) -> None:
    """Add the commands to `app`.

    Args:
        app: the program.
        open_session: how to reach the target.
        open_set: how to look at its scale set; without it nothing is said of capacity.
    """
    look = Look(open_session, open_set)
    for command in (look.status, look.watch, look.results, look.logs, look.cost):
        app.command(epilog=EXAMPLES[command.__name__])(command)


EXAMPLES = {
    "status": "Example: tranquility status lunar",
    "watch": "Example: tranquility watch lunar",
    "results": "Example: tranquility results lunar --download runs/lunar",
    "logs": "Example: tranquility logs 3f2a9c -f",
    "cost": "Example: tranquility cost lunar",
}


class Look:
    """The commands, bound to a way to reach the target."""

    def __init__(self, open_session: OpenSession, open_set: OpenSet | None) -> None:
        self._open_session = open_session
        self._open_set = open_set

    def status(
        self,
        sweep: Annotated[str | None, typer.Argument(help="Sweep to show. Default: all.", show_default=False)] = None,
        as_json: AsJson = False,
        target: TargetFile = None,
    ) -> None:
        """Show how far sweeps are, and why nothing runs where nothing does."""
        session = self._open_session(target)
        console = Console()
        if sweep is not None:
            view = self._watcher(session, sweep).look()
            if as_json:
                _print_json(view_document(view))
            else:
                console.print(screen(view, Size(console.width, None, console.options.ascii_only)))
            return
        found = read_all(session.blobs, session.durations.visibility_timeout_s)
        if as_json:
            _print_json([sweep_document(progress) for _, progress in found])
        elif found:
            console.print(overview(found, price_of(session.target)))
        else:
            console.print("There is no sweep on this target yet. tranquility enqueue SWEEP.yaml makes one.")

    def watch(
        self,
        sweep: Annotated[
            str | None, typer.Argument(help="Sweep to watch. Default: the newest unfinished one.", show_default=False)
        ] = None,
        every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 2.0,
        target: TargetFile = None,
    ) -> None:
        """Watch a sweep live until all its jobs have ended; Ctrl-C leaves the sweep alone."""
        session = self._open_session(target)
        watcher = self._watcher(session, the_sweep(session.blobs, sweep))
        try:
            watch(watcher, Console(), session.runtime, session.runtime.event(), every_s=every)
        except KeyboardInterrupt:
            typer.echo("The sweep goes on without this view.", err=True)

    def results(
        self,
        sweep: SweepName,
        other: Annotated[
            str | None, typer.Argument(metavar="OTHER", help="A second sweep to compare with.", show_default=False)
        ] = None,
        top: Annotated[int, typer.Option(help="Sets to show.", min=1)] = 20,
        folder: Annotated[
            Path | None,
            typer.Option("--download", metavar="DIR", help="Fetch models, results, curves, logs.", show_default=False),
        ] = None,
        as_json: AsJson = False,
        as_csv: Annotated[bool, typer.Option("--csv", help="Print one line a run, as CSV.")] = False,
        best: Annotated[
            bool, typer.Option("--best-config", help="Print the leader's hyperparameters as a sweep file.")
        ] = False,
        target: TargetFile = None,
    ) -> None:
        """Rank the hyperparameter sets of a sweep, and say how far the ranking can be believed."""
        if as_json + as_csv + best > 1:
            raise InputError("Say at most one of --json, --csv and --best-config.")
        if sweep == other:
            raise InputError(f"{sweep} is named twice: name another sweep to compare it with.")
        session = self._open_session(target)
        loading = beside("import", lambda: import_module("producer.results.answers"))  # SciPy takes a second
        progress = [self._reader(session, name).read() for name in (sweep, other) if name]
        answers = loading.result()
        if folder is not None:
            for one in progress:
                say = typer.echo if not (as_json or as_csv or best) else _to_stderr
                answers.fetch(session.blobs, one, folder if other is None else folder / one.sweep, say)
        if as_json:
            _print_json(answers.document(progress))
        elif as_csv:
            typer.echo(answers.csv(progress), nl=False)
        elif best:
            typer.echo(answers.best(progress), nl=False)
        else:
            console = Console()
            console.print(answers.text(progress, top))

    def logs(
        self,
        job: Annotated[
            str, typer.Argument(metavar="JOB", help="Its id, the beginning of it, or SWEEP/JOB.", show_default=False)
        ],
        follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
        level: Annotated[Level, typer.Option(help="Leave out what matters less.")] = "info",
        as_json: AsJson = False,
        target: TargetFile = None,
    ) -> None:
        """Print what a job's workers said, attempt by attempt, also on VMs that are gone."""
        session = self._open_session(target)
        reader = LogReader(session.blobs, *find_job(session.blobs, job))
        printer = LogPrinter(typer.echo, LEVELS[level])

        def show_json(line: LogLine) -> None:
            if line.level >= LEVELS[level]:
                typer.echo(line.text)

        show = show_json if as_json else printer.show
        try:
            if follow:
                tail(reader, show, printer.know, session.runtime, session.runtime.event(), every_s=EVERY_S)
            else:
                manifest = reader.manifest()
                if manifest is not None and not manifest.attempts:
                    typer.echo("No worker has had this job yet.", err=True)
                printer.know(manifest)
                for line in reader.new_lines():
                    show(line)
        except KeyboardInterrupt:
            return
        if not as_json:
            printer.finish()

    def cost(
        self,
        sweep: Annotated[
            str | None, typer.Argument(metavar="SWEEP", help="Default: all sweeps.", show_default=False)
        ] = None,
        as_json: AsJson = False,
        target: TargetFile = None,
    ) -> None:
        """Show what sweeps have cost, what evictions lost, and what spot VMs saved."""
        session = self._open_session(target)
        price = price_of(session.target)
        if price is None:
            raise InputError(no_price(session.target))
        if sweep is None:
            silent_after_s = session.durations.visibility_timeout_s
            found = [progress for _, progress in read_all(session.blobs, silent_after_s)]
        else:
            found = [self._reader(session, sweep).read()]
        fleet = FleetReader(session.blobs, session.jobs, session.poison, session.durations).read()
        if as_json:
            _print_json(bill_document(found, fleet, price))
        else:
            Console().print(bill(found, fleet, price))

    def _reader(self, session: Session, sweep: str) -> ProgressReader:
        return ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s)

    def _watcher(self, session: Session, sweep: str) -> Watcher:
        return open_watcher(session, sweep, self._open_set(session) if self._open_set else None)


def _to_stderr(text: str) -> None:
    typer.echo(text, err=True)


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
