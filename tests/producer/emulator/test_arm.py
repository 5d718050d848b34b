"""The emulated Azure Resource Manager, asked by the unchanged azure-mgmt-compute client over TLS."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import pytest
from azure.core import MatchConditions
from azure.core.credentials import AccessToken, TokenCredential
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ODataV4Format,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.mgmt.compute import ComputeManagementClient
from azure.mgmt.compute.models import Sku, VirtualMachineScaleSetUpdate, VirtualMachineScaleSetVMInstanceRequiredIDs

from producer.emulator.arm import ArmApp, ArmSettings
from producer.emulator.certificates import Certificates
from producer.emulator.description import SetDescription
from producer.emulator.faults import Allocation, Faults, RequestFault
from producer.emulator.model import ScaleSetModel
from producer.emulator.ports import bind_loopback
from producer.emulator.serving import HttpHost
from producer.emulator.states import Boot, Kill, Latencies
from producer.emulator.tokens import TokenAuthority
from tests.fakes.hand_clock import HandClock

GROUP, SET = "tests", "fleet"


@dataclass
class Azure:
    """The endpoint, its client, and the hands behind it."""

    client: ComputeManagementClient
    model: ScaleSetModel
    faults: Faults
    clock: HandClock
    url: str
    ca_file: str

    def boot(self) -> list[str]:
        """Let what is on its way arrive."""
        self.clock.pass_s(60)
        return [effect.vm.name for effect in self.model.take_effects() if isinstance(effect, Boot)]

    def raise_to(self, capacity: int) -> list[str]:
        self.model.set_capacity(capacity)
        return self.boot()

    def set_filter(self) -> str:
        return f"'virtualMachineScaleSet/id' eq '{self.model.description.id}'"


def connect(url: str, ca_file: str, credential: TokenCredential, subscription: str) -> ComputeManagementClient:
    return ComputeManagementClient(
        credential,
        subscription,
        base_url=url,
        credential_scopes=["https://management.azure.com/.default"],
        transport=RequestsTransport(connection_verify=ca_file, use_env_settings=False),
        retry_backoff_factor=0,
        polling_interval=0,
    )


@pytest.fixture
def azure(
    description: SetDescription,
    token_authority: TokenAuthority,
    credential: TokenCredential,
    local_ca: Certificates,
    http: HttpHost,
    clock: HandClock,
) -> Iterator[Azure]:
    faults = Faults()
    model = ScaleSetModel(description, Latencies(60, 20, 30), faults, clock, Random(1))
    arm = ArmApp(model, token_authority, faults, clock, ArmSettings(page_size=2, retry_after_s=0))
    endpoint = http.serve(arm.app, bind_loopback(), local_ca)
    ca_file = str(local_ca.ca_file)
    with connect(endpoint.url, ca_file, credential, description.subscription_id) as client:
        yield Azure(client, model, faults, clock, endpoint.url, ca_file)


def capacity(value: int) -> VirtualMachineScaleSetUpdate:
    return VirtualMachineScaleSetUpdate(sku=Sku(capacity=value))


def detail(error: HttpResponseError) -> ODataV4Format:
    assert error.error is not None
    return error.error


def test_the_set_is_shown_as_deployed_and_as_it_is_now(azure: Azure) -> None:
    shown = azure.client.virtual_machine_scale_sets.get(GROUP, SET)
    assert shown.sku is not None
    assert (shown.name, shown.location, shown.sku.name, shown.sku.capacity) == (
        "fleet",
        "westeurope",
        "Standard_F8als_v6",
        0,
    )
    assert shown.tags == dict(azure.model.description.tags)
    assert shown.orchestration_mode == "Flexible"
    assert shown.provisioning_state == "Succeeded"
    assert shown.virtual_machine_profile is not None
    assert shown.virtual_machine_profile.priority == "Spot"
    assert shown.virtual_machine_profile.eviction_policy == "Delete"
    assert shown.etag
    assert shown.id == azure.model.description.id
    assert shown.time_created == azure.clock.now


def test_capacity_is_raised_with_the_etag_that_was_read(azure: Azure) -> None:
    sets = azure.client.virtual_machine_scale_sets
    etag = sets.get(GROUP, SET).etag
    poller = sets.begin_update(GROUP, SET, capacity(3), etag=etag, match_condition=MatchConditions.IfNotModified)
    assert poller.status() == "InProgress"
    assert sets.get(GROUP, SET).provisioning_state == "Updating"
    assert len(azure.boot()) == 3
    result = poller.result()
    assert result.sku is not None
    assert result.sku.capacity == 3
    assert result.etag != etag


def test_a_stale_etag_is_412_and_changes_nothing(azure: Azure) -> None:
    sets = azure.client.virtual_machine_scale_sets
    etag = sets.get(GROUP, SET).etag
    azure.model.set_capacity(1)
    with pytest.raises(ResourceModifiedError) as caught:
        sets.begin_update(GROUP, SET, capacity(3), etag=etag, match_condition=MatchConditions.IfNotModified)
    assert detail(caught.value).code == "PreconditionFailed"
    assert azure.model.capacity == 1


def test_an_update_need_not_be_waited_for(azure: Azure) -> None:
    azure.client.virtual_machine_scale_sets.begin_update(GROUP, SET, capacity(2), polling=False)
    assert azure.model.capacity == 2


def test_capacity_zero_is_a_capacity(azure: Azure) -> None:
    azure.raise_to(1)
    azure.client.virtual_machine_scale_sets.begin_update(GROUP, SET, capacity(0), polling=False)
    assert azure.model.capacity == 0


def test_an_update_of_anything_else_is_refused(azure: Azure) -> None:
    bodies: list[dict[str, Any]] = [{"tags": {"a": "b"}}, {"sku": {"capacity": "3"}}, {"sku": {}}]
    for body in bodies:
        with pytest.raises(HttpResponseError) as caught:
            azure.client.virtual_machine_scale_sets.begin_update(GROUP, SET, cast("Any", body), polling=False)
        assert (caught.value.status_code, detail(caught.value).code) == (400, "InvalidRequestContent")


def test_an_update_of_nothing_compares_the_etag_and_changes_none(azure: Azure) -> None:
    sets, nothing = azure.client.virtual_machine_scale_sets, cast("Any", {})
    etag = sets.get(GROUP, SET).etag
    sets.begin_update(GROUP, SET, nothing, etag=etag, match_condition=MatchConditions.IfNotModified, polling=False)
    assert sets.get(GROUP, SET).etag == etag
    with pytest.raises(ResourceModifiedError):
        sets.begin_update(GROUP, SET, nothing, etag='"0"', match_condition=MatchConditions.IfNotModified, polling=False)


def test_named_instances_are_deleted_and_the_operation_ends_when_they_are_gone(azure: Azure) -> None:
    first, second, third = azure.raise_to(3)
    ids = VirtualMachineScaleSetVMInstanceRequiredIDs(instance_ids=[first, third])
    poller = azure.client.virtual_machine_scale_sets.begin_delete_instances(GROUP, SET, ids)
    assert azure.model.take_effects() == (Kill(first), Kill(third))
    assert azure.model.capacity == 1
    assert azure.client.virtual_machines.get(GROUP, first).provisioning_state == "Deleting"
    azure.clock.pass_s(20)
    poller.result()
    assert [vm.name for vm in azure.client.virtual_machines.list(GROUP)] == [second]


def test_deleting_a_stranger_is_400(azure: Azure) -> None:
    ids = VirtualMachineScaleSetVMInstanceRequiredIDs(instance_ids=["fleet_nobody00"])
    with pytest.raises(HttpResponseError, match="not an active Virtual Machine Scale Set VM instanceId") as caught:
        azure.client.virtual_machine_scale_sets.begin_delete_instances(GROUP, SET, ids)
    assert caught.value.status_code == 400


def test_one_list_shows_every_power_state_over_several_pages(azure: Azure) -> None:
    names = azure.raise_to(5)
    listed = list(azure.client.virtual_machines.list(GROUP, filter=azure.set_filter(), expand="instanceView"))
    assert [vm.name for vm in listed] == names
    for vm in listed:
        assert vm.instance_view is not None
        codes = [status.code for status in vm.instance_view.statuses or []]
        assert codes == ["ProvisioningState/succeeded", "PowerState/running"]
        assert vm.virtual_machine_scale_set is not None
        assert vm.virtual_machine_scale_set.id == azure.model.description.id
        assert (vm.priority, vm.eviction_policy) == ("Spot", "Delete")


def test_the_sets_own_list_gives_ids_and_no_state(azure: Azure) -> None:
    names = azure.raise_to(3)
    members = list(azure.client.virtual_machine_scale_set_vms.list(GROUP, SET))
    assert [member.instance_id for member in members] == names
    assert [member.provisioning_state for member in members] == [None, None, None]


def test_expansion_without_the_filter_and_other_filters_are_refused(azure: Azure) -> None:
    for arguments in ({"expand": "instanceView"}, {"filter": "name eq 'x'"}):
        with pytest.raises(HttpResponseError) as caught:
            list(azure.client.virtual_machines.list(GROUP, **cast("Any", arguments)))
        assert detail(caught.value).code == "InvalidParameter"


def test_the_filter_by_another_set_finds_nothing(azure: Azure) -> None:
    azure.raise_to(1)
    other = azure.set_filter().replace("/fleet'", "/other'")
    assert list(azure.client.virtual_machines.list(GROUP, filter=other)) == []


def test_a_vm_shows_its_states_from_creation_to_deletion(azure: Azure) -> None:
    azure.model.set_capacity(1)
    (vm,) = azure.model.vms()

    def codes() -> list[str | None]:
        view = azure.client.virtual_machines.instance_view(GROUP, vm.name)
        return [status.code for status in view.statuses or []]

    assert codes() == ["ProvisioningState/creating"]
    azure.clock.pass_s(30)
    assert codes() == ["ProvisioningState/creating", "PowerState/starting"]
    azure.clock.pass_s(30)
    assert codes() == ["ProvisioningState/succeeded", "PowerState/running"]
    azure.client.virtual_machines.begin_delete(GROUP, vm.name, polling=False)
    assert codes() == ["ProvisioningState/deleting", "PowerState/stopping"]
    azure.clock.pass_s(20)
    with pytest.raises(ResourceNotFoundError):
        codes()


def test_a_vm_is_deleted_by_its_own_resource_and_twice_is_no_error(azure: Azure) -> None:
    (name,) = azure.raise_to(1)
    poller = azure.client.virtual_machines.begin_delete(GROUP, name)
    azure.clock.pass_s(20)
    poller.result()
    azure.client.virtual_machines.begin_delete(GROUP, name).result()
    assert azure.model.capacity == 0


def test_an_eviction_can_be_simulated(azure: Azure) -> None:
    (name,) = azure.raise_to(1)
    azure.client.virtual_machines.simulate_eviction(GROUP, name)
    (event,) = azure.model.scheduled_events()["Events"]
    assert (event["EventType"], event["Resources"]) == ("Preempt", [name])
    with pytest.raises(ResourceNotFoundError):
        azure.client.virtual_machines.simulate_eviction(GROUP, "fleet_nobody00")


def test_a_failed_allocation_surfaces_in_the_operation(azure: Azure) -> None:
    azure.faults.allocate(Allocation.FAILS)
    poller = azure.client.virtual_machine_scale_sets.begin_update(GROUP, SET, capacity(1))
    azure.clock.pass_s(60)
    with pytest.raises(HttpResponseError) as caught:
        poller.result()
    assert detail(caught.value).code == "AllocationFailed"
    (vm,) = azure.client.virtual_machines.list(GROUP, filter=azure.set_filter(), expand="instanceView")
    assert vm.provisioning_state == "Failed"
    assert vm.instance_view is not None
    assert vm.instance_view.statuses is not None
    assert vm.instance_view.statuses[0].code == "ProvisioningState/failed/AllocationFailed"
    assert vm.instance_view.statuses[0].level == "Error"


@pytest.mark.parametrize(
    ("group", "name", "code"),
    [("other", SET, "ResourceGroupNotFound"), (GROUP, "other", "ResourceNotFound")],
)
def test_what_does_not_exist_is_404(azure: Azure, group: str, name: str, code: str) -> None:
    with pytest.raises(ResourceNotFoundError) as caught:
        azure.client.virtual_machine_scale_sets.get(group, name)
    assert detail(caught.value).code == code


def test_another_subscription_is_404(azure: Azure, credential: TokenCredential) -> None:
    with (
        connect(azure.url, azure.ca_file, credential, "00000000-0000-0000-0000-000000000000") as client,
        pytest.raises(ResourceNotFoundError) as caught,
    ):
        client.virtual_machine_scale_sets.get(GROUP, SET)
    assert detail(caught.value).code == "SubscriptionNotFound"


def test_names_are_compared_as_azure_does_without_regard_to_case(azure: Azure) -> None:
    assert azure.client.virtual_machine_scale_sets.get("TESTS", "Fleet").name == SET


class SomeToken:
    """A credential that always has the same token."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken(self._text, 1 << 40)


