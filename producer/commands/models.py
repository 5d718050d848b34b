"""`tranquility train` and `play`: one job in this process, and what its policy does. Both need the extra `worker`."""

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from producer.commands.options import AllowUnproven, AsJson, TargetFile
from producer.session import open_session
from producer.sweep.planning import plan_file
from producer.worker_process import show_worker, worker_is_installed
from worker.contract.errors import InputError, MessageRejected, NewerSchema
from worker.contract.job import Job, decode
from worker.contract.result import POLICY

FILES = {".zip", ".safetensors"}
"""Endings of a person's own models."""


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(epilog="Example: tranquility train examples/demo.yaml --job 0")(train)
    app.command(epilog="Example: tranquility play best --episodes 3 --video lander.mp4")(play)


def train(
    source: Annotated[Path, typer.Argument(metavar="SWEEP.yaml|JOB.json", help="A sweep file, or one job.")],
    job: Annotated[int, typer.Option(min=0, help="Which job of the sweep, in the order of enqueue --dry-run.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result. Default: runs/SWEEP/JOB.", show_default=False)
    ] = None,
    allow_unproven: AllowUnproven = False,
) -> None:
    """Train one job in this process: no queue, no storage; the same trainer and the same result as from the fleet."""
    if source.suffix == ".json":
        wanted = read_job(source)
    else:
        plan = plan_file(source, allow_unproven=allow_unproven).plan
        if job >= len(plan.jobs):
            raise InputError(f"--job {job}: {source} has {len(plan.jobs)} jobs, 0 to {len(plan.jobs) - 1}.")
        wanted = plan.job(plan.jobs[job])
    folder = out or Path("runs") / wanted.sweep / wanted.id
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "job.json"
        file.write_text(wanted.encode())
        hand_over("train", str(file), "--out", str(folder))
    typer.echo(f"{folder}/")


def play(
    what: Annotated[
        str,
        typer.Argument(
            metavar="JOB|best|FILE",
            help="A finished job: its id, the beginning of it, or SWEEP/JOB. best: the leader of the newest sweep, "
            "SWEEP/best: of that one. Or a file of your own: SB3's model.zip, or policy.safetensors.",
        ),
    ],
    episodes: Annotated[int, typer.Option(min=1, max=1000, help="How many held-out episodes to fly.")] = 5,
    video: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Film to write: .mp4 or .gif.", show_default=False)
    ] = None,
    window: Annotated[bool, typer.Option("--window", help="Show it in a window.")] = False,
    env: Annotated[
        str | None, typer.Option(metavar="ID", help="Of a model.zip without a result.json beside it.")
    ] = None,
    kwargs: Annotated[
        str | None, typer.Option(metavar="JSON", help="That environment's keyword arguments, as a JSON object.")
    ] = None,
    as_json: AsJson = False,
    target: TargetFile = None,
) -> None:
    """Fly episodes with a trained policy, print their returns, and film them or show them in a window.

    Nothing that could hold code is read: of storage only raw weights and the job, of a model.zip only its weights.
    """
    options = [("--episodes", str(episodes)), ("--video", video), ("--env", env), ("--kwargs", kwargs)]
    arguments = [text for name, value in options if value is not None for text in (name, str(value))]
    if window:
        arguments.append("--window")
    if as_json:
        arguments.append("--json")
    own = Path(what)
    if own.suffix in FILES:
        hand_over("play", str(own), *arguments)
        return
    if env is not None or kwargs is not None:
        raise InputError("--env and --kwargs go with a model.zip: a job knows its environment.")
    from producer.results.flown import read_policy, which_run  # SciPy takes a second to import

    session = open_session(target)
    sweep, job = which_run(session.blobs, what, session.durations.visibility_timeout_s)
    typer.echo(f"{sweep}/{job}", err=as_json)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / POLICY
        file.write_bytes(read_policy(session.blobs, sweep, job))
        hand_over("play", str(file), *arguments)


def hand_over(*arguments: str) -> None:
    """Let a command of the data plane talk to the person, and end as it ends where it fails."""
    if not worker_is_installed():
        raise InputError("What trains is not installed here: pip install 'tranquility[worker]'.")
    status = show_worker(arguments)
    if status:
        sys.stderr.flush()
        raise typer.Exit(status if status in {1, 2} else 1)


def read_job(file: Path) -> Job:
    """Return the job in a file. Raises InputError."""
    try:
        return decode(_text(file))
    except (MessageRejected, NewerSchema) as error:
        raise InputError(f"{file}: {error.detail}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}).") from error
