"""What destroy removes: all that deploy made, and nothing else. `removal` decides, `carry_out` asks Azure for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from producer.target.az import AzureCli, AzureCliError
from producer.target.deploy import MADE_BY, OURS, TAG, operations
from producer.target.survey import DEPLOYMENT, Group, find_deployment, find_group, instances_of
from worker.contract.resource_types import (
    ACCOUNTS,
    ADDRESSES,
    DISKS,
    IDENTITIES,
    INTERFACES,
    NETWORKS,
    SETS,
    VMS,
    WORKFLOWS,
)
from worker.contract.runtime import Runtime

ORDER: Final = (
    WORKFLOWS,  # so that nothing raises meanwhile
    *(VMS, SETS, INTERFACES, DISKS, ACCOUNTS, NETWORKS),
    *("Microsoft.Network/natGateways", ADDRESSES, "Microsoft.Network/networkSecurityGroups", IDENTITIES),
)
"""What holds something goes before what it holds: a subnet its NAT gateway, and that its address."""
NESTED: Final = "microsoft.resources/deployments"
STILL_ASSIGNED: Final = "RoleDefinitionHasAssignments"
TRIES: Final = 10
SETTLE_S: Final = 15.0
ROLES: Final = ("queue worker", "queue counter", "scaler", "attacher", "keeper", "retirer")
"""What the names of our roles go on with after the prefix: found by that where the deployment's record is gone."""


@dataclass(frozen=True, slots=True)
class Resource:
    """Something in the group. Ids are compared without their case, as Azure does."""

    id: str
    kind: str
    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    holder: str = ""
    """Id of what it came with: a VM's scale set, a disk's or an interface's VM, an address's interface."""


@dataclass(frozen=True)
class Found:
    """What is there of a deployment."""

    group: Group
    resources: tuple[Resource, ...] = ()
    made: tuple[str, ...] = ()
    """Ids of everything that the deployment's own records say it made."""
    deployments: tuple[str, ...] = ()
    """Names of those records."""
    roles: tuple[str, ...] = ()
    """Ids of our role definitions."""
    assignments: Mapping[str, str] = field(default_factory=dict)
    """Assignment → role definition, the ids of every assignment in the group."""


@dataclass(frozen=True)
class Removal:
    """Everything to remove, in this order."""

    assignments: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    in_group: str = ""
    """The group that all of this is in."""
    whole_group: bool = False
    """Whether the group goes, with everything in it."""
    keeps: str = ""
    """Why it stays."""

    @property
    def nothing(self) -> bool:
        """Return whether there is nothing to remove."""
        return not (self.assignments or self.resources or self.roles or self.deployments or self.whole_group)


def removal(found: Found) -> Removal:
    """Return what to remove.

    The group goes as a whole only where deploy made it and nothing else has come into it. Assignments go before the
    definitions, which cannot be deleted while they are assigned, and which a deleted group would leave behind.
    """
    made = {one.casefold() for one in found.made}
    ours = _ours(found.resources, made)
    foreign = tuple(one.name for one in found.resources if one.id.casefold() not in ours)
    roles = {_last(role) for role in found.roles}
    assignments = tuple(
        one for one, role in found.assignments.items() if one.casefold() in made or _last(role) in roles
    )
    whole = found.group.exists and MADE_BY in found.group.tags and not foreign
    resources = sorted((one for one in found.resources if one.id.casefold() in ours), key=_rank)
    return Removal(
        assignments=assignments,
        roles=found.roles,
        resources=() if whole else tuple(one.id for one in resources),
        deployments=() if whole else found.deployments,
        in_group=found.group.name,
        whole_group=whole,
        keeps="" if whole or not found.group.exists else _why_it_stays(found.group, foreign),
    )


def _ours(resources: Sequence[Resource], made: set[str]) -> set[str]:
    """Return the ids of those resources that were made by the deployment, or came with something that was."""
    ours = set(made) | {one.id.casefold() for one in resources if one.tags.get(TAG) == OURS}
    sets = tuple(_last(one) + "_" for one in ours if f"/{SETS.casefold()}/" in one)  # a VM, and what is named after it
    ours |= {one.id.casefold() for one in resources if sets and one.name.casefold().startswith(sets)}
    while more := {one.id.casefold() for one in resources if one.holder.casefold() in ours} - ours:
        ours |= more
    return ours


def _why_it_stays(group: Group, foreign: Sequence[str]) -> str:
    if MADE_BY not in group.tags:
        return f"The group {group.name} stays: deploy did not make it."
    shown = ", ".join(foreign[:3]) + (", …" if len(foreign) > 3 else "")
    return f"The group {group.name} stays: there is something in it that deploy did not make ({shown})."


def _rank(resource: Resource) -> tuple[int, str]:
    kind, kinds = resource.kind.casefold(), [one.casefold() for one in ORDER]
    return (kinds.index(kind) if kind in kinds else len(kinds), resource.id)


def _last(resource_id: str) -> str:
    return resource_id.rpartition("/")[2].casefold()


# ---- looking and removing --------------------------------------------------------------------------------------------