def test_only_a_token_of_the_tenant_for_this_audience_is_let_in(
    azure: Azure, token_authority: TokenAuthority, description: SetDescription
) -> None:
    identity = description.identity
    forged = TokenAuthority(b"another key, also of 32 bytes or more", lambda: azure.clock.now)
    for token in (
        "not a token",
        forged.issue(identity, "https://management.azure.com").text,
        token_authority.issue(identity, "https://storage.azure.com").text,
    ):
        with (
            connect(azure.url, azure.ca_file, SomeToken(token), description.subscription_id) as client,
            pytest.raises(ClientAuthenticationError) as caught,
        ):
            client.virtual_machine_scale_sets.get(GROUP, SET)
        assert caught.value.status_code == 401


def test_a_throttled_request_is_tried_again_when_it_says_when(azure: Azure) -> None:
    azure.faults.answer(RequestFault.throttled(0, "GET"), times=2)
    assert azure.client.virtual_machine_scale_sets.get(GROUP, SET).name == SET
    azure.faults.answer(RequestFault.throttled(None, "PATCH"))
    with pytest.raises(HttpResponseError) as caught:
        azure.client.virtual_machine_scale_sets.begin_update(GROUP, SET, capacity(1), polling=False)
    assert caught.value.status_code == 429
    assert azure.model.capacity == 0


