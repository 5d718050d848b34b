"""The program `tranquility`: its commands, and how their errors reach a person."""

import gc
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final

import typer

from producer.commands.loading import Register, group_of
from producer.fleet.scale_set import AzureScaleSet, Glances
from producer.fleet.scaler import ensure_capacity
from producer.session import Session, open_session
from worker.contract.errors import FleetDenied, InputError, TranquilityError


def open_set(session: Session) -> Glances:
    """Return the target's scale set, for looking only."""
    return Glances(lambda: AzureScaleSet(session.compute, session.target), session.runtime, session.durations.tick_s)


def close_enqueue(session: Session, say: Callable[[str], None]) -> None:
    """Raise the capacity to what was sent, and say what that does not cover (rule 10).

    Raises FleetDenied where this person may not raise, and nobody else is there to do it.
    """
    report = ensure_capacity(session, say)
    if report.denied and not report.enough and not session.target.wake:
        raise FleetDenied(
            f"{report.problem} The jobs are queued, and no wake runs here: somebody with the scaler's role has to call "
            "tranquility scale --watch."
        )
    for trouble in (report.held, report.refused, report.problem):
        if trouble and not report.enough:
            say(f"The set may be too small: {trouble}")
    if not session.target.wake:
        say("No wake runs here: VMs that are evicted are replaced only while `tranquility scale --watch` runs.")


def _add_sweep(to: typer.Typer) -> None:
    from producer.commands import sweep

    sweep.register(to, after=close_enqueue)


def _add_results(to: typer.Typer) -> None:
    from producer.commands import results

    results.register(to, open_session, open_set)


def _add_fleet(to: typer.Typer) -> None:
    from producer.commands import fleet
    from producer.sweep.audit import audit

    fleet.register(to, audit)


def _add(module: str) -> Register:
    def add(to: typer.Typer) -> None:
        import_module(f"producer.commands.{module}").register(to)

    return add


COMMANDS: Final[Mapping[tuple[str, ...], Register]] = {
    ("enqueue", "confirm", "cancel", "pause", "resume", "retry", "delete"): _add_sweep,
    ("status", "watch", "results", "logs", "cost"): _add_results,
    ("export",): _add("export"),
    ("scale",): _add_fleet,
    ("local",): _add("local"),
    ("train", "play"): _add("models"),
    ("report",): _add("report"),
    ("release",): _add("release"),
    ("deploy",): _add("deploy"),
    ("doctor", "destroy"): _add("target"),
}
"""In the order in which help shows them."""

app = typer.Typer(
    cls=group_of(COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sweeps of Soft Actor-Critic on Azure spot VMs that lose nothing when VMs are evicted.",
    epilog="Example: tranquility train examples/demo.yaml --job 0 (every command has its own with --help)",
)
app.callback()(lambda: None)


def run() -> None:
    """Run a command. An expected error is one message and an exit status: 1 failed, 2 wrong usage or input."""
    # A look at 10,000 jobs makes many objects of which none goes: looking for some takes a tenth of its time.
    gc.set_threshold(50_000)
    try:
        app()
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    except TranquilityError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from error
