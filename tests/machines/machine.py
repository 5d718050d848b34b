"""Machines as a test sees them: a fleet of them at the pace of tests, and what goes on in each."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from azure.core.credentials import TokenCredential

from producer.emulator.deployment import Deployment, deployed
from producer.emulator.fleet import Endpoints, FleetSettings, LocalFleet, Machine
from producer.emulator.instance import Instance, InstanceEvent, Spec
from producer.emulator.nspawn.image import UNITS, NspawnImage
from producer.emulator.states import Latencies
from producer.emulator.tokens import DirectCredential, TokenAuthority
from producer.target.committed import committed_snapshot
from tests.proof.real_processes import Account
from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job, PolicyKwargs
from worker.contract.manifest import Manifest
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations

PATIENCE_S: Final = 600.0
LOOK_S: Final = 0.4
OVER: Final = threading.Event()
"""Set when nobody waits for a story any more: it ends at its next look."""
PACE: Final = Durations.model_validate(
    {
        **Durations().scaled(1 / 60).model_dump(),
        "commit_s": 0.3,
        "first_receive_after_pulse_s": 0.1,
        # Each look of the retire service is a Python of its own, which takes seconds.
        "tick_s": 4.0,
        # Importing torch makes no progress, and must not be taken for a hang.
        "watchdog_s": 15.0,
        # Nobody here is to be taken for dead or fruitless.
        "dead_after_s": 600.0,
        "boot_grace_s": 1500.0,
        "fruitless_s": 3600.0,
    }
)
CONFIGURATION: Final = Configuration(
    environment=EnvironmentSpec(id="Pendulum-v1"),
    timesteps=6_000,
    trainer="fast",
    hyperparameters=Hyperparameters(batch_size=64, learning_starts=100, policy_kwargs=PolicyKwargs(net_arch=(32, 32))),
    evaluation=Evaluation(every=2_000, episodes=1, final_episodes=1),
)
"""Some seconds of training: what happens to it in the middle has to find it there, on a fast machine too."""


def job(sweep: str, timesteps: int = CONFIGURATION.timesteps) -> Job:
    """Return the one job of all machines; its digest does not depend on the name of its sweep."""
    return Job.of(sweep, CONFIGURATION.model_copy(update={"timesteps": timesteps}), 0)


class Inside:
    """A machine from within."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self._init = instance.pids["init"]

    def __call__(self, *command: str, check: bool = True) -> str:
        """Run a command as the machine's root and return its output."""
        enter = ["nsenter", "--target", str(self._init), "--all"]
        done = subprocess.run([*enter, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit."""
        lines = self("systemctl", "show", f"--property={','.join(properties)}", unit).splitlines()
        return dict(line.split("=", 1) for line in lines)

    def main_pid(self, unit: str) -> int:
        """Return the main process of a unit, by its number out here."""
        within = int(self.show(unit, "MainPID")["MainPID"])
        namespace = Path(f"/proc/{self._init}/ns/pid").readlink()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                numbers = (process / "status").read_text().partition("NSpid:")[2].partition("\n")[0].split()
                if int(numbers[-1]) == within and (process / "ns" / "pid").readlink() == namespace:
                    return int(process.name)
            except (FileNotFoundError, ProcessLookupError, IndexError):
                continue
        raise AssertionError(f"{unit} has no process: {self('systemctl', 'status', unit, check=False)}")

    def results(self, unit: str) -> list[str]:
        """Return how each life of a unit that failed has ended, as systemd calls it."""
        lines = self("journalctl", "--output=json", "--no-pager", f"--unit={unit}").splitlines()
        entries = [json.loads(line) for line in lines]
        return [entry["UNIT_RESULT"] for entry in entries if "UNIT_RESULT" in entry]

    def journal(self) -> str:
        """Return the last lines of the journal."""
        return self("journalctl", "--no-pager", "--output=short-monotonic", "--lines=100", check=False)


def slot_unit(worker: str) -> str:
    """Return the unit of a worker VM/slot."""
    return f"sweep-worker@{worker.partition('/')[2]}.service"


@dataclass(frozen=True)
class Machines:
    """A running fleet whose instances are machines."""

    fleet: LocalFleet
    account: Account

    def boot(self) -> Inside:
        """Raise the capacity by one and return the new machine, booted, its slots ready."""
        new = self.power_on()
        self.until(f"{new.name} boots", lambda: new.wait_for(up_or_off, 0.0))
        return booted(new)

    def power_on(self) -> Instance:
        """Raise the capacity by one and return the new machine, whose systemd has begun."""
        before = {vm.name for vm in self.fleet.model.vms()}
        self.fleet.model.set_capacity(self.fleet.model.capacity + 1)
        self.until("a VM gets its power", lambda: not set(self.fleet.instances) <= before)
        (new,) = (instance for name, instance in self.fleet.instances.items() if name not in before)
        self.until(f"systemd begins on {new.name}", lambda: "init" in new.pids)
        return new

    def boot_busy(self) -> Inside:
        """Do the same, and end the looks of its retire service: each is a Python, which takes from the others."""
        inside = self.boot()
        inside("systemctl", "stop", "sweep-retire.timer", "sweep-retire.service")
        # On a slow machine it has been idle for long by now, and nobody would take its wish back any more.
        self.account.control.lower_flag("retire", inside.instance.name)
        return inside

    def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Look until it holds. Raises AssertionError, with what the machines say, after minutes without."""
        runtime = RealRuntime()
        ends_s = runtime.monotonic() + PATIENCE_S
        while not holds():
            if OVER.is_set():
                raise AssertionError(f"given up: {what}")
            if runtime.monotonic() > ends_s:
                said = [Inside(instance).journal() for instance in self.fleet.instances.values()]
                raise AssertionError("\n".join([f"never within {PATIENCE_S:.0f} s: {what}", *said]))
            runtime.wait(runtime.event(), LOOK_S)

    def in_training(self, job: Job) -> str:
        """Wait until a claim of the job has committed; return its worker."""

        def committed() -> bool:
            manifest = self.account.manifest(job)
            return (
                manifest is not None
                and manifest.status == "running"
                and manifest.attempts[-1].to_step > manifest.attempts[-1].from_step
            )

        self.until(f"{job.sweep} is committed", committed)
        return self.manifest(job).worker

    def manifest(self, job: Job) -> Manifest:
        """Return the manifest of a job that was claimed."""
        manifest = self.account.manifest(job)
        assert manifest is not None
        return manifest

    def attempts(self, job: Job, count: int) -> None:
        """Wait until so many claims of a job were made."""

        def claimed() -> bool:
            manifest = self.account.manifest(job)
            return manifest is not None and manifest.attempt_count >= count

        self.until(f"{count} claims of {job.sweep}", claimed)

    def done(self, job: Job) -> str:
        """Wait until the job is done; return its digest."""
        self.until(f"{job.sweep} ends", lambda: self.account.ended(job.sweep) == 1)
        return self.account.digest(job)


def up_or_off(events: tuple[InstanceEvent, ...]) -> bool:
    """Whether a machine has booted, or never will."""
    return any(event.kind in {"ready", "off"} for event in events)


def booted(instance: Instance) -> Inside:
    """Wait until a machine has booted."""
    assert instance.wait_for(up_or_off, PATIENCE_S), instance.events[-1]
    assert "init" in instance.pids, f"{instance.name} went off: see its console.log"
    inside = Inside(instance)
    state = inside("systemctl", "is-system-running", check=False).strip()
    assert state == "running", f"{state}: {inside('systemctl', '--failed', check=False)}{inside.journal()}"
    return inside


def without_wake(slots: int) -> Deployment:
    """Return what the template deploys, but for the wake, with so many slots on a VM."""
    return replace(deployed(committed_snapshot(), max_instances=4, slots_per_instance=slots), wake=None)


@contextmanager
def machines(
    azurite_home: Path,
    folder: Path,
    *,
    slots: int = 1,
    drop_ins: Mapping[str, str] | None = None,
    front: Callable[[Endpoints], Endpoints] = lambda behind: behind,
) -> Iterator[Machines]:
    """Run a fleet of machines without the wake and without a producer: tests change its capacity.

    `drop_ins` are further files of /etc/systemd/system; `front` stands in front of all services.
    """
    deployment = without_wake(slots)
    image = NspawnImage(deployment.vm_target, time_scale=1 / 60, durations=PACE)
    further = {f"{UNITS}/{name}": text for name, text in (drop_ins or {}).items()}
    fleet: LocalFleet

    def build(machine: Machine) -> Spec:
        spec = image.spec(machine, fleet.endpoints)
        return replace(spec, files={**spec.files, **further})

    settings = FleetSettings(Latencies(boot_s=0.1, delete_s=0.1, notice_s=30.0))
    fleet = LocalFleet(azurite_home, folder, deployment, build, settings, front=front)
    with fleet:
        yield Machines(fleet, Account(fleet.operator_target, operator(fleet, folder)))


def operator(fleet: LocalFleet, folder: Path) -> TokenCredential:
    """Return the credential of whoever runs a fleet in this folder.

    The managed identity would be asked at an address in this process's environment, and here are several fleets.
    """
    authority = TokenAuthority.in_folder(folder, lambda: datetime.now(UTC))
    return DirectCredential(authority, fleet.deployment.operator)