def look(cli: AzureCli, subscription_id: str, name: str) -> Found:
    """Find everything that a deployment left, also where an earlier destroy was cut short."""
    group = find_group(cli, name)
    group_id = f"/subscriptions/{subscription_id}/resourceGroups/{name}"
    if not group.exists:
        return Found(group, roles=tuple(_roles(cli, group_id)))
    made, deployments = list[str](), list[str]()
    if find_deployment(cli, name) is not None:
        _walk(cli, name, DEPLOYMENT, made, deployments)
    return Found(
        group=group,
        resources=tuple(_resources(cli, name)),
        made=tuple(dict.fromkeys(made)),
        deployments=tuple(deployments),
        roles=tuple(_roles(cli, group_id)),
        assignments=_assignments(cli, group_id),
    )


def carry_out(cli: AzureCli, plan: Removal, subscription_id: str, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Remove everything, and say what. It may be cut short and called again."""
    scope = f"/subscriptions/{subscription_id}/resourceGroups/{plan.in_group}"
    for assignment in plan.assignments:
        cli.find("role", "assignment", "delete", "--ids", assignment)
    if plan.assignments:
        say(f"removed {len(plan.assignments)} role assignments")
    for role in plan.roles:
        _remove_role(cli, role.rpartition("/")[2], scope, runtime)
    if plan.roles:
        say(f"removed {len(plan.roles)} custom roles")
    for resource in plan.resources:
        cli.find("resource", "delete", "--ids", resource)
        say(f"removed {resource.partition('/providers/')[2]}")
    for deployment in plan.deployments:
        cli.find("deployment", "group", "delete", "--resource-group", plan.in_group, "--name", deployment)
    if plan.whole_group:
        say(f"removing the group {plan.in_group}, which takes some minutes")
        cli.find("group", "delete", "--name", plan.in_group, "--yes")
        say(f"removed the group {plan.in_group}")


def _remove_role(cli: AzureCli, name: str, scope: str, runtime: Runtime) -> None:
    """Remove a role definition. Azure takes a while to forget the assignments that have just gone."""
    never = runtime.event()
    for left in reversed(range(TRIES)):
        try:
            cli.find("role", "definition", "delete", "--name", name, "--scope", scope)
        except AzureCliError as error:
            if error.code != STILL_ASSIGNED or not left:
                raise
            runtime.wait(never, SETTLE_S)
        else:
            return


def _walk(cli: AzureCli, group: str, deployment: str, made: list[str], deployments: list[str]) -> None:
    """Collect what a deployment and those nested in it made."""
    deployments.append(deployment)
    for entry in operations(cli, group, deployment):
        resource = entry["properties"].get("targetResource") or {}
        if not resource.get("id"):
            continue
        if resource["resourceType"].casefold() == NESTED:
            name = resource["resourceName"]
            if name not in deployments:
                _walk(cli, group, name, made, deployments)
        elif entry["properties"].get("provisioningOperation") == "Create":
            made.append(resource["id"])


def _resources(cli: AzureCli, group: str) -> Iterator[Resource]:
    """Yield everything in the group, with what it came with."""
    holders: dict[str, str] = {}
    listed = cli.ask("resource", "list", "--resource-group", group) or ()
    for one in listed:
        if one["type"].casefold() == SETS.casefold():
            members = instances_of(cli, group, one["id"])
            machines = one["id"].rpartition("/providers/")[0] + f"/providers/{VMS}/"
            holders |= {f"{machines}{vm}".casefold(): one["id"] for vm in members}
    for interface in cli.ask("network", "nic", "list", "--resource-group", group) or ():
        holders[interface["id"].casefold()] = (interface.get("virtualMachine") or {}).get("id", "")
        for ip in interface.get("ipConfigurations") or ():
            holders[((ip.get("publicIPAddress") or {}).get("id") or "").casefold()] = interface["id"]
    for one in listed:
        holder = holders.get(one["id"].casefold()) or one.get("managedBy") or ""
        yield Resource(one["id"], one["type"], one["name"], one.get("tags") or {}, holder)


def _roles(cli: AzureCli, group_id: str) -> Iterator[str]:
    """Yield the custom roles that are made for this group alone and are named as ours are."""
    found = cli.find("role", "definition", "list", "--scope", group_id, "--custom-role-only", "true") or ()
    for role in found:
        scopes = [scope.casefold() for scope in role["assignableScopes"]]
        words = role["roleName"].partition(" ")[2]
        if scopes == [group_id.casefold()] and words.startswith(ROLES):
            yield role["id"]


def _assignments(cli: AzureCli, group_id: str) -> Mapping[str, str]:
    """Return every assignment on the group and on what is in it; names of people need not be looked up."""
    plain = ("--fill-principal-name", "false", "--fill-role-definition-name", "false")
    inside = f"{group_id.casefold()}/"
    return {
        one["id"]: one["roleDefinitionId"]
        for one in cli.ask("role", "assignment", "list", "--all", *plain) or ()
        if f"{one['scope'].casefold()}/".startswith(inside)
    }
