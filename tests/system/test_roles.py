"""A whole sweep through a gate that lets pass only what the template's roles allow, and what becomes of it without."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from producer.emulator.arm import ArmSettings
from producer.emulator.deployment import Deployment, deployed
from producer.emulator.faults import Allocation
from producer.emulator.fleet import Endpoints, FleetSettings, LocalFleet, Machine
from producer.emulator.machine import at_this_pace
from producer.emulator.states import Latencies
from producer.emulator.tokens import DirectCredential, Identity, TokenAuthority
from producer.emulator.units import InstanceSpec
from producer.emulator.wake_runs import WakeRuns, here
from producer.fleet.memory import Memory
from producer.fleet.scaler import open_scaler
from producer.program import app
from producer.session import TARGET_VARIABLE, Session, open_session
from producer.sweep.audit import audit
from producer.sweep.planning import plan_file
from producer.target.committed import committed_snapshot
from producer.target.permissions import OF_THE_SUBSCRIPTION, OPERATIONS, Operation, Principal
from producer.target.roles import grants_of
from tests.fakes.calls import Calls, compute_calls, storage_calls
from tests.fakes.gate import Check, Gate, GateServer, without
from tests.fakes.said import Said
from tests.system.observer import PATIENCE_S, Observer
from tests.system.waiting import WaitingImage
from worker.contract import azure, names
from worker.contract.errors import AccessDenied, FleetDenied
from worker.contract.manifest import EVICTED
from worker.contract.permissions import Need
from worker.contract.records import AzureBlobs
from worker.contract.settings import Target

TIME_SCALE = 0.02
SWEEP = """
name: gated
env: Pendulum-v1
timesteps: 500
seeds: [0, 1]
fixed: {batch_size: 64, learning_starts: 200, policy_kwargs: {net_arch: [32, 32]}}
evaluation: {every: 500, episodes: 1, final_episodes: 2}
"""


@dataclass
class World:
    """A fleet behind a gate, and its operator's shell."""

    fleet: LocalFleet
    gate: Gate
    deployment: Deployment
    tokens: TokenAuthority
    session: Session
    said: Said
    folder: Path
    go: Path
    """Until this file is there, training waits."""

    def run(self, *arguments: str) -> Result:
        """Call a command of the operator's."""
        return CliRunner().invoke(app, list(arguments))

    def done(self, *arguments: str) -> str:
        """Call a command that is to work; return what it said."""
        result = self.run(*arguments)
        assert result.exit_code == 0, (arguments, result.output, result.exception)
        return result.output

    def wake_once(self) -> list[str]:
        """Let the wake run once, now; return what it told."""
        assert self.deployment.wake is not None
        deployed_at, endpoints = self.deployment.target, self.fleet.endpoints
        addresses = {
            deployed_at["blob_endpoint"]: endpoints.blob_url,
            deployed_at["queue_endpoint"]: endpoints.queue_url,
            deployed_at["arm_endpoint"]: endpoints.arm_url,
        }
        wake = replace(self.deployment.wake, workflow=here(self.deployment.wake.workflow, addresses, TIME_SCALE))
        told, clock = list[str](), lambda: datetime.now(UTC)
        runtime = self.session.runtime
        WakeRuns(wake, self.tokens, endpoints.ca_file, runtime, clock, told.append).run_once(runtime.event())
        return told

    def quiet(self) -> None:
        """Let the fleet's own wake run no more, and wait for the end of a run that goes on."""
        runtime = self.session.runtime
        self.fleet.faults.wake_disabled = True
        never, ends_s = runtime.event(), runtime.monotonic() + PATIENCE_S
        while self.fleet._wake_history.began is not None:
            assert runtime.monotonic() < ends_s, "a run of the wake never ends"
            runtime.wait(never, 0.02)

    def leave_a_checkpoint(self, name: str) -> None:
        """Leave what a killed worker leaves."""
        vm = DirectCredential(self.tokens, self.deployment.scale_set.identity)
        AzureBlobs(azure.blob_service(self.session.target, vm)).put(names.CHECKPOINTS, name, b"state")

    def calls(self, principal: Principal) -> Calls:
        """Return every call, with this principal's tokens."""
        assert self.deployment.wake is not None
        identities: dict[Principal, Identity] = {
            "vm": self.deployment.scale_set.identity,
            "operator": self.deployment.operator,
            "wake": self.deployment.wake.identity,
        }
        identity = DirectCredential(self.tokens, identities[principal])
        target = self.session.target
        return {**storage_calls(target, identity), **compute_calls(target, identity)}


