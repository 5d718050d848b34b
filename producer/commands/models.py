"""`tranquility train` and `play`: one job in this process, and what its policy does. Both need the extra `worker`."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from producer.results.logs import find_job
from producer.results.parts import read_outcome, read_part
from producer.session import Session, open_session
from producer.sweep.environment import WORKER, worker_environment, worker_is_installed
from producer.sweep.planning import plan_file
from worker.contract.errors import InputError
from worker.contract.job import decode
from worker.contract.result import POLICY


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command(epilog="Example: tranquility train examples/demo.yaml --job 0")(train)
    app.command(epilog="Example: tranquility play 3f2a --episodes 3")(play)


def train(
    source: Annotated[Path, typer.Argument(metavar="SWEEP.yaml|JOB.json", help="A sweep file, or one job.")],
    job: Annotated[int, typer.Option(min=0, help="Which job of the sweep, in the order of enqueue --dry-run.")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the result. Default: runs/SWEEP/JOB.", show_default=False)
    ] = None,
) -> None:
    """Train one job in this process: no queue, no storage; the same trainer and the same result as from the fleet."""
    if source.suffix == ".json":
        wanted = decode(_text(source))
    else:
        plan = plan_file(source).plan
        if job >= len(plan.jobs):
            raise InputError(f"--job {job}: {source} has {len(plan.jobs)} jobs, 0 to {len(plan.jobs) - 1}.")
        wanted = plan.job(plan.jobs[job])
    folder = out or Path("runs") / wanted.sweep / wanted.id
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "job.json"
        file.write_text(wanted.encode())
        _run_worker("train", str(file), "--out", str(folder))
    typer.echo(f"{folder}/")


def play(
    job: Annotated[str, typer.Argument(help="A finished job: its id or the beginning of it, or SWEEP/JOB.")],
    episodes: Annotated[int, typer.Option(min=1, max=1000, help="How many held-out episodes to fly.")] = 5,
) -> None:
    """Fly episodes with a trained policy and print their returns. Nothing that could hold code is read from storage."""
    body = _policy_of(open_session(), job)
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / POLICY
        file.write_bytes(body)
        _run_worker("play", str(file), "--episodes", str(episodes))


def _policy_of(session: Session, asked: str) -> bytes:
    sweep, job = find_job(session.blobs, asked)
    outcome = read_outcome(session.blobs, sweep, job)
    if outcome.policy is None:
        raise InputError(f"{sweep}/{job} is not done: tranquility status {sweep} shows how far it is.")
    return read_part(session.blobs, job, outcome.policy)


def _run_worker(*arguments: str) -> None:
    """Run a command of the data plane in a process of its own, since the control plane never imports torch."""
    if not worker_is_installed():
        raise InputError("What trains is not installed here: pip install 'tranquility[worker]'.")
    done = subprocess.run([*WORKER, *arguments], env=worker_environment(), check=False)
    if done.returncode:
        sys.stderr.flush()
        raise typer.Exit(done.returncode if done.returncode in {1, 2} else 1)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error
