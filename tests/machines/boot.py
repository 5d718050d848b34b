"""Bare machines with the custom data of the template: one finds a release that it can run, the other one cannot."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from producer.emulator.deployment import deployed
from producer.emulator.fleet import FleetSettings, LocalFleet, Machine
from producer.emulator.instance import Spec
from producer.emulator.nspawn.cloud import BareImage, real_names
from producer.emulator.states import Latencies
from producer.session import Session
from producer.target.committed import committed_snapshot
from producer.target.release import Bundle, Published, bundle, publish
from tests.bicep.test_bootstrap import bundled_pip
from tests.fakes.wheels import make_wheel
from tests.machines.machine import Inside, Machines, job, operator
from tests.machines.release import real_release, system_platform
from tests.proof.real_processes import Account
from worker.contract import names
from worker.contract.errors import StorageUnavailable
from worker.contract.manifest import Manifest
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations

SIBLINGS: Final = tuple(Path("/sys/devices/system/cpu").glob("cpu[0-9]*/topology/thread_siblings_list"))
READY_WITHIN: Final = b"TRANQUILITY_READY_WITHIN_S="
SHORTENED_S: Final = b"1"


@dataclass(frozen=True)
class Started:
    """A machine that became a worker."""

    target: Mapping[str, Any]
    """As it was deployed."""
    release: str
    """That was published."""
    manifest: Manifest
    digest: str
    cloud_init: Mapping[str, Any]
    """What it says of itself."""
    deadman: str
    """The state of the dead man's switch."""
    units: list[str]
    """Slots that run."""
    cores: tuple[int, ...]
    """The first logical CPU of each of its cores."""
    ensurepip: str
    """What its Python answers to `import ensurepip`."""
    hosts: str
    routes: str
    """Its file of names, and its ways out."""


@dataclass(frozen=True)
class Ended:
    """A machine that could not become one."""

    log: str
    """What it left in `control`."""
    capacity: int


def trained(azurite_home: Path, folder: Path) -> Started:
    """Publish a real release, let a VM boot, and have it train."""
    with bare_machines(azurite_home, folder) as (fleet, session):
        made = folder / "release"
        made.mkdir()
        published = _publish(session, real_release(made))
        wanted = job("boot")
        fleet.account.enqueue([wanted])
        vm = fleet.boot()
        digest = fleet.done(wanted)
        fleet.until("the dead man's switch is off", lambda: _state(vm, "tranquility-deadman.timer") != "active")
        fleet.until("no slot is still starting", lambda: not _slots(vm, "activating"))
        return Started(
            target=fleet.fleet.deployment.target,
            release=published.release,
            manifest=fleet.manifest(wanted),
            digest=digest,
            cloud_init=json.loads(vm("cloud-init", "status", "--format=json", check=False)),
            deadman=_state(vm, "tranquility-deadman.timer"),
            units=_slots(vm, "active"),
            cores=tuple(sorted({int(siblings.read_text().replace("-", ",").split(",")[0]) for siblings in SIBLINGS})),
            ensurepip=vm("sh", "-c", "/usr/bin/python3 -c 'import ensurepip' 2>&1 | tail -n 1").strip(),
            hosts=vm("cat", "/etc/hosts"),
            routes=vm("ip", "route"),
        )


def deleted(azurite_home: Path, folder: Path) -> Ended:
    """Publish a release, change a file of it afterwards, and let a VM boot."""
    with bare_machines(azurite_home, folder, shortened) as (fleet, session):
        made = folder / "release"
        (made / "wheels").mkdir(parents=True)
        tiny = make_wheel(made / "wheels", "tiny", "0.1.0")
        release = bundle("0.1.0", system_platform().python, [tiny, bundled_pip()], [], made)
        _publish(session, release)
        session.blobs.put(names.RELEASES, f"{release.id}/requirements.txt", b"evil==6.6.6\n")
        fleet.fleet.model.set_capacity(1)
        (vm,) = (vm.name for vm in fleet.fleet.model.vms())
        fleet.until("the VM deletes itself", lambda: not fleet.fleet.model.vms())
        log = session.blobs.get(names.CONTROL, f"failed-boots/{vm}")
        return Ended(log.body.decode() if log else "", fleet.fleet.model.capacity)


def shortened(custom_data: bytes) -> bytes:
    """Let the dead man's switch wait for a second only: it is the parameter `readyWithinMinutes` of the template."""
    head, found, tail = custom_data.partition(READY_WITHIN)
    assert found
    return head + READY_WITHIN + SHORTENED_S + b"\n" + tail.partition(b"\n")[2]


def unchanged(custom_data: bytes) -> bytes:
    """Return it as it is."""
    return custom_data


@contextmanager
def bare_machines(
    azurite_home: Path, folder: Path, change: Callable[[bytes], bytes] = unchanged
) -> Iterator[tuple[Machines, Session]]:
    """Run a fleet whose VMs are bare, without the wake, as the template deploys it."""
    deployment = replace(deployed(committed_snapshot(), max_instances=2, slots_per_instance=1), wake=None)
    image = BareImage(deployment.target, change(deployment.scale_set.custom_data))
    fleet: LocalFleet

    def build(machine: Machine) -> Spec:
        return image.spec(machine, fleet.endpoints)

    settings = FleetSettings(
        Latencies(boot_s=0.1, delete_s=0.1, notice_s=30.0), real_names=real_names(deployment.target)
    )
    fleet = LocalFleet(azurite_home, folder, deployment, build, settings)
    with fleet:
        account = Account(fleet.operator_target, operator(fleet, folder))
        session = Session(
            target=account.target,
            durations=Durations(),
            blobs=account.blobs,
            jobs=account.jobs,
            poison=account.poison,
            runtime=RealRuntime(),
            user="tests",
        )
        yield Machines(fleet, account), session


def _publish(session: Session, release: Bundle) -> Published:
    """Publish; 300 MB at once are too much for a busy Azurite, and the same command again goes on."""
    trying = Retrying(retry=retry_if_exception_type(StorageUnavailable), stop=stop_after_attempt(10), reraise=True)
    return trying(publish, session, release, lambda _name, _size: None)


def _slots(vm: Inside, state: str) -> list[str]:
    """Return the units of slots that are in this state."""
    listed = vm("systemctl", "list-units", "--plain", "--no-legend", f"--state={state}", "sweep-worker@*")
    return [line.split()[0] for line in listed.splitlines()]


def _state(vm: Inside, unit: str) -> str:
    return vm("systemctl", "is-active", unit, check=False).strip()
