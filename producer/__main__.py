"""`python -m producer …`, console script `tranquility`: the commands, and how their errors reach a person."""

import sys
from pathlib import Path

import typer

import worker
from producer.commands import fleet, local, models, results, sweep
from producer.fleet.scale_set import AzureScaleSet, Glances
from producer.fleet.scaler import ensure_capacity
from producer.session import Session, open_session
from producer.sweep.audit import audit
from worker.contract.errors import InputError, TranquilityError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sweeps of Soft Actor-Critic on Azure spot VMs that lose nothing when VMs are evicted.",
)


def open_set(session: Session) -> Glances:
    """Return the target's scale set, for looking only."""
    return Glances(AzureScaleSet(session.compute, session.target), session.runtime, session.durations.tick_s)


sweep.register(app, after=ensure_capacity)
results.register(app, open_session, open_set)
fleet.register(app, audit)
local.register(app)
models.register(app)


def main() -> None:
    """Run a command. An expected error is one message and an exit status: 1 failed, 2 wrong usage or input."""
    here, there = Path(__file__).parent.parent, Path(worker.__file__ or "").parent.parent
    if here != there:
        # `python -m` puts the current folder first, and a file of the user's may be called worker.py.
        sys.stderr.write(f"{worker.__file__} is in the way of tranquility's own package. Use: tranquility …\n")
        raise SystemExit(2)
    try:
        app()
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    except TranquilityError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
