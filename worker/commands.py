"""The commands of the data plane: arguments in, words and exit status out."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer
from rich.progress import Progress, TextColumn

from worker.contract.errors import BadConfiguration, InputError, TranquilityError
from worker.training_run import TrainingRun

if TYPE_CHECKING:
    from worker.training.play import OnFrame

app = typer.Typer(
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The data plane of tranquility. Without a command: run slot 0 of this VM.",
)
SlotNumber = Annotated[int, typer.Option("--slot", min=0, help="Which slot of the VM.")]


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """Run slot 0 where no command is named."""
    if context.invoked_subcommand is None:
        run(0)


@app.command(epilog="Example: TRANQUILITY_TARGET=/etc/tranquility/target.json tranquility-worker run --slot 1")
def run(slot: SlotNumber = 0) -> None:
    """Receive and train jobs until told to stop."""
    from worker.contract.settings import WorkerSettings
    from worker.run import run_slot

    status = run_slot(WorkerSettings(), slot)
    sys.stdout.flush()
    sys.stderr.flush()
    # All is written, and every thread that is left is a daemon. Unloading torch would take a second, and on a busy VM
    # so long that the watchdog bites: systemd would start a slot again that has left in order.
    os._exit(status)


@app.command(epilog="Example: tranquility-worker events")
def events() -> None:
    """Watch Azure's scheduled events, and tell the slots of this VM when it will go."""
    from worker.vm.services import run_events

    run_events()


@app.command(epilog="Example: tranquility-worker retire --once")
def retire(
    once: Annotated[bool, typer.Option("--once", help="Take one step and end: for a timer.")] = False,
) -> None:
    """Delete this VM when nobody needs it."""
    from worker.vm.services import run_retire

    run_retire(once=once)


@app.command(epilog="Example: ExecStopPost=tranquility-worker witness --slot %i")
def witness(slot: SlotNumber = 0) -> None:
    """Write into the manifest how a slot's process died; called by its supervisor."""
    from worker.vm.services import run_witness

    run_witness(slot)


@app.command(epilog="Example: tranquility-worker probe BipedalWalker-v3 --json")
def probe(
    environment: Annotated[str, typer.Argument(metavar="ENV", help="Id of a gymnasium environment.")],
    kwargs: Annotated[str, typer.Option(help="Its keyword arguments, as a JSON object.")] = "{}",
    episodes: Annotated[int, typer.Option(min=1, max=1000, help="How many to cut, replay and compare.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Find out whether an environment's state comes back bit by bit when an episode's actions are replayed."""
    from worker.training.probe import probe as compare

    verdict = compare(environment, _object(kwargs), episodes, lambda: None)
    if as_json:
        _say(verdict.model_dump_json())
    elif verdict.exact:
        _say(f"{environment}: {episodes} of {episodes} episodes went on exactly after a replay.")
    else:
        _say(f"{environment}: a replayed episode went on differently. A resume would not be bit-exact.")


@app.command(epilog="Example: tranquility-worker train job.json --out runs/one")
def train(
    job: Annotated[Path, typer.Argument(metavar="JOB.json", help="A job, as a message holds it.")],
    out: Annotated[Path, typer.Option(help="Folder for result.json, curve.csv, model.zip and the policy.")],
) -> None:
    """Train one job in this process: no queue, no storage, the same result as through the fleet."""
    from worker.contract.job import decode
    from worker.contract.runtime import RealRuntime
    from worker.sac_trainers import sac_trainers
    from worker.solo import train_alone

    wanted = decode(_read(job).decode(errors="replace"))
    with TrainingProgress(wanted.configuration.timesteps) as shown:
        result = train_alone(wanted, sac_trainers(), RealRuntime(), out, shown.update)
    _say(f"mean return {result.score.mean:.1f} over {result.score.episodes} held-out episodes")
    _say(f"state digest {result.state_digest}")


@app.command(epilog="Example: tranquility-worker play policy.safetensors --episodes 3 --video flight.mp4")
def play(
    policy: Annotated[Path, typer.Argument(help="policy.safetensors of a result, or SB3's model.zip.")],
    episodes: Annotated[int, typer.Option(min=1, max=1000)] = 5,
    video: Annotated[Path | None, typer.Option(help="Film to write: .mp4 or .gif.", show_default=False)] = None,
    window: Annotated[bool, typer.Option("--window", help="Show it in a window.")] = False,
    environment: Annotated[
        str | None, typer.Option("--env", help="Of a model.zip without a result.json beside it.", show_default=False)
    ] = None,
    kwargs: Annotated[str, typer.Option(help="Its keyword arguments, as a JSON object.")] = "{}",
    as_json: Annotated[bool, typer.Option("--json", help="Print the flights as JSON.")] = False,
) -> None:
    """Fly held-out episodes with a trained policy and print their returns."""
    from worker.training.play import play as fly
    from worker.training.play import published

    if policy.suffix == ".zip":
        from worker.training.model_zip import environment_named, read_model_zip

        pilot = read_model_zip(policy, environment_named(environment, _object(kwargs)) if environment else None)
    else:
        pilot = published(_read(policy))
    flights = []
    with _film(video, window=window) as on_frame:
        for number, flown in enumerate(fly(pilot, episodes, on_frame, window=window), start=1):
            flights.append(flown)
            if not as_json:
                _say(f"episode {number}: return {flown.episode_return:.1f} in {flown.length} steps")
    if as_json:
        _say(json.dumps([asdict(flown) for flown in flights]))
    else:
        mean = sum(flown.episode_return for flown in flights) / len(flights)
        _say(f"mean {mean:.1f} over {len(flights)} episode{'' if len(flights) == 1 else 's'}")


@contextmanager
def _film(path: Path | None, *, window: bool) -> "Iterator[OnFrame | None]":
    if path is None:
        yield None
        return
    if window:
        raise InputError("--video draws without a window: give one of --video and --window.")
    from worker.training.video import Film

    # Frames are drawn in memory; SDL would look for a display all the same, and complain where there is none.
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    with Film(path) as film:
        yield film.add


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _object(text: str) -> dict[str, bool | int | float | str | None]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"--kwargs {text!r} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"--kwargs {text!r} is not a JSON object, like '{{\"enable_wind\": true}}'")
    return value


class TrainingProgress:
    """A progress bar on a terminal; elsewhere a line at every tenth of the way."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._bar = Progress(
            *Progress.get_default_columns(), TextColumn("{task.fields[words]}"), disable=not _terminal()
        )
        self._task = self._bar.add_task("training", total=total, words="")
        self._said = -1

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, run: TrainingRun, seconds: float) -> None:
        """Show how far `run` is after `seconds`."""
        words = f"{run.step / max(seconds, 1e-9):.0f} steps/s"
        if run.latest_return is not None:
            words += f", latest return {run.latest_return:.1f}"
        if run.partial_evaluation is not None:
            words += f", evaluating: {len(run.partial_evaluation.returns)} episodes flown"
        self._bar.update(self._task, completed=run.step, words=words)
        tenth = run.step * 10 // self._total
        if not _terminal() and tenth > self._said:
            self._said = tenth
            _say(f"{run.step} of {self._total} steps, {words}")


def _terminal() -> bool:
    return sys.stdout.isatty()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run_command() -> None:
    """Run a command; an error that is expected is one message and an exit status, not a trace."""
    try:
        app()
    except (InputError, BadConfiguration) as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    except TranquilityError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from error
