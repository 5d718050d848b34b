"""A whole fleet on this machine: storage, Azure Resource Manager, instance metadata and instances, started and stopped
as one."""

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import structlog

from producer.emulator.arm import ArmApp, ArmSettings
from producer.emulator.arm_beside import beside
from producer.emulator.azurite import Azurite
from producer.emulator.azurite.prepare import prepare
from producer.emulator.certificates import LOOPBACK_NAMES, Certificates, ensure_certificates
from producer.emulator.control import eviction_route
from producer.emulator.deployment import Deployment
from producer.emulator.errors import EmulatorError
from producer.emulator.faults import Faults
from producer.emulator.imds import VmMetadata, operator_app
from producer.emulator.instance import Instance, Spec
from producer.emulator.model import ScaleSetModel
from producer.emulator.ports import RememberedPorts, bind_loopback
from producer.emulator.serving import Endpoint, HttpHost
from producer.emulator.states import Boot, Kill, Latencies, Problem, Vm
from producer.emulator.tokens import DirectCredential, TokenAuthority
from producer.emulator.wake_runs import WakeHistory, WakeRuns, here
from worker.contract.azure import blob_service, queue_service
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Target

SHORT_PATH = 40
"""Socket paths end at 104 characters on macOS, and ours add 40 to the folder they are in."""


@dataclass(frozen=True)
class FleetSettings:
    """How fast this Azure is. Latencies are in real seconds; `time_scale` times the schedule of the wake."""

    latencies: Latencies = field(default_factory=lambda: Latencies(boot_s=2.0, delete_s=1.0, notice_s=30.0))
    arm: ArmSettings = field(default_factory=ArmSettings)
    time_scale: float = 1.0
    real_names: tuple[str, ...] = ()
    """Further names of the HTTPS endpoints: for machines that ask for them as on Azure."""


@dataclass(frozen=True)
class Endpoints:
    """Where everything of a running fleet is."""

    blob_url: str
    queue_url: str
    arm_url: str
    operator_imds_url: str
    ca_file: Path

    def target(self, deployed: Mapping[str, Any], imds_url: str) -> Target:
        """The target that was deployed, at these addresses, for someone who gets tokens at `imds_url`."""
        here = {
            "kind": "local",
            "blob_endpoint": self.blob_url,
            "queue_endpoint": self.queue_url,
            "arm_endpoint": self.arm_url,
            "imds_endpoint": imds_url,
            "ca_file": self.ca_file,
            "vm_size": "",  # what a VM of this machine costs is in no price table
        }
        return Target.model_validate({**deployed, **here})


@dataclass(frozen=True)
class Machine:
    """A VM that boots: what whoever decides on its processes needs to know. `folder` is its own, and outlives it."""

    vm: Vm
    imds_url: str
    folder: Path


class _Clock:
    """UTC that never goes back: the wall clock when it was made, and a monotonic one from then on."""

    def __init__(self) -> None:
        self._seconds = RealRuntime().monotonic
        self._start = datetime.now(UTC)
        self._at_start = self._seconds()

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=self._seconds() - self._at_start)


