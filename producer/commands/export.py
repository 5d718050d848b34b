"""`tranquility export`: a sweep's learning curves and models, for other tools."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from producer import session as sessions
from producer.commands.options import SweepName, TargetFile
from producer.results.export import TensorBoardExport, curves_csv
from producer.results.parts import write_whole
from producer.results.progress import ProgressReader
from producer.results.zoo import export_zoo
from producer.session import Session
from producer.words import plural
from worker.contract.errors import InputError, StorageUnavailable

EVERY_S = 2.0


def register(app: typer.Typer, open_session: Callable[[Path | None], Session] = sessions.open_session) -> None:
    """Add the command to `app`; `open_session` is how to reach the target."""

    @app.command(epilog="Example: tranquility export lunar --tensorboard runs/tb --follow")
    def export(
        sweep: SweepName,
        tensorboard: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Write TensorBoard event files, one run a job.", show_default=False),
        ] = None,
        csv: Annotated[
            Path | None,
            typer.Option(metavar="FILE", help="Write all curves, one line a step.", show_default=False),
        ] = None,
        zoo: Annotated[
            Path | None,
            typer.Option(metavar="DIR", help="Write models and runs as rl-baselines3-zoo does.", show_default=False),
        ] = None,
        follow: Annotated[
            bool, typer.Option("--follow", "-f", help="Keep the event files in step until the sweep has ended.")
        ] = False,
        target: TargetFile = None,
    ) -> None:
        """Write a sweep's learning curves, and its models, for other tools."""
        if tensorboard is None and csv is None and zoo is None:
            raise InputError("Say what to write: --tensorboard DIR, --csv FILE, or --zoo DIR.")
        if follow and tensorboard is None:
            raise InputError("--follow goes with --tensorboard DIR.")
        session = open_session(target)
        reader = ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s)
        problems: tuple[str, ...] = ()
        if csv is not None:
            text, problems = curves_csv(session.blobs, reader.read())
            write_whole(csv, text.encode())
            typer.echo(f"Wrote {csv}.")
        if zoo is not None:
            exported = export_zoo(session.blobs, reader.read(), zoo)
            problems += exported.problems
            typer.echo(f"Wrote {plural(exported.experiments, 'experiment')} to {zoo}.")
            if exported.command:
                typer.echo(f"The best plays with: {exported.command}")
        if tensorboard is not None:
            problems += _tensorboard(session, reader, tensorboard, follow=follow)
        _report(problems)


def _tensorboard(session: Session, reader: ProgressReader, folder: Path, *, follow: bool) -> tuple[str, ...]:
    writer = TensorBoardExport(session.blobs, folder, time.time)
    stop = session.runtime.event()
    try:
        while not _update(writer, reader, folder, follow=follow) and not session.runtime.wait(stop, EVERY_S):
            pass
    except KeyboardInterrupt:
        pass  # it was asked to end
    finally:
        writer.close()
    return tuple(writer.problems)


def _update(writer: TensorBoardExport, reader: ProgressReader, folder: Path, *, follow: bool) -> bool:
    """Write what is new; return whether nothing more will come. Whoever follows waits a storage outage out."""
    try:
        progress = reader.read()
        written = writer.update(progress, live=follow)
    except StorageUnavailable as error:
        if not follow:
            raise
        typer.echo(f"Storage does not answer: {error.detail}", err=True)
        return False
    if written or not follow:
        typer.echo(f"Wrote {plural(written, 'curve')} to {folder}.")
    return progress.finished or not follow


def _report(problems: Sequence[str]) -> None:
    """Name what could not be read, and end with exit code 1 if anything."""
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(1)
