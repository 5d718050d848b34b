"""Commands that look at sweeps: status, watch, results, logs, export, cost. None of them changes anything in Azure."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from producer import session as sessions
from producer.results.cost import price_of
from producer.results.documents import sweep_document, view_document
from producer.results.fleet_view import FleetReader, SetReader
from producer.results.overview import overview, read_all, the_sweep
from producer.results.progress import ProgressReader
from producer.results.screen import Size, screen
from producer.results.watch import Watcher, watch
from producer.session import Session

OpenSession = Callable[[Path | None], Session]
OpenSet = Callable[[Session], SetReader]

TargetFile = Annotated[
    Path | None,
    typer.Option(
        "--target", metavar="FILE", help="Target to look at. Default: that of this folder.", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


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
    for command in (look.status, look.watch):
        app.command()(command)


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
        """Show how far sweeps are, and why nothing runs where nothing does.

        Example: tranquility status lunar
        """
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
        """Watch a sweep live until all its jobs have ended; Ctrl-C leaves the sweep alone.

        Example: tranquility watch lunar
        """
        session = self._open_session(target)
        watcher = self._watcher(session, the_sweep(session.blobs, sweep))
        try:
            watch(watcher, Console(), session.runtime, session.runtime.event(), every_s=every)
        except KeyboardInterrupt:
            typer.echo("The sweep goes on without this view.", err=True)

    def _watcher(self, session: Session, sweep: str) -> Watcher:
        return open_watcher(session, sweep, self._open_set(session) if self._open_set else None)


def open_watcher(session: Session, sweep: str, scale_set: SetReader | None) -> Watcher:
    """Return a watcher of a sweep on a session's target; `local run` uses it too."""
    return Watcher(
        ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s),
        FleetReader(session.blobs, session.jobs, session.poison, session.durations, scale_set),
        price_of(session.target),
        session.target.max_instances,
        lambda: datetime.now().astimezone().strftime("%H:%M:%S"),
    )


def _print_json(document: Any) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
