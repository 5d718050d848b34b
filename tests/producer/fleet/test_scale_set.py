"""One contract for every scale set: the one in memory, and Azure's client on the emulated Resource Manager."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Protocol

import pytest
from azure.core.credentials import TokenCredential
from azure.mgmt.compute import ComputeManagementClient

from producer.emulator.arm import ArmApp, ArmSettings
from producer.emulator.certificates import Certificates
from producer.emulator.faults import Allocation, Faults, RequestFault
from producer.emulator.model import ScaleSetModel
from producer.emulator.ports import bind_loopback
from producer.emulator.serving import HttpHost
from producer.emulator.states import Latencies
from producer.emulator.tokens import Identity, TokenAuthority
from producer.fleet.look import Instance
from producer.fleet.scale_set import AzureScaleSet, ScaleSet
from tests.fakes.clock import VirtualRuntime
from tests.fakes.deployed import SUBSCRIPTION
from tests.fakes.deployed import scale_set as described
from tests.fakes.scale_set import MemoryScaleSet
from worker.contract.azure import compute_client
from worker.contract.errors import CapacityRefused, FleetDenied, FleetError, SetChanged, Throttled
from worker.contract.settings import Target


class World(Protocol):
    """A scale set, and the hands of Azure."""

    scale_set: ScaleSet

    def pass_s(self, seconds: float) -> None: ...

    def evict(self, name: str) -> None: ...

    def power_off(self, name: str) -> None: ...

    def fail_next_instance(self) -> None: ...

    def throttle_next_write(self, retry_after_s: float) -> None: ...

    def refuse_next_write(self) -> None: ...


class InMemory:
    """The set in memory."""

    def __init__(self) -> None:
        self._runtime = VirtualRuntime()
        self._set = MemoryScaleSet(self._runtime.monotonic)
        self.scale_set: ScaleSet = self._set

    def pass_s(self, seconds: float) -> None:
        self._runtime.advance(seconds)

    def evict(self, name: str) -> None:
        self._set.evict(name)

    def power_off(self, name: str) -> None:
        self._set.break_down(name)

    def fail_next_instance(self) -> None:
        self._set.droughts += 1

    def throttle_next_write(self, retry_after_s: float) -> None:
        self._set.faults.append(Throttled("", retry_after_s))

    def refuse_next_write(self) -> None:
        self._set.faults.append(CapacityRefused("409 SkuNotAvailable: not now"))


class Emulated:
    """Azure's client, and the emulator behind TLS."""

    def __init__(self, target: Target, tokens: TokenAuthority, credential: TokenCredential, identity: Identity) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)
        self.faults = Faults()
        self.model = ScaleSetModel(described(identity), Latencies(60, 20, 30), self.faults, lambda: self.now, Random(1))
        self.arm = ArmApp(self.model, tokens, self.faults, lambda: self.now, ArmSettings(page_size=2))
        self.target = target
        self.credential = credential
        self.clients: list[ComputeManagementClient] = []

    def serve(self, http: HttpHost, certificates: Certificates) -> None:
        endpoint = http.serve(self.arm.app, bind_loopback(), certificates)
        self.target = self.target.model_copy(update={"arm_endpoint": endpoint.url, "ca_file": certificates.ca_file})
        self.scale_set: ScaleSet = self.connect(self.target)

    def connect(self, target: Target) -> AzureScaleSet:
        client = compute_client(target, self.credential)
        self.clients.append(client)
        return AzureScaleSet(client, target)

    def close(self) -> None:
        for client in self.clients:
            client.close()

    def pass_s(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.model.take_effects()

    def evict(self, name: str) -> None:
        self.model.evict(name, notice=False)

    def power_off(self, name: str) -> None:
        self.model.power_off(name)

    def fail_next_instance(self) -> None:
        self.faults.allocate(Allocation.FAILS)

    def throttle_next_write(self, retry_after_s: float) -> None:
        self.faults.answer(RequestFault.throttled(retry_after_s, "PATCH"))

    def refuse_next_write(self) -> None:
        self.faults.answer(RequestFault.sku_not_available())


@pytest.fixture
def emulated(
    token_authority: TokenAuthority, credential: TokenCredential, identity: Identity, local_ca: Certificates
) -> Iterator[Emulated]:
    target = Target(
        kind="local",
        subscription_id=SUBSCRIPTION,
        resource_group="tests",
        scale_set="fleet",
        blob_endpoint="https://127.0.0.1:1",
        queue_endpoint="https://127.0.0.1:1",
    )
    with HttpHost() as http:
        world = Emulated(target, token_authority, credential, identity)
        world.serve(http, local_ca)
        with closing(world):
            yield world


@pytest.fixture(params=["in memory", "emulated"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "in memory":
        return InMemory()
    found: Emulated = request.getfixturevalue("emulated")
    return found


def raised(world: World, capacity: int) -> tuple[str, ...]:
    """Raise the capacity, let the instances boot, and return their names."""
    world.scale_set.raise_to(capacity, world.scale_set.read().etag)
    world.pass_s(61)
    return tuple(instance.name for instance in world.scale_set.read().instances)


def test_a_new_set_is_empty(world: World) -> None:
    state = world.scale_set.read()
    assert (state.capacity, state.instances) == (0, ())


def test_a_raise_is_listed_at_once_and_runs_later(world: World) -> None:
    before = world.scale_set.read()
    world.scale_set.raise_to(3, before.etag)
    asked = world.scale_set.read()
    assert asked.capacity == 3
    assert asked.etag != before.etag
    assert {instance.provisioning for instance in asked.instances} == {"Creating"}
    assert not any(instance.running or instance.halted for instance in asked.instances)
    world.pass_s(61)
    booted = world.scale_set.read()
    assert len({instance.name for instance in booted.instances}) == 3
    assert all(instance.running for instance in booted.instances)


def test_a_raise_by_an_old_etag_changes_nothing(world: World) -> None:
    old = world.scale_set.read().etag
    raised(world, 1)
    with pytest.raises(SetChanged):
        world.scale_set.raise_to(3, old)
    assert world.scale_set.read().capacity == 1


def test_clearing_by_an_old_etag_changes_nothing(world: World) -> None:
    old = world.scale_set.read().etag
    raised(world, 1)
    with pytest.raises(SetChanged):
        world.scale_set.clear(old)
    assert world.scale_set.read().capacity == 1
    world.scale_set.clear(world.scale_set.read().etag)
    assert world.scale_set.read().capacity == 0


def test_a_raise_to_nothing_is_a_mistake(world: World) -> None:
    with pytest.raises(ValueError, match="raise to 0"):
        world.scale_set.raise_to(0, world.scale_set.read().etag)


def test_a_deletion_takes_exactly_the_named_and_lowers_the_capacity(world: World) -> None:
    first, second, third = raised(world, 3)
    world.scale_set.delete([second])
    state = world.scale_set.read()
    assert state.capacity == 2
    assert {instance.name for instance in state.instances if instance.deleting} == {second}
    world.pass_s(61)
    assert {instance.name for instance in world.scale_set.read().instances} == {first, third}


@pytest.mark.parametrize("names", [[], [""]])
def test_deleting_nobody_in_particular_is_refused(world: World, names: list[str]) -> None:
    raised(world, 1)
    with pytest.raises(ValueError, match="all of them"):
        world.scale_set.delete(names)
    assert world.scale_set.read().capacity == 1


def test_a_deletion_that_names_one_that_is_gone_says_so_and_takes_nobody(world: World) -> None:
    first, second = raised(world, 2)
    world.scale_set.delete([first])
    world.pass_s(61)
    with pytest.raises(SetChanged):
        world.scale_set.delete([second, first])
    assert world.scale_set.read().capacity == 1


@pytest.mark.parametrize("code", ["NotFound", "ResourceNotFound"])
def test_a_deletion_that_is_answered_by_404_means_that_its_instance_is_gone(emulated: Emulated, code: str) -> None:
    """Look again: which of the two answers a Flexible set gives is not documented."""
    emulated.faults.answer(RequestFault(404, code, method="POST", path="/delete$"))
    with pytest.raises(SetChanged, match=f"404 {code}"):
        emulated.scale_set.delete(["tranq-set_1"])


def test_an_eviction_lowers_the_capacity(world: World) -> None:
    first, _ = raised(world, 2)
    before = world.scale_set.read()
    world.evict(first)
    after = world.scale_set.read()
    assert (before.capacity, after.capacity) == (2, 1)
    assert before.etag != after.etag


def test_a_stopped_instance_is_halted_and_keeps_its_capacity(world: World) -> None:
    (first,) = raised(world, 1)
    world.power_off(first)
    (instance,) = world.scale_set.read().instances
    assert instance.halted
    assert not instance.running
    assert world.scale_set.read().capacity == 1


def test_an_instance_that_azure_could_not_place_is_halted_and_says_why(world: World) -> None:
    world.fail_next_instance()
    raised(world, 1)
    (instance,) = world.scale_set.read().instances
    assert instance.provisioning == "Failed"
    assert instance.halted
    assert "capacity" in instance.problem


def test_throttling_says_how_long_to_wait(world: World) -> None:
    world.throttle_next_write(47)
    with pytest.raises(Throttled) as caught:
        world.scale_set.raise_to(1, world.scale_set.read().etag)
    assert caught.value.retry_after_s == 47
    assert world.scale_set.read().capacity == 0


def test_a_refusal_is_told_from_a_conflict(world: World) -> None:
    world.refuse_next_write()
    with pytest.raises(CapacityRefused, match="SkuNotAvailable"):
        world.scale_set.raise_to(1, world.scale_set.read().etag)


# What only Azure can answer


def test_a_used_up_quota_is_a_refusal(emulated: Emulated) -> None:
    emulated.faults.quota = 2
    with pytest.raises(CapacityRefused, match="quota"):
        emulated.scale_set.raise_to(3, emulated.scale_set.read().etag)


def test_a_throttled_read_is_not_sent_again_behind_our_back(emulated: Emulated) -> None:
    emulated.faults.answer(RequestFault.throttled(600, "GET"))
    with pytest.raises(Throttled) as caught:
        emulated.scale_set.read()
    assert caught.value.retry_after_s == 600
    assert emulated.scale_set.read().capacity == 0


def test_a_throttled_answer_without_a_time_means_a_minute(emulated: Emulated) -> None:
    emulated.faults.answer(RequestFault.throttled(None, "PATCH"))
    with pytest.raises(Throttled) as caught:
        emulated.scale_set.raise_to(1, emulated.scale_set.read().etag)
    assert caught.value.retry_after_s == 60


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (RequestFault(403, "AuthorizationFailed", "does not have authorization to perform action x"), FleetDenied),
        (RequestFault(401, "InvalidAuthenticationToken"), FleetDenied),
        (RequestFault.conflict("PATCH|GET"), SetChanged),
        (RequestFault.unavailable(), FleetError),
    ],
)
def test_other_refusals_have_their_own_errors(
    emulated: Emulated, fault: RequestFault, expected: type[FleetError]
) -> None:
    etag = emulated.scale_set.read().etag
    emulated.faults.answer(fault)
    with pytest.raises(FleetError, match=fault.code) as caught:
        emulated.scale_set.raise_to(1, etag)
    assert type(caught.value) is expected
    assert emulated.scale_set.read().capacity == 0


def test_a_raise_that_was_carried_out_and_not_answered_is_seen_by_the_next_look(emulated: Emulated) -> None:
    etag = emulated.scale_set.read().etag
    emulated.faults.answer(RequestFault.unavailable("PATCH", applied=True))
    with pytest.raises(FleetError):
        emulated.scale_set.raise_to(2, etag)
    assert emulated.scale_set.read().capacity == 2


def test_a_set_that_is_not_there_is_named(emulated: Emulated) -> None:
    target = emulated.target.model_copy(update={"scale_set": "elsewhere"})
    with pytest.raises(FleetError, match="elsewhere in the resource group tests"):
        emulated.connect(target).read()


def test_an_endpoint_that_does_not_answer_is_an_error_of_ours(emulated: Emulated) -> None:
    with bind_loopback() as unanswered:
        port = unanswered.getsockname()[1]
    target = emulated.target.model_copy(update={"arm_endpoint": f"https://127.0.0.1:{port}"})
    with pytest.raises(FleetError, match="refused"):
        emulated.connect(target).read()


def test_an_updating_instance_with_a_power_state_is_running() -> None:
    assert Instance("a", "Updating", "running").running
    assert not Instance("a", "Deleting", "running").running
    assert not Instance("a", "Creating", "").halted
