"""`tranquility report`: one HTML page about a sweep, to keep, to mail, and to publish beside the sweep."""

from pathlib import Path
from typing import Annotated

import typer

from producer.commands.options import SweepName
from producer.results.parts import write_whole
from producer.session import open_session
from worker.contract import names
from worker.contract.errors import InputError


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(epilog="Example: tranquility report lunar --out lunar.html")(report)


def report(
    sweep: SweepName,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="File to write. Default: runs/SWEEP/report.html.", show_default=False),
    ] = None,
    publish: Annotated[bool, typer.Option(help="Store it beside the sweep too.")] = True,
    video: Annotated[bool, typer.Option(help="Film the leader. This needs the extras worker and video.")] = True,
    target: Annotated[
        Path | None,
        typer.Option("--target", metavar="FILE", help="Target file. Default: that of this folder.", show_default=False),
    ] = None,
) -> None:
    """Write one self-contained HTML page: ranking, curves, importance, cost, the leader on film, provenance.

    It opens without a network. A sweep that is not finished gets a page too, which says so.
    """
    try:
        from producer.report.page import make_report  # matplotlib and scikit-learn take seconds to import
    except ModuleNotFoundError as error:
        raise InputError(f"A report needs {error.name}: pip install 'tranquility[report]'.") from error

    session = open_session(target)
    page = make_report(session, sweep, with_video=video).encode()
    file = out or Path("runs") / sweep / "report.html"
    write_whole(file, page)
    typer.echo(f"{file} ({len(page) / 1e6:.1f} MB)")
    if publish:
        session.blobs.put(names.SWEEPS, names.report(sweep), page)
        typer.echo(f"Published as {names.SWEEPS}/{names.report(sweep)}.")
