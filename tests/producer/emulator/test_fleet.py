"""The whole fleet: real Azurite, real clients over TLS, real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.mgmt.compute.models import Sku, VirtualMachineScaleSetUpdate, VirtualMachineScaleSetVMInstanceRequiredIDs

from producer.emulator.arm import ArmSettings
from producer.emulator.azurite import Azurite
from producer.emulator.certificates import Certificates
from producer.emulator.control import evict
from producer.emulator.errors import EmulatorError, FolderInUse
from producer.emulator.fleet import FleetSettings, LocalFleet, Machine
from producer.emulator.instance import Instance
from producer.emulator.local import scaling
from producer.emulator.states import Latencies, Power, Provisioning
from producer.emulator.tokens import Identity
from producer.emulator.units import InstanceSpec, Process
from producer.fleet.scaler import TickReport
from producer.session import open_session
from tests.fakes.deployed import deployment
from worker.contract.azure import blob_service, compute_client, credential
from worker.contract.settings import Target

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
QUICK = FleetSettings(Latencies(boot_s=0.05, delete_s=0.05, notice_s=2.0), ArmSettings(throttle_speed=1000))
IDLE = (sys.executable, "-S", "-E", "-c", "import signal\nwhile True: signal.pause()")
WATCH_EVENTS = """
import json, os, socket, time, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def ask(path):
    request = urllib.request.Request(os.environ["IMDS"] + path, headers={"Metadata": "true"})
    return opener.open(request).read().decode()
me = ask("/metadata/instance/compute/name?api-version=2021-02-01&format=text")
print("I am", me, flush=True)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
    out.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    for event in json.loads(ask("/metadata/scheduledevents?api-version=2020-07-01"))["Events"]:
        print(event["EventType"], event["EventStatus"], *event["Resources"], flush=True)
    time.sleep(0.02)
"""
USE_AZURE = """
import os, sys
from worker.contract.azure import blob_service, credential
from worker.contract.settings import Target
target = Target.model_validate_json(os.environ["TARGET"])
with blob_service(target, credential(target)) as blobs:
    blobs.get_blob_client("control", sys.argv[1]).upload_blob(b"written by a VM")
"""


def python(program: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program, *arguments)


class Programs:
    """What the VMs of a fleet run; tests change it."""

    def __init__(self) -> None:
        self.build: Callable[[Machine], InstanceSpec] = self.idle

    def __call__(self, machine: Machine) -> InstanceSpec:
        return self.build(machine)

    @staticmethod
    def idle(_: Machine) -> InstanceSpec:
        return InstanceSpec((Process("p", IDLE, {}),))

    @staticmethod
    def watching(machine: Machine) -> InstanceSpec:
        return InstanceSpec((Process("p", python(WATCH_EVENTS), {"IMDS": machine.imds_url}),))


def vm_target(fleet: LocalFleet, imds_url: str) -> Target:
    deployed = {**fleet.deployment.target, "identity_id": fleet.deployment.scale_set.identity.resource_id}
    return fleet.endpoints.target(deployed, imds_url)


@pytest.fixture(scope="module")
def programs() -> Programs:
    return Programs()


@pytest.fixture(scope="module")
def running(
    azurite_home: Path, identity: Identity, programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalFleet]:
    folder = tmp_path_factory.mktemp("fleet")
    with LocalFleet(azurite_home, folder, deployment(identity), programs, QUICK) as fleet:
        yield fleet


@pytest.fixture
def fleet(running: LocalFleet, programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalFleet]:
    """The one fleet of these tests, empty."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "")  # `credential` sets it: put it back afterwards
    programs.build = programs.idle
    yield running
    running.model.set_capacity(0)
    assert running.wait_for(lambda fleet: not fleet.instances and not fleet.model.vms(), PATIENCE_S)


def raise_to(fleet: LocalFleet, capacity: int, sign: str = "started") -> dict[str, Instance]:
    """Raise the capacity as the producer does, and wait until the program of every VM gives this sign."""
    target = fleet.operator_target
    with compute_client(target, credential(target)) as compute:
        update = VirtualMachineScaleSetUpdate(sku=Sku(capacity=capacity))
        compute.virtual_machine_scale_sets.begin_update("tests", "fleet", update, polling=False)
    assert fleet.wait_for(lambda fleet: len(fleet.instances) == capacity, PATIENCE_S)
    for instance in fleet.instances.values():
        assert instance.wait_for(lambda events: any(event.kind == sign for event in events), PATIENCE_S)
    return dict(fleet.instances)


def log_of(fleet: LocalFleet, name: str) -> list[str]:
    (file,) = fleet.endpoints.ca_file.parents[1].glob(f"instances/{name}/p.log")
    return file.read_text().splitlines()


def gone(fleet: LocalFleet, name: str) -> bool:
    return fleet.wait_for(lambda fleet: all(vm.name != name for vm in fleet.model.vms()), PATIENCE_S)


def test_raising_the_capacity_boots_instances_with_processes(fleet: LocalFleet) -> None:
    instances = raise_to(fleet, 2)
    assert set(instances) == {vm.name for vm in fleet.model.vms()}
    assert all(psutil.pid_exists(instance.pids["p"]) for instance in instances.values())


