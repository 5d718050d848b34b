"""`local up`: the fleet on this machine, the target file that points to it, and the loop that scales it."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from producer.emulator.arm import ArmSettings
from producer.emulator.azurite import install, is_installed
from producer.emulator.deployment import deployed
from producer.emulator.errors import EmulatorError
from producer.emulator.fleet import FleetSettings, LocalFleet, Machine
from producer.emulator.instance import Spec
from producer.emulator.machine import MachineImage, at_this_pace
from producer.emulator.nspawn.image import NspawnImage
from producer.emulator.nspawn.spec import why_not_here
from producer.emulator.states import Latencies
from producer.fleet.scaler import TickReport, open_scaler
from producer.session import HOME, LOCAL_TARGET, Session, open_session
from producer.sweep.audit import audit
from producer.target.committed import committed_snapshot

DATA = HOME / "local"


@dataclass(frozen=True)
class LocalOptions:
    """How large the fleet is and how its time runs."""

    instances: int = 2
    slots: int = 1
    time_scale: float = 0.1
    notice_s: float = 10.0
    """From an eviction notice to the end of the instance; 30 on Azure."""
    boot_s: float = 2.0
    machines: bool = False
    """Whether each instance is a machine that systemd boots in, and not a group of processes."""
    azurite: Path | None = None
    """Where Azurite is installed, where it is not where `azurite_home` looks."""


def default_instances() -> int:
    """Return one instance of one slot for every core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def local_fleet(options: LocalOptions, say: Callable[[str], None]) -> Iterator[tuple[LocalFleet, Session]]:
    """Run a fleet until the block ends; commands of this folder find it meanwhile.

    Raises EmulatorError, InputError.
    """
    if options.machines and (reason := why_not_here()):
        raise EmulatorError(f"Instances cannot be machines here: {reason}.")
    home = options.azurite or azurite_home(say)
    deployment = deployed(committed_snapshot(), options.instances, options.slots)
    image = (NspawnImage if options.machines else MachineImage)(deployment.vm_target, options.time_scale)
    fleet: LocalFleet

    def build(machine: Machine) -> Spec:
        return image.spec(machine, fleet.endpoints)

    latencies = Latencies(boot_s=options.boot_s, delete_s=1.0, notice_s=options.notice_s)
    settings = FleetSettings(latencies, ArmSettings(throttle_speed=1 / options.time_scale), options.time_scale)
    fleet = LocalFleet(home, DATA, deployment, build, settings, say=say)
    with fleet:
        LOCAL_TARGET.write_bytes(at_this_pace(fleet.operator_target, options.time_scale).canonical())
        try:
            yield fleet, open_session(LOCAL_TARGET)
        finally:
            LOCAL_TARGET.unlink(missing_ok=True)


@contextlib.contextmanager
def scaling(fleet: LocalFleet, session: Session, say: Callable[[TickReport], None]) -> Iterator[None]:
    """Reconcile the set with the queue, in a thread, until the block ends. If that fails, the fleet does."""
    stop = session.runtime.event()
    scaler = open_scaler(session, audit)

    def scale() -> None:
        try:
            scaler.watch(stop, say)
        except Exception as error:
            fleet.fail(f"The loop that scales its set has ended: {error!r}.")
            raise  # to standard error, with its trace

    task = session.runtime.spawn("scaler", scale)
    try:
        yield
    finally:
        stop.set()
        task.join()


def wait_for_the_end(fleet: LocalFleet) -> NoReturn:
    """Wait until the fleet cannot go on. Raises EmulatorError with the reason."""
    fleet.failed.wait()
    raise EmulatorError(fleet.problem)


def azurite_home(say: Callable[[str], None]) -> Path:
    """Return the folder that Azurite is installed in: the environment's, or this folder's, installed now."""
    environment = Path(sys.prefix) / "azurite"
    if is_installed(environment):
        return environment
    here = HOME / "azurite"
    if not is_installed(here):
        say("Installing Azurite, the storage emulator (once)")
        install(here)
    return here