@pytest.fixture(scope="module")
def world(azurite_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One fleet for all tests of this module: each leaves it without jobs and without instances."""
    folder = tmp_path_factory.mktemp("gated")
    deployment = deployed(committed_snapshot(), max_instances=1, slots_per_instance=1)
    image = WaitingImage(deployment.vm_target, TIME_SCALE, step=300, go=folder / "go")
    gate, said, servers = Gate(deployment), Said(PATIENCE_S), list[GateServer]()

    def front(behind: Endpoints) -> Endpoints:
        servers.append(GateServer.of_fleet(gate, folder / "data"))
        return servers[0].before(behind)

    def build(machine: Machine) -> InstanceSpec:
        return image.spec(machine, fleet.endpoints)

    settings = FleetSettings(
        Latencies(boot_s=0.2, delete_s=0.2, notice_s=5.0), ArmSettings(throttle_speed=1 / TIME_SCALE), TIME_SCALE
    )
    fleet = LocalFleet(azurite_home, folder / "data", deployment, build, settings, say=said, front=front)
    with pytest.MonkeyPatch.context() as patch, fleet:
        (folder / "sweep.yaml").write_text(SWEEP)
        target = folder / "target.json"
        target.write_bytes(at_this_pace(fleet.operator_target, TIME_SCALE).canonical())
        patch.setenv(TARGET_VARIABLE, str(target))
        patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "")  # a session sets it: put it back afterwards
        patch.chdir(folder)
        tokens = TokenAuthority.in_folder(folder / "data", lambda: datetime.now(UTC))
        try:
            yield World(fleet, gate, deployment, tokens, open_session(), said, folder, image.go)
        finally:
            servers[0].close()


@pytest.fixture(autouse=True)
def all_roles_and_no_wake(world: World) -> Iterator[None]:
    """Whatever a test takes away comes back. No wake runs unless a test says so: one that has counted the message of a
    test that ended would raise the capacity in the middle of the next one."""
    world.quiet()
    assert world.fleet.model.capacity == 0
    yield
    world.gate.grants = grants_of(world.deployment.snapshot)


# ---- What is used ----------------------------------------------------------------------------------------------------

NOT_IN_EVERY_SWEEP: dict[tuple[str, str], str] = {
    ("vm", "releases: download_blob"): "the bootstrap of a VM, before there is a worker",
    ("vm", "control: delete_blob"): "a VM that wanted to retire, and is needed after all",
}
"""Operations of the table that a sweep may do without, and when they happen."""
BEYOND_THE_TEMPLATE = Check("operator", Need("", (OF_THE_SUBSCRIPTION["usage.list"],)))
"""What doctor asks of the subscription, and does without where it is denied."""


@pytest.mark.timeout(900)
def test_a_whole_sweep_passes_and_uses_just_what_the_table_says(world: World) -> None:
    plan = plan_file(world.folder / "sweep.yaml").plan
    observer = Observer(world.fleet, world.session, plan)
    faults, model = world.fleet.faults, world.fleet.model
    world.session.jobs.send("no job at all")

    faults.quota = 0  # no VM yet: nothing is received before it is cancelled
    world.done("enqueue", "sweep.yaml", "--yes")
    later = f"gated/{plan.jobs[1].id}"
    world.done("cancel", later, "--yes")
    world.done("retry", later, "--cancelled")
    faults.quota = None
    faults.allocate(Allocation.FAILS)
    model.set_capacity(1)
    (failed,) = (vm.name for vm in model.vms())

    scaler, memory = open_scaler(world.session, audit), Memory()

    def replaced() -> bool:
        nonlocal memory
        memory = scaler.tick(memory).memory
        return failed not in {vm.name for vm in model.vms()} and bool(world.fleet.instances)

    observer.until(replaced)  # flagged, deleted by name, and another asked for
    observer.until(lambda: any(one.status == "running" for one in observer.manifests().values()))
    (evicted,) = world.fleet.instances
    world.session.compute.virtual_machines.simulate_eviction(world.session.target.resource_group, evicted)
    observer.until(lambda: evicted not in world.fleet.instances)
    world.go.touch()
    # From here on no reconcile loop runs anywhere: the wake alone brings another VM, and that retires by itself.
    faults.wake_disabled = False
    world.said.await_one("The wake set the capacity to 1.")
    world.done("status")
    world.run("doctor")  # which tries every right of an operator, and may find that something is wrong in mid-sweep
    world.done("status", "gated", "--json")
    observer.until(observer.asleep)
    manifests = observer.manifests()
    world.done("results", "gated", "--download", "runs")
    world.done("logs", f"gated/{plan.jobs[0].id}")
    world.leave_a_checkpoint(f"{names.checkpoint('gated', plan.jobs[0].id)}left")
    world.done("delete", "gated", "--yes")

    assert {manifest.status for manifest in manifests.values()} == {"done"}
    attempts = [attempt for manifest in manifests.values() for attempt in manifest.attempts]
    assert [one.ended in EVICTED for one in attempts if one.worker.startswith(f"{evicted}/")].count(True) == 1
    assert {one.worker.partition("/")[0] for one in attempts} > {evicted}
    assert world.session.poison.count() == 1
    assert not world.gate.unknown
    assert set(world.gate.denied) == {BEYOND_THE_TEMPLATE}
    assert not world.gate.used - {Check(one.principal, need) for one in OPERATIONS for need in one.needs}
    unused = {
        (one.principal, one.call)
        for one in OPERATIONS
        if any(Check(one.principal, need) not in world.gate.used for need in one.needs)
    }
    assert not unused - set(NOT_IN_EVERY_SWEEP), sorted(unused)


# ---- What is denied --------------------------------------------------------------------------------------------------


def scaling_needs() -> set[Need]:
    """Return what only the scaler's role gives."""
    return {need for one in OPERATIONS if one.call.endswith(("scale_sets.get", "begin_update")) for need in one.needs}


def case(operation: Operation, need: Need) -> object:
    return pytest.param(operation, need, id=f"{operation.principal}-{operation.call}-{need}")


@pytest.mark.parametrize(("operation", "need"), [case(one, need) for one in OPERATIONS for need in one.needs])
def test_without_an_action_its_operation_fails_and_says_what_is_missing(
    operation: Operation, need: Need, world: World
) -> None:
    world.gate.grants = without(world.gate.grants, operation.principal, need)
    with pytest.raises((AccessDenied, FleetDenied)) as caught:
        world.calls(operation.principal)[operation.call]()
    assert_names(str(caught.value), need, world.session.target)


def assert_names(said: str, need: Need, target: Target) -> None:
    """Check that a message has what a person must grant, and where."""
    assert any(action in said for action in need.any_of), said
    known = need.scope.rpartition("*")[2] or need.scope.removesuffix("*") or f"/resourceGroups/{target.resource_group}"
    assert known in said, said


@pytest.mark.parametrize("need", [one.need for one in OPERATIONS if one.principal == "wake"], ids=str)
def test_without_an_action_a_run_of_the_wake_fails_and_says_what_is_missing(need: Need, world: World) -> None:
    world.gate.grants = without(world.gate.grants, "wake", need)
    message = world.session.jobs.send("a job to raise for")
    (problem,) = world.wake_once()
    world.session.jobs.delete(message)
    assert problem.startswith("A run of the wake failed")
    assert_names(problem, need, world.session.target)


def test_without_the_scalers_role_a_sweep_is_enqueued_and_the_wake_raises(world: World) -> None:
    for need in scaling_needs():
        world.gate.grants = without(world.gate.grants, "operator", need)
    (world.folder / "other.yaml").write_text(SWEEP.replace("name: gated", "name: other"))
    said = world.done("enqueue", "other.yaml", "--yes")
    assert "2 messages sent" in said
    assert "Microsoft.Compute/virtualMachineScaleSets/read" in said
    assert "The wake has to raise the capacity" in said
    world.wake_once()
    assert world.fleet.model.capacity == 1
    world.done("cancel", "other", "--yes")
    world.fleet.model.set_capacity(0)