def test_a_program_on_a_vm_reaches_storage_with_the_vms_identity(
    fleet: LocalFleet, programs: Programs, identity: Identity
) -> None:
    def build(machine: Machine) -> InstanceSpec:
        target = vm_target(fleet, machine.imds_url)
        environment = {"PYTHONPATH": str(ROOT), "TARGET": target.model_dump_json(), "HTTPS_PROXY": "http://127.0.0.1:9"}
        return InstanceSpec((Process("p", python(USE_AZURE, machine.vm.name), environment),))

    programs.build = build
    ((name, instance),) = raise_to(fleet, 1).items()
    assert instance.wait_for(lambda events: events[-1].kind == "ended", PATIENCE_S)
    assert instance.events[-2].facts["EXIT_STATUS"] == "0", log_of(fleet, name)
    target = fleet.operator_target
    with blob_service(target, credential(target)) as blobs:
        assert blobs.get_blob_client("control", name).download_blob().readall() == b"written by a VM"


def test_an_evicted_vm_is_warned_then_killed_and_the_others_live_on(fleet: LocalFleet, programs: Programs) -> None:
    programs.build = programs.watching
    instances = raise_to(fleet, 2, "ready")
    victim, other = instances
    process = psutil.Process(instances[victim].pids["p"])
    target = fleet.operator_target
    with compute_client(target, credential(target)) as compute:
        compute.virtual_machines.simulate_eviction("tests", victim)
    assert gone(fleet, victim)
    assert not process.is_running()
    assert fleet.model.capacity == 1
    assert list(fleet.instances) == [other]
    assert psutil.pid_exists(instances[other].pids["p"])
    first, *events = log_of(fleet, victim)
    assert first == f"I am {victim}"
    assert events[0] == f"Preempt Scheduled {victim}"
    assert f"Preempt Scheduled {victim}" in log_of(fleet, other), "events reach every VM"


def test_an_eviction_without_notice_kills_unwarned(fleet: LocalFleet, programs: Programs) -> None:
    programs.build = programs.watching
    ((name, instance),) = raise_to(fleet, 1, "ready").items()
    target = fleet.operator_target
    assert evict(target, credential(target), None, notice=False) == name
    assert gone(fleet, name)
    assert instance.wait_for(lambda events: events[-1].kind == "off", PATIENCE_S)
    assert not any("Scheduled" in line for line in log_of(fleet, name))


def test_of_the_preferred_vms_one_that_runs_is_evicted(fleet: LocalFleet) -> None:
    first, second = raise_to(fleet, 2)
    target = fleet.operator_target
    me = credential(target)
    assert evict(target, me, None, notice=True, preferred=("fleet_gone0000", second)) == second
    assert evict(target, me, None, notice=True, preferred=(second,)) == first, "the other one is leaving already"


def test_only_the_operator_may_ask_for_an_eviction(fleet: LocalFleet, identity: Identity) -> None:
    ((name, _),) = raise_to(fleet, 1).items()
    imds_urls: list[str] = [endpoint.url for _, endpoint in fleet._machines.values()]
    vm = vm_target(fleet, imds_urls[0])
    with pytest.raises(EmulatorError, match="only the person who runs this fleet"):
        evict(vm, credential(vm), name, notice=False)
    assert fleet.model.vm(name).power is Power.RUNNING


def test_an_eviction_that_cannot_be_says_why(fleet: LocalFleet) -> None:
    target = fleet.operator_target
    me = credential(target)
    with pytest.raises(EmulatorError, match="No VM of the set fleet is running"):
        evict(target, me, None, notice=True)
    with pytest.raises(EmulatorError, match="There is no VM fleet_nobody00"):
        evict(target, me, "fleet_nobody00", notice=True)
    nobody = target.model_copy(update={"arm_endpoint": "https://127.0.0.1:9"})
    with pytest.raises(EmulatorError, match="tranquility local up"):
        evict(nobody, me, None, notice=True)


def test_instances_deleted_by_name_lose_their_power(fleet: LocalFleet) -> None:
    instances = raise_to(fleet, 2)
    victim, other = instances
    process = psutil.Process(instances[victim].pids["p"])
    target = fleet.operator_target
    with compute_client(target, credential(target)) as compute:
        ids = VirtualMachineScaleSetVMInstanceRequiredIDs(instance_ids=[victim])
        compute.virtual_machine_scale_sets.begin_delete_instances("tests", "fleet", ids, polling=False)
        assert gone(fleet, victim)
        with pytest.raises(ResourceNotFoundError):
            compute.virtual_machines.get("tests", victim)
    assert not process.is_running()
    assert list(fleet.instances) == [other]


def test_an_instance_that_goes_off_by_itself_is_a_stopped_vm_that_is_still_there(fleet: LocalFleet) -> None:
    ((name, instance),) = raise_to(fleet, 1).items()
    supervisor = psutil.Process(instance.pids["p"]).parent()
    assert supervisor is not None
    supervisor.kill()
    assert fleet.wait_for(lambda fleet: not fleet.instances, PATIENCE_S)
    assert fleet.model.vm(name).power is Power.STOPPED
    assert fleet.model.capacity == 1


