"""`tranquility release …`: what VMs run."""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from producer.commands.options import AsJson, TargetFile
from producer.commands.sweep import say
from producer.session import open_session
from producer.sweep.patience import patient
from producer.target.release import Bundle, Published, bundle, current_release, publish
from producer.target.sources import Checkout
from producer.target.wheelhouse import TORCH_INDEX, Pip, Platform, read_pins, wheelhouse
from worker.contract.errors import InputError

group = typer.Typer(
    no_args_is_help=True,
    help="The code that VMs run: build it, publish it, see which one it is.",
    epilog="Example: tranquility release show",
)


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.add_typer(group, name="release")


Python = Annotated[str, typer.Option("--python", help="Interpreter of the VMs: cp311, cp312 (Ubuntu 24.04) or cp313.")]
TorchIndex = Annotated[str, typer.Option("--torch-index", help="Index with CPU builds of torch for Linux.")]


@group.command("publish", epilog="Example: tranquility release publish")
def publish_command(
    python: Python = "cp312",
    torch_index: TorchIndex = TORCH_INDEX,
    force: Annotated[
        bool, typer.Option("--force", help="Even if unfinished jobs must then begin again at step 0.")
    ] = False,
    as_json: AsJson = False,
    target: TargetFile = None,
) -> None:
    """Build this checkout with all that it needs for the VMs, upload it, and let new VMs boot with it.

    VMs that run go on with the release they have. Publishing the same sources again uploads nothing.
    """
    session = patient(open_session(target), say)
    with tempfile.TemporaryDirectory(prefix="tranquility-") as folder:
        made = build(Checkout(), Platform(python), torch_index, Path(folder))
        with _bar() as bar:
            task = bar.add_task("uploading", total=sum(file.size for file in made.release.files))
            found = publish(session, made, lambda _name, size: bar.advance(task, size), force=force)
    if as_json:
        typer.echo(_document(found))
    else:
        Console().print(_words(found), soft_wrap=True, highlight=False)


@group.command(epilog="Example: tranquility release show")
def show(as_json: AsJson = False, target: TargetFile = None) -> None:
    """Say which release VMs boot with."""
    found = current_release(open_session(target).blobs)
    if found is None:
        raise InputError("No release is published on this target: tranquility release publish")
    release_id, release = found
    if as_json:
        typer.echo(release.model_dump_json(by_alias=True, indent=2))
        return
    size = sum(file.size for file in release.files)
    Console().print(
        f"Release {release.version} ({release_id[:12]}) for {release.python}: {len(release.files)} files, "
        f"{size / 1e6:,.0f} MB; jobs up to schema {release.job_schema}, checkpoints of version "
        f"{release.state_version}.",
        soft_wrap=True,
        highlight=False,
    )


def build(checkout: Checkout, platform: Platform, torch_index: str, folder: Path) -> Bundle:
    """Build the release of a checkout in `folder`. Raises WheelsMissing, InputError."""
    os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")  # 1980: the same sources make the same wheel
    sources, wheels = folder / "sources", folder / "wheels"
    sources.mkdir()
    wheels.mkdir()
    pip = Pip(platform, torch_index)
    say("Building the wheel")
    ours = pip.build(checkout.copy_to(sources), wheels)
    say(f"Bringing together what it needs for {platform.python} on Linux x86-64 (about 300 MB)")
    every = wheelhouse(ours, read_pins(checkout.constraints), platform, pip)
    return bundle(checkout.version, platform.python, every, checkout.units, folder)


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    return Progress(*columns, console=console, disable=not console.is_terminal)


def _document(found: Published) -> str:
    return json.dumps(asdict(found), indent=2)


def _words(found: Published) -> str:
    which = f"release {found.version} ({found.release[:12]}) for {found.python}"
    if not found.uploaded_bytes and not found.before:
        return f"VMs boot with {which} already."
    instead = f", instead of {found.before[:12]}" if found.before else ""
    uploaded = f"{found.uploaded_bytes / 1e6:,.0f} MB uploaded"
    return f"VMs boot with {which} from now on{instead}: {found.files} files, {uploaded}."
