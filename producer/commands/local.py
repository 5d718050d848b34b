"""`tranquility local …`: the whole product on this machine, with no Azure account."""

import signal
from contextlib import nullcontext
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from producer.commands.fleet import Told
from producer.commands.options import AllowUnproven, TargetFile
from producer.session import LOCAL_TARGET, open_session
from producer.words import plural
from worker.contract import azure
from worker.contract.errors import InputError

group = typer.Typer(
    no_args_is_help=True,
    help="A fleet on this machine: Azurite, an emulated scale set, the same workers.",
    epilog="Example: tranquility local up",
)
Instances = Annotated[
    int | None, typer.Option(min=1, max=64, help="Most instances at once. Default: one a core.", show_default=False)
]
Slots = Annotated[int, typer.Option(min=1, max=64, help="Workers on each instance.")]
TimeScale = Annotated[
    float, typer.Option(min=0.02, max=1.0, help="All durations of the protocol times this; 1 is as on Azure.")
]
Notice = Annotated[float, typer.Option(min=1.0, max=60.0, help="Seconds from an eviction notice to the end.")]


def register(app: typer.Typer) -> None:
    """Add the group `local`."""
    app.add_typer(group, name="local")


@group.command(epilog="Example: tranquility local up --instances 2")
def up(
    instances: Instances = None,
    slots: Slots = 1,
    time_scale: TimeScale = 0.1,
    notice: Notice = 10.0,
    scale: Annotated[
        bool,
        typer.Option(
            help="Run the loop that scales the set. Without it only the wake does, as when a laptop is closed."
        ),
    ] = True,
    machines: Annotated[
        bool,
        typer.Option(
            "--machines", help="Boot systemd and the units of systemd/ on each instance. Linux, a checkout, root."
        ),
    ] = False,
) -> None:
    """Start Azurite, the emulated scale set, its wake and the loop that scales it; Ctrl-C ends all of it.

    Its data stays in .tranquility/local: `local up` in the same folder finds its sweeps again.
    """
    from producer.emulator.local import LocalOptions, default_instances, local_fleet, scaling, wait_for_the_end

    console = Console()
    options = LocalOptions(instances or default_instances(), slots, time_scale, notice, machines=machines)
    told = Told(console)
    stop_on_term()
    try:
        with local_fleet(options, told.say) as (fleet, session):
            console.print(
                f"Up: at most {plural(options.instances, 'instance')} of {plural(slots, 'worker')}, {LOCAL_TARGET}. "
                "In another terminal of this folder: tranquility enqueue examples/lunar.yaml. Ctrl-C ends it."
            )
            with scaling(fleet, session, told.tell) if scale else nullcontext():
                wait_for_the_end(fleet)
    except KeyboardInterrupt:
        console.print("Ended; nothing is left running. The sweeps stay, and go on at the next local up.")


@group.command(epilog="Example: tranquility local evict --no-notice")
def evict(
    instance: Annotated[
        str | None, typer.Argument(help="Which instance. Default: a busy one.", show_default=False)
    ] = None,
    notice: Annotated[bool, typer.Option(help="With the notice that Azure gives most of the time, or without.")] = True,
    target: TargetFile = None,
) -> None:
    """Take an instance away, as Azure does when it wants its spot capacity back."""
    from producer.emulator.control import evict as ask

    session = open_session(target)
    if session.target.kind != "local":
        raise InputError("The target of this folder is on Azure. There: az vm simulate-eviction --help")
    # Reports outlive their VMs: which of these still runs, the emulator knows.
    busy = sorted({seen.report.vm for seen in session.control.slots() if seen.report.state == "busy"})
    name = ask(session.target, azure.credential(session.target), instance, notice=notice, preferred=busy)
    typer.echo(f"{name} is being evicted{'' if notice else ', without notice'}.")


@group.command(epilog="Example: tranquility local run examples/demo.yaml --evict")
def run(
    sweep: Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="The sweep file.")],
    instances: Instances = None,
    slots: Slots = 1,
    time_scale: TimeScale = 0.1,
    notice: Notice = 10.0,
    evict: Annotated[
        bool, typer.Option("--evict", help="Evict a busy instance in the middle, to see what happens.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for models, curves and results.")] = Path("runs"),
    allow_unproven: AllowUnproven = False,
) -> None:
    """Run a sweep on a fleet on this machine, from the first instance to zero; the same command again goes on."""
    from producer.emulator.local import LocalOptions, default_instances
    from producer.emulator.run import run_locally
    from producer.sweep.planning import plan_file

    options = LocalOptions(instances or default_instances(), slots, time_scale, notice)
    stop_on_term()
    planned = plan_file(sweep, allow_unproven=allow_unproven)  # first: a mistake in the file costs no time
    raise typer.Exit(run_locally(sweep, planned, options, out, Console(), evict=evict))


def stop_on_term() -> None:
    """Let SIGTERM and SIGHUP (a closed terminal) end the command as Ctrl-C does, so that nothing is left running.

    What is ignored stays ignored: `nohup` asked for that.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for order in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(order) is not signal.SIG_IGN:
            signal.signal(order, interrupt)