def test_a_vm_whose_programs_cannot_be_told_is_failed_and_says_why(fleet: LocalFleet, programs: Programs) -> None:
    def build(_: Machine) -> InstanceSpec:
        raise RuntimeError("no release was published")

    programs.build = build
    fleet.model.set_capacity(1)
    assert fleet.wait_for(
        lambda fleet: [vm.provisioning for vm in fleet.model.vms()] == [Provisioning.FAILED], PATIENCE_S
    )
    (vm,) = fleet.model.vms()
    assert vm.problem is not None
    assert vm.problem.message == "no release was published"


def test_a_fleet_says_when_its_storage_has_ended(
    fleet: LocalFleet, azurite_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, local_ca: Certificates
) -> None:
    assert fleet.problem == ""
    monkeypatch.setattr(fleet, "_azurite", Azurite(azurite_home, tmp_path, local_ca, "ended"))
    assert (
        fleet.problem == f"Azurite, its storage, has ended by itself: see the last lines of {tmp_path / 'azurite.log'}."
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its trace is to be seen
def test_a_fleet_says_when_the_loop_that_scales_it_has_ended(
    fleet: LocalFleet, azurite_home: Path, identity: Identity, programs: Programs, tmp_path: Path
) -> None:
    target = tmp_path / "target.json"
    target.write_bytes(fleet.operator_target.canonical())
    unscaled = LocalFleet(azurite_home, tmp_path, deployment(identity), programs, QUICK)

    def say(_: TickReport) -> None:
        raise RuntimeError("nobody listens")

    with scaling(unscaled, open_session(target), say):
        assert unscaled.failed.wait(PATIENCE_S)
    assert unscaled.problem == "The loop that scales its set has ended: RuntimeError('nobody listens')."


def test_nothing_of_the_fleet_listens_beyond_loopback(fleet: LocalFleet) -> None:
    raise_to(fleet, 1)
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    listening = [c for p in processes for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
    assert len(listening) >= 6
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_a_second_fleet_on_the_same_folder_is_refused_and_harms_nothing(
    fleet: LocalFleet, azurite_home: Path, identity: Identity, programs: Programs
) -> None:
    folder = fleet.endpoints.ca_file.parents[1]
    with pytest.raises(FolderInUse):
        LocalFleet(azurite_home, folder, deployment(identity), programs, QUICK).start()
    raise_to(fleet, 1)


EMULATOR = """
import json, sys
from pathlib import Path
from producer.emulator.fleet import FleetSettings, LocalFleet
from producer.emulator.states import Latencies
from producer.emulator.tokens import Identity
from producer.emulator.units import InstanceSpec, Process
from tests.fakes.deployed import deployment

home, folder, *idle = sys.argv[1:]
me = Identity("me", "/me", "client", "principal", "tenant")
spec = InstanceSpec((Process("p", tuple(idle), {}),))
settings = FleetSettings(Latencies(boot_s=0.05, delete_s=0.05))
fleet = LocalFleet(Path(home), Path(folder), deployment(me), lambda machine: spec, settings)
fleet.start()
fleet.model.set_capacity(2)
assert fleet.wait_for(lambda fleet: len(fleet.instances) == 2, 60)
assert all(instance.wait_for(bool, 60) for instance in fleet.instances.values())
print(fleet.operator_target.model_dump_json(), flush=True)
if sys.stdin.read(1) == "s":
    fleet.stop()
    print("stopped", flush=True)
"""


def start_elsewhere(azurite_home: Path, folder: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*python(EMULATOR, str(azurite_home), str(folder)), *IDLE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error::ResourceWarning"},
    )


def what_it_runs(fleet: "subprocess.Popen[str]") -> tuple[Target, list[psutil.Process], Path]:
    """Its target, its processes (Azurite, two supervisors, two programs) and its folder of run directories."""
    assert fleet.stdout is not None
    target = Target.model_validate_json(fleet.stdout.readline())
    processes = psutil.Process(fleet.pid).children(recursive=True)
    assert len(processes) == 5
    (run_base,) = {Path(process.cwd()).parents[1] for process in processes if process.cwd().endswith("/run")}
    return target, processes, run_base


def all_gone(processes: list[psutil.Process]) -> bool:
    return psutil.wait_procs(processes, PATIENCE_S)[1] == []


def test_a_killed_fleet_leaves_no_process_and_its_successor_has_the_same_urls_and_stops_as_clean(
    azurite_home: Path, tmp_path: Path
) -> None:
    with start_elsewhere(azurite_home, tmp_path) as first:
        target, processes, run_base = what_it_runs(first)
        first.send_signal(signal.SIGKILL)
    assert all_gone(processes)
    assert not run_base.exists()
    assert target.ca_file == tmp_path / "certificates" / "ca.pem"
    with start_elsewhere(azurite_home, tmp_path) as second:
        again, processes, run_base = what_it_runs(second)
        assert again == target
        answer, _ = second.communicate("s")
    assert (answer, second.returncode) == ("stopped\n", 0)
    assert all_gone(processes)
    assert not run_base.exists()