class LocalFleet:
    """The fleet. Use it as a context manager, or pair `start` with `stop`: after that, no process of it is left."""

    def __init__(
        self,
        azurite_home: Path,
        data_dir: Path,
        deployment: Deployment,
        build: Callable[[Machine], Spec],
        settings: FleetSettings | None = None,
        faults: Faults | None = None,
        chance: Random | None = None,
        say: Callable[[str], None] = lambda _: None,
        front: Callable[[Endpoints], Endpoints] = lambda behind: behind,
    ) -> None:
        """`data_dir` keeps blobs, messages, ports, certificates and logs.

        `build` says what runs on a VM; it is called, by the fleet's own thread, when the VM has booted. `say` gets what
        the wake did, by its thread. `front` is told where everything is once storage is prepared, and returns what VMs,
        the wake and the operator are told.
        """
        self.failed = threading.Event()
        """Set when something has ended although it should run: see `problem`."""
        self.faults = faults or Faults()
        self._azurite_home = azurite_home
        self._data_dir = data_dir.absolute()
        self.deployment = deployment
        self._build = build
        self._say = say
        self._front = front
        self._settings = settings or FleetSettings()
        self._log = structlog.get_logger()
        self._clock = _Clock()
        self._wake = threading.Event()
        self._changed = threading.Condition()
        self.model = ScaleSetModel(
            deployment.scale_set,
            self._settings.latencies,
            self.faults,
            self._clock,
            chance or Random(),  # noqa: S311 - names and choices of victims, not secrets
            self._wake.set,
        )
        wake = deployment.wake
        self._wake_history = WakeHistory(wake.identity.name, 0.0) if wake else WakeHistory()
        self._http = HttpHost()
        self._machines: dict[str, tuple[Instance, Endpoint]] = {}
        self._boots = 0
        self._stopping = False
        self._undo = contextlib.ExitStack()
        self._endpoints: Endpoints | None = None
        self._azurite: Azurite | None = None
        self._failure = ""
        self._tokens: TokenAuthority | None = None
        self._run_base = Path()

    @property
    def endpoints(self) -> Endpoints:
        """Where everything is; known while it runs."""
        if self._endpoints is None:
            raise EmulatorError("The fleet is not running: call start() first.")
        return self._endpoints

    @property
    def operator_target(self) -> Target:
        """The target of the person's own commands."""
        return self.endpoints.target(self.deployment.target, self.endpoints.operator_imds_url)

    @property
    def instances(self) -> Mapping[str, Instance]:
        """The instances that have power now, by VM name."""
        with self._changed:
            return {name: instance for name, (instance, _) in self._machines.items()}

    @property
    def problem(self) -> str:
        """What ended although it should run, or "": nobody can work on without its storage."""
        azurite = self._azurite
        if azurite is None or azurite.is_running:
            return self._failure
        return f"Azurite, its storage, has ended by itself: see the last lines of {azurite.log_file}."

    def start(self) -> None:
        """Start everything at capacity 0; what was started is stopped again when something fails. It has one life.

        Raises EmulatorError (FolderInUse when a fleet runs on this folder already).
        """
        with contextlib.ExitStack() as undo:
            self._start(undo)
            self._undo = undo.pop_all()

    def fail(self, reason: str) -> None:
        """Say that the fleet cannot go on, because of something around it that should run."""
        self._failure = reason
        self.failed.set()

    def stop(self) -> None:
        """Stop everything: instances lose power, storage is written to disk. Safe to repeat."""
        self._endpoints = None
        self._azurite = None
        self._undo.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def evict(self, name: str | None = None, *, notice: bool = True) -> str:
        """Take this running instance, or any, as Azure does. Returns its name; Refused when there is none."""
        return self.model.evict(name, notice=notice)

    def wait_for(self, wanted: Callable[["LocalFleet"], bool], timeout_s: float) -> bool:
        """Wait until `wanted` holds, looking again after everything that happens; whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: wanted(self), timeout_s)

    def _start(self, undo: contextlib.ExitStack) -> None:
        self._data_dir.mkdir(parents=True, exist_ok=True)
        certificates = ensure_certificates(
            self._data_dir / "certificates", datetime.now(UTC), (*LOOPBACK_NAMES, *self._settings.real_names)
        )
        account = self.deployment.storage.account
        data_dir = self._data_dir / "azurite"
        azurite = Azurite(self._azurite_home, data_dir, certificates, account, ended=self.failed.set)
        azurite.start()
        undo.callback(azurite.stop)
        self._azurite = azurite
        self._tokens = TokenAuthority.in_folder(self._data_dir, lambda: datetime.now(UTC))
        self._run_base = Path(tempfile.mkdtemp(prefix="tranquility-", dir=_short_folder()))
        undo.callback(shutil.rmtree, self._run_base, ignore_errors=True)
        self._http.start()
        undo.callback(self._http.stop)
        arm_url, imds_url = self._serve(certificates, self._tokens)
        self._endpoints = Endpoints(
            blob_url=azurite.blob_url(account),
            queue_url=azurite.queue_url(account),
            arm_url=arm_url,
            operator_imds_url=imds_url,
            ca_file=certificates.ca_file,
        )
        self._prepare_storage(self._tokens)
        self._endpoints = self._front(self._endpoints)
        self._start_wake(undo, certificates, self._tokens)
        driver = threading.Thread(target=self._drive, name="emulator-fleet", daemon=True)
        driver.start()
        undo.callback(self._end_driver, driver)

    def _serve(self, certificates: Certificates, tokens: TokenAuthority) -> tuple[str, str]:
        ports = RememberedPorts(self._data_dir)
        control = eviction_route(self.model, tokens, self.deployment.operator.principal_id)
        others = beside(self.model, self.faults, self._wake_history)
        arm = ArmApp(self.model, tokens, self.faults, self._clock, self._settings.arm, [control], others)
        arm_endpoint = self._http.serve(arm.app, ports.bind("arm"), certificates)
        imds = operator_app(tokens, self.deployment.operator, self.faults)
        return arm_endpoint.url, self._http.serve(imds, ports.bind("imds")).url

    def _prepare_storage(self, tokens: TokenAuthority) -> None:
        target = self.operator_target
        credential = DirectCredential(tokens, self.deployment.operator)
        with blob_service(target, credential) as blobs, queue_service(target, credential) as queues:
            prepare(blobs, queues, self.deployment.storage)

    def _start_wake(self, undo: contextlib.ExitStack, certificates: Certificates, tokens: TokenAuthority) -> None:
        wake, target, runtime = self.deployment.wake, self.deployment.target, RealRuntime()
        if wake is None:
            return
        addresses = {
            target["blob_endpoint"]: self.endpoints.blob_url,
            target["queue_endpoint"]: self.endpoints.queue_url,
            target["arm_endpoint"]: self.endpoints.arm_url,
        }
        local = replace(wake, workflow=here(wake.workflow, addresses, self._settings.time_scale))
        history = self._wake_history
        history.interval_s = local.workflow.interval_s
        runs = WakeRuns(local, tokens, certificates.ca_file, runtime, self._clock, self._say, history, self._sleeps)
        stop = runtime.event()
        task = runtime.spawn("emulator-wake", lambda: runs.run(stop))
        undo.callback(task.join)
        undo.callback(stop.set)

    def _sleeps(self) -> bool:
        return self.faults.wake_disabled

    # The world of the model: what it wants started and killed is done here, by one thread

    def _drive(self) -> None:
        while not self._stopping:
            self._wake.clear()
            effects = self.model.take_effects()
            for effect in effects:
                if isinstance(effect, Boot):
                    self._boot(effect.vm)
            self._kill([effect.name for effect in effects if isinstance(effect, Kill)])
            with self._changed:
                self._changed.notify_all()
            due = self.model.next_due
            self._wake.wait(None if due is None else max(0.0, (due - self._clock()).total_seconds()))

    def _boot(self, vm: Vm) -> None:
        if self._tokens is None:
            raise EmulatorError("The fleet is not running: call start() first.")
        self._boots += 1
        folder = self._data_dir / "instances" / vm.name
        folder.mkdir(parents=True, exist_ok=True)
        metadata = VmMetadata(self.model, vm, self._tokens, self.faults)
        run_dir = self._run_base / str(self._boots) / "run"
        instance = Instance(vm.name, run_dir, folder, self._went_off)
        try:
            endpoint = self._http.serve(metadata.app, bind_loopback())
            with self._changed:
                self._machines[vm.name] = (instance, endpoint)
            instance.start(self._build(Machine(vm, endpoint.url, folder)))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one VM, the others live on
            self._log.exception("instance.boot_failed", vm=vm.name)
            self.model.fail_provisioning(vm.name, Problem("OSProvisioningClientError", str(error)))

    def _kill(self, names: Collection[str]) -> None:
        with self._changed:
            killed = [self._machines.pop(name) for name in dict.fromkeys(names) if name in self._machines]
        for instance, endpoint in killed:
            instance.cut()  # all at once: the power of one does not wait for another's processes to be gone
            endpoint.begin_close()
        for instance, _ in killed:
            try:
                instance.kill()
            except EmulatorError:
                self._log.exception("instance.not_killed", vm=instance.name)

    def _went_off(self, name: str) -> None:
        """An instance has ended; nobody cut its power if it is still among ours."""
        with self._changed:
            unexpected = name in self._machines
        if unexpected:
            self._log.error("instance.went_off", vm=name)
            self.model.power_off(name)

    def _end_driver(self, driver: threading.Thread) -> None:
        self._stopping = True
        self._wake.set()
        driver.join()
        self._kill(list(self._machines))


def _short_folder() -> str | None:
    return None if len(tempfile.gettempdir()) <= SHORT_PATH else "/tmp"  # noqa: S108 - mkdtemp makes it ours alone
