"""Claims about `destroy`: it removes all that deploy made, and nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from producer.target.az import AzureCliError, find_cli
from producer.target.committed import committed_snapshot
from producer.target.deploy import MADE_BY
from producer.target.destroy import ROLES, Found, Removal, Resource, carry_out, look, removal
from producer.target.survey import Group
from tests.fakes.cloud import GROUP_ID, SUBSCRIPTION, Cloud, deployment, operation
from tests.fakes.producing import InlineRuntime

PROVIDERS = f"{GROUP_ID}/providers"
OURS = {"application": "tranquility"}
MADE = Group("rg", "westeurope", {MADE_BY: "tranq"})
THEIRS = Group("rg", "westeurope")


def resource(kind: str, name: str, holder: str = "", **tags: str) -> Resource:
    return Resource(f"{PROVIDERS}/{kind}/{name}", kind, name, tags, holder)


SET = resource("Microsoft.Compute/virtualMachineScaleSets", "tranq-set", **OURS)
VM = resource("Microsoft.Compute/virtualMachines", "tranq-set_1", SET.id)
DISK = resource("Microsoft.Compute/disks", "tranq-set_1_OsDisk", VM.id)
NIC = resource("Microsoft.Network/networkInterfaces", "nic-12", VM.id)
ADDRESS = resource("Microsoft.Network/publicIPAddresses", "address-12", NIC.id.upper())
ACCOUNT = resource("Microsoft.Storage/storageAccounts", "tranqx", **OURS)
VNET = resource("Microsoft.Network/virtualNetworks", "tranq-vnet", **OURS)
NAT = resource("Microsoft.Network/natGateways", "tranq-nat", **OURS)
OF_NAT = resource("Microsoft.Network/publicIPAddresses", "tranq-nat", **OURS)
IDENTITY = resource("Microsoft.ManagedIdentity/userAssignedIdentities", "tranq-vm")
WAKE = resource("Microsoft.Logic/workflows", "tranq-wake", **OURS)
OTHER = resource("Microsoft.Web/sites", "tranq-set-but-no-vm")
ROLE = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/1111"
BUILT_IN = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/ba92"
ASSIGNED = f"{PROVIDERS}/Microsoft.Authorization/roleAssignments"
FOUND = Found(
    group=MADE,
    resources=(VNET, SET, IDENTITY, ACCOUNT, DISK, NIC, ADDRESS, VM, WAKE),
    made=(SET.id.lower(), IDENTITY.id, f"{ASSIGNED}/built-in"),
    deployments=("tranquility", "roles-1"),
    roles=(ROLE,),
    assignments={
        f"{ASSIGNED}/custom": ROLE.upper(),
        f"{ASSIGNED}/built-in": BUILT_IN,
        f"{ASSIGNED}/somebody's": BUILT_IN,
    },
)


def test_a_group_that_deploy_made_goes_whole_after_the_roles() -> None:
    assert removal(FOUND) == Removal(
        assignments=(f"{ASSIGNED}/custom", f"{ASSIGNED}/built-in"), roles=(ROLE,), in_group="rg", whole_group=True
    )


def test_a_group_that_was_there_stays_and_what_deploy_made_in_it_goes_in_order() -> None:
    found = removal(replace(FOUND, group=THEIRS, resources=(OF_NAT, NAT, *FOUND.resources, OTHER)))
    assert not found.whole_group
    assert "deploy did not make it" in found.keeps
    order = (WAKE, VM, SET, NIC, DISK, ACCOUNT, VNET, NAT, ADDRESS, OF_NAT, IDENTITY)
    assert found.resources == tuple(one.id for one in order)
    assert found.deployments == FOUND.deployments


def test_a_group_that_deploy_made_stays_where_something_else_has_come_into_it() -> None:
    found = removal(replace(FOUND, resources=(*FOUND.resources, OTHER)))
    assert not found.whole_group
    assert OTHER.name in found.keeps
    assert OTHER.id not in found.resources
    assert len(found.resources) == len(FOUND.resources)


def test_where_nothing_is_left_there_is_nothing_to_do() -> None:
    assert removal(Found(Group("rg"))).nothing
    assert not removal(Found(Group("rg"), roles=(ROLE,))).nothing
    assert not removal(Found(MADE)).nothing  # the empty group


def test_roles_are_known_by_their_names_where_the_record_of_the_deployment_is_gone() -> None:
    named = [
        one["properties"]["roleName"].partition(" ")[2]
        for one in committed_snapshot()["predictedResources"]
        if one["type"] == "Microsoft.Authorization/roleDefinitions"
    ]
    assert len(named) == len(ROLES)
    assert all(sum(name.startswith(role) for role in ROLES) == 1 for name in named)


def test_it_finds_what_the_deployment_and_those_nested_in_it_made(cloud: Cloud) -> None:
    cloud.group(**{MADE_BY: "tranq"})
    az = cloud.az
    az.answer("deployment", "group", "show", json=deployment())
    nested = "Microsoft.Resources/deployments"
    az.answer("operation", "list", "tranquility", json=[operation(nested, f"{PROVIDERS}/{nested}/storage-1")])
    read: dict[str, Any] = dict(operation("x", f"{PROVIDERS}/x/read"))
    read = {"properties": {**read["properties"], "provisioningOperation": "Read"}}
    az.answer("operation", "list", "storage-1", json=[operation(ACCOUNT.kind, ACCOUNT.id), read])
    listed = [
        {"id": one.id, "type": one.kind, "name": one.name, "tags": dict(one.tags) or None} for one in (SET, VM, NIC)
    ]
    az.answer("resource", "list", json=[*listed, {"id": DISK.id, "type": DISK.kind, "name": "d", "managedBy": VM.id}])
    az.answer("vm", "list", json=[{"name": VM.name, "virtualMachineScaleSet": {"id": SET.id}}])
    interface = {
        "id": NIC.id,
        "virtualMachine": {"id": VM.id},
        "ipConfigurations": [{"publicIPAddress": {"id": ADDRESS.id}}],
    }
    az.answer("nic", "list", json=[interface])
    own = {"id": ROLE, "roleName": "tranq scaler abc", "assignableScopes": [GROUP_ID.lower()]}
    wider = {"id": BUILT_IN, "roleName": "tranq scaler abc", "assignableScopes": [GROUP_ID, "/subscriptions/other"]}
    other = {"id": BUILT_IN, "roleName": "our auditor", "assignableScopes": [GROUP_ID]}
    az.answer("role", "definition", "list", json=[own, wider, other])
    inside = {"id": "a", "roleDefinitionId": ROLE, "scope": f"{ACCOUNT.id}/queueServices/default"}
    beside = {"id": "b", "roleDefinitionId": ROLE, "scope": f"{GROUP_ID}2"}
    az.answer("role", "assignment", "list", json=[inside, beside])

    found = look(find_cli(), SUBSCRIPTION, "rg")
    assert found.made == (ACCOUNT.id,)
    assert found.deployments == ("tranquility", "storage-1")
    assert found.roles == (ROLE,)
    assert found.assignments == {"a": ROLE}
    assert [one.holder for one in found.resources] == ["", SET.id, VM.id, VM.id]
    assert removal(found).whole_group


def test_it_removes_assignments_then_roles_then_the_rest(cloud: Cloud) -> None:
    az = cloud.az
    az.answer("delete", json=None)
    said: list[str] = []
    carry_out(find_cli(), removal(FOUND), SUBSCRIPTION, InlineRuntime(), said.append)
    order = [call.words[:3] for call in az.calls("delete")]
    assert order == [
        ("role", "assignment", "delete"),
        ("role", "assignment", "delete"),
        ("role", "definition", "delete"),
        ("group", "delete", "--name"),
    ]
    assert any("1 custom role" in line for line in said)


def test_what_is_gone_already_stops_nothing(cloud: Cloud) -> None:
    az = cloud.az
    az.answer("delete", json=None)
    az.fail("role", "definition", "delete", stderr="ERROR: (RoleDefinitionDoesNotExistNotFound) gone", status=3)
    az.fail("resource", "delete", WAKE.id, stderr="ERROR: (ResourceNotFound) gone", status=3)
    plan = removal(replace(FOUND, group=THEIRS))
    carry_out(find_cli(), plan, SUBSCRIPTION, InlineRuntime(), lambda _: None)
    assert len(az.calls("resource", "delete")) == len(plan.resources)
    assert [call.after("--name") for call in az.calls("deployment", "delete")] == ["tranquility", "roles-1"]


def test_a_role_whose_assignments_azure_has_not_forgotten_yet_is_removed_a_little_later(cloud: Cloud) -> None:
    cloud.az.answer("delete", json=None)
    cloud.az.fail("role", "definition", "delete", stderr="ERROR: (RoleDefinitionHasAssignments) still", once=True)
    runtime = InlineRuntime()
    carry_out(find_cli(), removal(FOUND), SUBSCRIPTION, runtime, lambda _: None)
    assert len(cloud.az.calls("role", "definition", "delete")) == 2
    assert runtime.waits == [15.0]


def test_a_role_that_somebody_else_has_assigned_ends_it(cloud: Cloud) -> None:
    cloud.az.answer("delete", json=None)
    cloud.az.fail("role", "definition", "delete", stderr="ERROR: (RoleDefinitionHasAssignments) still")
    with pytest.raises(AzureCliError, match="RoleDefinitionHasAssignments"):
        carry_out(find_cli(), removal(FOUND), SUBSCRIPTION, InlineRuntime(), lambda _: None)
    assert not cloud.az.calls("group", "delete")


def test_a_denial_ends_it_and_says_what_is_missing(cloud: Cloud) -> None:
    cloud.az.fail("role", "assignment", "delete", stderr="ERROR: (AuthorizationFailed) may not delete assignments")
    with pytest.raises(Exception, match="may not delete assignments"):
        carry_out(find_cli(), removal(FOUND), SUBSCRIPTION, InlineRuntime(), lambda _: None)
    assert not cloud.az.calls("group", "delete")