def test_the_documented_limits_are_kept_and_shown(azure: Azure) -> None:
    seen: list[Any] = []
    for value in range(13):
        with contextlib.suppress(HttpResponseError):
            azure.client.virtual_machine_scale_sets.begin_update(
                GROUP, SET, capacity(value), polling=False, retry_total=0, raw_response_hook=seen.append
            )
    answers = [response.http_response for response in seen]
    assert [answer.status_code for answer in answers] == [200] * 12 + [429]
    assert answers[0].headers["x-ms-ratelimit-remaining-resource"] == "Microsoft.Compute/UpdateVMScaleSet;11"
    assert answers[-1].headers["Retry-After"] == "15"
    assert azure.model.capacity == 11


def test_a_conflict_and_a_size_that_is_sold_out_are_409_and_change_nothing(azure: Azure) -> None:
    for fault, code in (
        (RequestFault.conflict(), "ConflictingConcurrentWriteNotAllowed"),
        (RequestFault.sku_not_available(), "SkuNotAvailable"),
    ):
        azure.faults.answer(fault)
        with pytest.raises(ResourceExistsError) as caught:
            azure.client.virtual_machine_scale_sets.begin_update(GROUP, SET, capacity(1), polling=False)
        assert detail(caught.value).code == code
    assert azure.model.capacity == 0


def test_a_quota_refuses_at_once(azure: Azure) -> None:
    azure.faults.quota = 2
    with pytest.raises(ResourceExistsError, match="LowPriorityCores quota"):
        azure.client.virtual_machine_scale_sets.begin_update(GROUP, SET, capacity(3), polling=False)


def test_an_answer_can_be_lost_after_the_request_was_carried_out(azure: Azure) -> None:
    azure.faults.answer(RequestFault.unavailable("PATCH", applied=True))
    with pytest.raises(HttpResponseError):
        azure.client.virtual_machine_scale_sets.begin_update(GROUP, SET, capacity(2), polling=False, retry_total=0)
    assert azure.model.capacity == 2


def test_an_operation_that_azure_does_not_know_here_says_so(azure: Azure) -> None:
    with pytest.raises(ResourceNotFoundError, match="has no GET"):
        azure.client.virtual_machine_scale_sets.get_instance_view(GROUP, SET)
