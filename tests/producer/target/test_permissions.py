"""Every call is covered by a role, every right of a role is used by a call, and the table is what the SDK sends."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.pipeline.transport import HttpTransport
from azure.core.rest import HttpRequest
from azure.mgmt.compute import ComputeManagementClient
from azure.storage.blob import ContainerClient
from azure.storage.queue import QueueClient

from producer.target.permissions import OF_THE_SUBSCRIPTION, OPERATIONS, Operation
from producer.target.roles import BUILT_IN_ROLES, UNUSED_OF_BUILT_IN, Grant, grants_of, unmet
from producer.target.tried import attempts
from tests.fakes.producing import Storage
from worker.contract.permissions import Need, Service, UnknownRequest, need_of_request

SNAPSHOTS = Path(__file__).parents[3] / "bicep" / "snapshots"
ALL_SNAPSHOTS = sorted(path.name.removesuffix(".snapshot.json") for path in SNAPSHOTS.glob("*.snapshot.json"))
WITH_CUSTOM_ROLES = [name for name in ALL_SNAPSHOTS if name != "built-in-roles"]


def read(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SNAPSHOTS / f"{name}.snapshot.json").read_text())
    return loaded


def operations_of(grants: tuple[Grant, ...]) -> list[Operation]:
    principals = {grant.principal for grant in grants}
    return [operation for operation in OPERATIONS if operation.principal in principals]


# ---- Needs against grants --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", WITH_CUSTOM_ROLES)
def test_every_operation_is_allowed(name: str) -> None:
    grants = grants_of(read(name))
    missing = {
        f"{operation.principal}: {operation.call}": [str(need) for need in unmet(grants, operation)]
        for operation in operations_of(grants)
    }
    assert not {call: needs for call, needs in missing.items() if needs}


def test_with_built_in_roles_only_a_vm_cannot_delete_itself_and_nothing_reads_the_runs_of_the_wake() -> None:
    grants = grants_of(read("built-in-roles"))
    assert {operation.call for operation in OPERATIONS if unmet(grants, operation)} == {
        "virtual_machine_scale_sets.begin_delete_instances",
        "GET workflows",
        "GET workflows/runs",
    }
    assert {
        operation.principal
        for operation in OPERATIONS
        if "delete_instances" in operation.call
        if unmet(grants, operation)
    } == {"vm"}


@pytest.mark.parametrize("name", WITH_CUSTOM_ROLES)
def test_no_custom_role_gives_what_nobody_needs(name: str) -> None:
    grants = grants_of(read(name))
    for grant in grants:
        if grant.is_built_in:
            continue
        same_role = [other for other in grants if (other.principal, other.role) == (grant.principal, grant.role)]
        for action, is_data in rights(grant):
            assert any(is_used(other, action, is_data=is_data) for other in same_role), f"{grant.role.name}: {action}"


def test_what_built_in_roles_give_beyond_need_was_looked_at() -> None:
    grants = [grant for grant in grants_of(read("first")) if grant.is_built_in]
    unused: dict[tuple[str, str], set[str]] = {}
    for grant in grants:
        surplus = {action for action, is_data in rights(grant) if not is_used(grant, action, is_data=is_data)}
        key = (grant.principal, grant.role.name)
        unused[key] = unused[key] & surplus if key in unused else surplus
    assert unused == UNUSED_OF_BUILT_IN


def rights(grant: Grant) -> list[tuple[str, bool]]:
    return [(action, False) for action in grant.role.actions] + [(action, True) for action in grant.role.data_actions]


def is_used(grant: Grant, action: str, *, is_data: bool) -> bool:
    needs = (need for one in OPERATIONS if one.principal == grant.principal for need in one.needs)
    return any(action in need.any_of and need.is_data == is_data and grant.covers(need.scope) for need in needs)


@pytest.mark.parametrize("name", WITH_CUSTOM_ROLES)
def test_no_role_has_a_star(name: str) -> None:
    for grant in grants_of(read(name)):
        assert not [action for action, _ in rights(grant) if "*" in action]


@pytest.mark.parametrize("name", ALL_SNAPSHOTS)
def test_no_vm_may_write_a_scale_set_a_vm_a_role_or_a_release(name: str) -> None:
    forbidden = [
        Need("", ("Microsoft.Compute/virtualMachineScaleSets/write",)),
        Need("", ("Microsoft.Compute/virtualMachineScaleSets/scaleOut/action",)),
        Need("", ("Microsoft.Compute/virtualMachineScaleSets/virtualMachines/write",)),
        Need("", ("Microsoft.Compute/virtualMachines/write",)),
        Need("", ("Microsoft.Compute/virtualMachines/runCommand/action",)),
        Need("", ("Microsoft.Compute/virtualMachines/extensions/write",)),
        Need("", ("Microsoft.Authorization/roleAssignments/write",)),
        Need(
            "Microsoft.ManagedIdentity/userAssignedIdentities/*",
            ("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",),
        ),
        Need("", ("Microsoft.Logic/workflows/write",)),
        need_of_request("blob", "PUT", "/releases/current.json", {}),
        need_of_request("blob", "DELETE", "/releases/current.json", {}),
        need_of_request("queue", "GET", "/jobs-poison/messages", {}),
        need_of_request("queue", "DELETE", "/jobs-poison/messages", {}),
    ]
    for grant in grants_of(read(name)):
        if grant.principal == "vm":
            assert not [str(need) for need in forbidden if grant.meets(need)]


@pytest.mark.parametrize("name", ALL_SNAPSHOTS)
def test_the_wake_reads_no_message_and_no_result(name: str) -> None:
    grants = [grant for grant in grants_of(read(name)) if grant.principal == "wake"]
    for need in (
        need_of_request("queue", "GET", "/jobs/messages", {}),
        need_of_request("blob", "GET", "/sweeps/s/plan.json", {}),
        need_of_request("blob", "GET", "/checkpoints/s/j/state", {}),
        need_of_request("blob", "PUT", "/releases/current.json", {}),
    ):
        assert not any(grant.meets(need) for grant in grants)


def test_a_second_operator_has_the_same_rights_as_the_first() -> None:
    by_person: dict[str, list[tuple[str, str]]] = {}
    for resource in read("mix")["predictedResources"]:
        if resource["type"] == "Microsoft.Authorization/roleAssignments":
            properties = resource["properties"]
            if not properties["principalId"].startswith("["):
                scope = resource["id"].rpartition("/")[0]
                by_person.setdefault(properties["principalId"], []).append((scope, properties["roleDefinitionId"]))
    first, second = by_person.values()
    assert first == second
    assert len(first) == 6


def test_an_assignment_is_named_after_its_principal() -> None:
    for resource in read("mix")["predictedResources"]:
        if resource["type"] == "Microsoft.Authorization/roleAssignments" and resource["name"].startswith("["):
            module = "identity" if "format('identity-{0}'" in resource["properties"]["principalId"] else "wake"
            assert f"format('{module}-{{0}}'" in resource["name"]


def test_every_built_in_role_that_is_assigned_is_known_by_its_content() -> None:
    assigned = {
        resource["properties"]["roleDefinitionId"].rpartition("/")[2]
        for name in ALL_SNAPSHOTS
        for resource in read(name)["predictedResources"]
        if resource["type"] == "Microsoft.Authorization/roleAssignments"
        if "/resourceGroups/" not in resource["properties"]["roleDefinitionId"]
    }
    custom = {
        resource["name"]
        for name in ALL_SNAPSHOTS
        for resource in read(name)["predictedResources"]
        if resource["type"] == "Microsoft.Authorization/roleDefinitions"
    }
    assert assigned - custom == set(BUILT_IN_ROLES)


# ---- The table against the SDK ---------------------------------------------------------------------------------------


class Seen(Exception):
    """Carries the request that a client was about to send."""

    def __init__(self, request: HttpRequest) -> None:
        super().__init__(request.url)
        self.request = request


class Catch(HttpTransport[HttpRequest, Any]):
    """A transport that sends nothing."""

    def send(self, request: HttpRequest, **_: Any) -> Any:
        raise Seen(request)

    def open(self) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Token:
    """A credential that asks nobody."""

    def get_token(self, *_: str, **__: Any) -> AccessToken:
        return AccessToken("token", 4_102_444_800)


def queue_calls(name: str) -> Mapping[str, Callable[[], Any]]:
    client = QueueClient("https://a.queue.core.windows.net", name, credential=Token(), transport=Catch())
    return {
        "send_message": lambda: client.send_message("x", time_to_live=-1),
        "receive_message": lambda: client.receive_message(visibility_timeout=120),
        "update_message": lambda: client.update_message("id", "receipt", visibility_timeout=120),
        "delete_message": lambda: client.delete_message("id", "receipt"),
        "get_queue_properties": client.get_queue_properties,
        "peek_messages": lambda: client.peek_messages(32),
        "clear_messages": client.clear_messages,
    }


def container_calls(name: str) -> Mapping[str, Callable[[], Any]]:
    client = ContainerClient("https://a.blob.core.windows.net", name, credential=Token(), transport=Catch())
    return {
        "download_blob": lambda: client.download_blob("s/manifests/j"),
        "get_blob_properties": lambda: client.get_blob_client("s/manifests/j").get_blob_properties(),
        "upload_blob": lambda: client.upload_blob("s/manifests/j", b"{}", overwrite=True, metadata={"state": "done"}),
        "delete_blob": lambda: client.delete_blob("s/manifests/j"),
        "list_blobs": lambda: list(client.list_blobs("s/", include=["metadata"])),
    }


def compute_calls() -> Mapping[str, Callable[[], Any]]:
    client = ComputeManagementClient(Token(), "00000000-0000-0000-0000-000000000001", transport=Catch())
    sets, vms = client.virtual_machine_scale_sets, client.virtual_machines
    members = "'virtualMachineScaleSet/id' eq '/subscriptions/…/virtualMachineScaleSets/set'"
    return {
        "virtual_machine_scale_sets.get": lambda: sets.get("rg", "set"),
        "virtual_machine_scale_sets.begin_update": lambda: sets.begin_update(
            "rg", "set", BytesIO(b'{"sku": {"capacity": 1}}')
        ),
        "virtual_machine_scale_sets.begin_delete_instances": lambda: sets.begin_delete_instances(
            "rg", "set", {"instanceIds": ["set_1"]}
        ),
        "virtual_machines.list": lambda: list(vms.list("rg", filter=members, expand="instanceView")),
        "virtual_machines.get": lambda: vms.get("rg", "set_1"),
        "virtual_machines.instance_view": lambda: vms.instance_view("rg", "set_1"),
        "virtual_machines.simulate_eviction": lambda: vms.simulate_eviction("rg", "set_1"),
    }


def needs_of_sdk() -> dict[str, Need]:
    calls: dict[str, tuple[Service, Callable[[], Any]]] = {
        call: ("arm", function) for call, function in compute_calls().items()
    }
    for queue in ("jobs", "jobs-poison"):
        calls |= {f"{queue}: {call}": ("queue", function) for call, function in queue_calls(queue).items()}
    for container in ("sweeps", "checkpoints", "control", "releases"):
        calls |= {f"{container}: {call}": ("blob", function) for call, function in container_calls(container).items()}
    needs = {}
    for call, (service, function) in calls.items():
        with pytest.raises(Seen) as caught:
            function()
        url = urlsplit(caught.value.request.url)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        needs[call] = need_of_request(service, caught.value.request.method, url.path, query)
    return needs


def test_the_table_says_what_the_sdk_sends() -> None:
    needs = needs_of_sdk()
    by_hand = {operation.call for operation in OPERATIONS if operation.call not in needs}
    assert by_hand == {
        *("GET disks", "GET networkInterfaces", "GET publicIPAddresses", "GET workflows", "GET workflows/runs"),
        *("GET virtualMachineScaleSets", "PATCH virtualMachineScaleSets"),
    }
    for operation in OPERATIONS:
        if operation.call not in by_hand:
            assert operation.need == needs[operation.call], operation.call


@pytest.mark.parametrize(
    "call",
    [
        *("GET disks", "GET networkInterfaces", "GET publicIPAddresses", "GET workflows", "GET workflows/runs"),
        *("virtual_machine_scale_sets.get", "virtual_machine_scale_sets.begin_update"),
        *("virtual_machine_scale_sets.begin_delete_instances", "virtual_machines.simulate_eviction"),
    ],
)
def test_the_table_says_what_doctor_sends(call: str) -> None:
    session = Storage().session()
    session = replace(session, target=session.target.model_copy(update={"wake": "tranq-wake"}))
    session.__dict__["compute"] = ComputeManagementClient(Token(), session.target.subscription_id, transport=Catch())
    with pytest.raises(Seen) as caught:
        attempts(session)[call]()
    sent = caught.value.request
    (operation,) = [one for one in OPERATIONS if (one.principal, one.call) == ("operator", call)]
    assert need_of_request("arm", sent.method, urlsplit(sent.url).path, {}) == operation.need


def test_the_quota_is_of_the_subscription() -> None:
    client = ComputeManagementClient(Token(), "00000000-0000-0000-0000-000000000001", transport=Catch())
    with pytest.raises(Seen) as caught:
        list(client.usage.list("westeurope"))
    need = need_of_request("arm", caught.value.request.method, urlsplit(caught.value.request.url).path, {})
    assert need.any_of == (OF_THE_SUBSCRIPTION["usage.list"],)


def test_the_table_says_what_the_wake_sends() -> None:
    (wake,) = [one for one in read("first")["predictedResources"] if one["type"] == "Microsoft.Logic/workflows"]
    values = {name: entry["value"] for name, entry in wake["properties"]["parameters"].items()}
    sent = set()
    for action in http_actions(wake["properties"]["definition"]["actions"]):
        uri = action["inputs"]["uri"]
        for name, value in values.items():
            uri = uri.replace(f"@{{parameters('{name}')}}", str(value)).replace(f"@parameters('{name}')", str(value))
        url = urlsplit(uri)
        service: Service = (
            "arm" if url.netloc.startswith("management") else "blob" if ".blob." in url.netloc else "queue"
        )
        sent.add(need_of_request(service, action["inputs"]["method"], url.path, dict(parse_qsl(url.query))))
    assert sent == {operation.need for operation in OPERATIONS if operation.principal == "wake"}


def http_actions(actions: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for action in actions.values():
        found += [action] if action["type"] == "Http" else []
        found += http_actions(action.get("actions", {})) + http_actions(action.get("else", {}).get("actions", {}))
    return found


@pytest.mark.parametrize(
    ("service", "method", "path"),
    [
        ("queue", "PUT", "/jobs"),
        ("queue", "PATCH", "/jobs/messages"),
        ("blob", "PUT", "/sweeps"),
        ("blob", "POST", "/sweeps/b"),
        ("arm", "PUT", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/set"),
        (
            "arm",
            "POST",
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/set/scaleOut",
        ),
        ("arm", "GET", "/subscriptions/s/resourceGroups/g"),
    ],
)
def test_a_request_that_the_code_does_not_make_needs_a_rule_first(service: Service, method: str, path: str) -> None:
    with pytest.raises(UnknownRequest):
        need_of_request(service, method, path, {})


def test_what_is_of_the_subscription_is_not_promised_by_a_template_for_a_group() -> None:
    promised = {action for operation in OPERATIONS for need in operation.needs for action in need.any_of}
    assert not promised & set(OF_THE_SUBSCRIPTION.values())
