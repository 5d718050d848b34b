"""`local up`: the fleet on this machine, the target file that points to it, and the loop that scales it."""

import contextlib
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from producer.emulator.arm import ArmSettings
from producer.emulator.azurite import install, is_installed
from producer.emulator.description import SetDescription, spot_set
from producer.emulator.fleet import FleetSettings, LocalFleet, Machine
from producer.emulator.machine import MachineImage
from producer.emulator.states import Latencies
from producer.emulator.tokens import Identity
from producer.emulator.units import InstanceSpec
from producer.fleet.scaler import TickReport, open_scaler
from producer.session import HOME, LOCAL_TARGET, Session, open_session
from producer.sweep.audit import audit

SUBSCRIPTION = "00000000-0000-4000-8000-000000000001"
TENANT = "00000000-0000-4000-8000-000000000002"
GROUP = "tranquility-local"
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
    home = options.azurite or azurite_home(say)
    image = MachineImage(options.slots, options.time_scale, options.instances, release="local")
    description = scale_set(options)
    fleet: LocalFleet

    def build(machine: Machine) -> InstanceSpec:
        return image.spec(machine, fleet.endpoints, description.identity.resource_id)

    latencies = Latencies(boot_s=options.boot_s, delete_s=1.0, notice_s=options.notice_s)
    settings = FleetSettings(latencies, ArmSettings(throttle_speed=1 / options.time_scale))
    fleet = LocalFleet(home, DATA, description, identity("operator"), build, settings)
    with fleet:
        target = image.target(fleet.endpoints, fleet.endpoints.operator_imds_url)
        LOCAL_TARGET.write_bytes(target.canonical())
        try:
            yield fleet, open_session(LOCAL_TARGET)
        finally:
            LOCAL_TARGET.unlink(missing_ok=True)


@contextlib.contextmanager
def scaling(session: Session, say: Callable[[TickReport], None]) -> Iterator[None]:
    """Reconcile the set with the queue, in a thread, until the block ends."""
    stop = session.runtime.event()
    scaler = open_scaler(session, audit)
    task = session.runtime.spawn("scaler", lambda: scaler.watch(stop, say))
    try:
        yield
    finally:
        stop.set()
        task.join()


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


def scale_set(options: LocalOptions) -> SetDescription:
    """Return the emulated scale set: Flexible, spot, policy Delete."""
    workers = identity("workers")
    return SetDescription(
        subscription_id=SUBSCRIPTION,
        resource_group=GROUP,
        name="tranq-set",
        identity=workers,
        resource=spot_set("local", "Standard_Local", workers, {"tranquility-max-instances": str(options.instances)}),
    )


def identity(name: str) -> Identity:
    """Return an identity of the emulated tenant; the same at every start."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    return Identity(
        name=name,
        resource_id=f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}",
        client_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"tranquility/{name}/client")),
        principal_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"tranquility/{name}/principal")),
        tenant_id=TENANT,
    )
