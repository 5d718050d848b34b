"""Which rights the template gives: role definitions and assignments, as a Bicep snapshot holds them.

Owns the contents of the built-in roles that the template assigns (source: Microsoft, "Azure built-in roles").
`permissions.py` says what is needed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from producer.target.permissions import Operation, Principal
from worker.contract.permissions import Need
from worker.contract.resource_types import (
    ACCOUNTS,
    ADDRESSES,
    ASSIGNMENTS,
    BLOBS,
    CONTAINERS,
    DEFINITIONS,
    DISKS,
    IDENTITIES,
    INTERFACES,
    MESSAGES,
    NETWORKS,
    QUEUES,
    SETS,
    SUBNETS,
    VMS,
)


@dataclass(frozen=True, slots=True)
class Role:
    """A role definition. Actions of built-in roles may contain `*`."""

    name: str
    actions: frozenset[str]
    data_actions: frozenset[str] = frozenset()

    def allows(self, action: str, *, is_data: bool) -> bool:
        """Does one of the patterns of this role match?"""
        return any(_matches(pattern, action) for pattern in (self.data_actions if is_data else self.actions))


def _matches(pattern: str, action: str) -> bool:
    # Azure's own Managed Identity Operator grants '…/*/assign/action' and means '…/assign/action' too.
    expression = re.escape(pattern).replace(r"/\*/", "/(?:.*/)?").replace(r"\*", ".*")
    return re.fullmatch(expression, action, re.IGNORECASE) is not None


_EVERYONE: Final = frozenset(
    {
        *("Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.Resources/deployments/*"),
        *("Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Support/*"),
    }
)
_DELEGATION_KEY: Final = f"{ACCOUNTS}/blobServices/generateUserDelegationKey/action"

BUILT_IN_ROLES: Final[Mapping[str, Role]] = {
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": Role(
        "Storage Queue Data Contributor",
        frozenset({f"{QUEUES}/delete", f"{QUEUES}/read", f"{QUEUES}/write"}),
        frozenset({f"{MESSAGES}/delete", f"{MESSAGES}/read", f"{MESSAGES}/write", f"{MESSAGES}/process/action"}),
    ),
    "19e7f393-937e-4f77-808e-94535e297925": Role(
        "Storage Queue Data Reader", frozenset({f"{QUEUES}/read"}), frozenset({f"{MESSAGES}/read"})
    ),
    "c6a89b2d-59bc-44d0-9896-0f6e12d7b80a": Role(
        "Storage Queue Data Message Sender", frozenset(), frozenset({f"{MESSAGES}/add/action"})
    ),
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": Role(
        "Storage Blob Data Contributor",
        frozenset({f"{CONTAINERS}/delete", f"{CONTAINERS}/read", f"{CONTAINERS}/write", _DELEGATION_KEY}),
        frozenset(
            {
                *(f"{BLOBS}/delete", f"{BLOBS}/read", f"{BLOBS}/write"),
                *(f"{BLOBS}/move/action", f"{BLOBS}/add/action"),
            }
        ),
    ),
    "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1": Role(
        "Storage Blob Data Reader", frozenset({f"{CONTAINERS}/read", _DELEGATION_KEY}), frozenset({f"{BLOBS}/read"})
    ),
    "9980e02c-c2be-4d73-94e8-173b1dc7cf3c": Role(
        "Virtual Machine Contributor",
        _EVERYONE
        | {
            *(f"{VMS}/*", f"{SETS}/*", f"{DISKS}/delete", f"{DISKS}/read", f"{DISKS}/write"),
            *(f"{INTERFACES}/*", f"{ADDRESSES}/join/action", f"{ADDRESSES}/read"),
            *("Microsoft.Compute/locations/*", "Microsoft.Compute/availabilitySets/*", "Microsoft.Network/locations/*"),
            *("Microsoft.Network/networkSecurityGroups/join/action", "Microsoft.Network/networkSecurityGroups/read"),
            *(f"{NETWORKS}/read", f"{SUBNETS}/join/action"),
            *(f"{ACCOUNTS}/listKeys/action", f"{ACCOUNTS}/read"),
        },
    ),
    "4d97b98b-1d4f-4787-a291-c67834d212e7": Role("Network Contributor", _EVERYONE | {"Microsoft.Network/*"}),
    "f1a07417-d97a-45cb-824c-7a7467783830": Role(
        "Managed Identity Operator",
        _EVERYONE
        | {
            f"{IDENTITIES}/*/read",
            f"{IDENTITIES}/*/assign/action",
        },
    ),
}
"""The built-in roles that the template assigns, by the id that they have in every tenant."""

_MORE_THAN_DATA: Final = frozenset({f"{CONTAINERS}/read", _DELEGATION_KEY})
_MORE_THAN_BLOBS: Final = _MORE_THAN_DATA | {
    *(f"{CONTAINERS}/delete", f"{CONTAINERS}/write", f"{BLOBS}/move/action", f"{BLOBS}/add/action"),
}
UNUSED_OF_BUILT_IN: Final[Mapping[tuple[Principal, str], frozenset[str]]] = {
    # No built-in role does less. To delete a container is less than its holder may do anyway, which is to delete every
    # blob in it, and container soft delete undoes it for seven days; a delegated key gives no right its maker lacks.
    ("vm", "Storage Blob Data Contributor"): _MORE_THAN_BLOBS,
    ("vm", "Storage Blob Data Reader"): _MORE_THAN_DATA,
    ("vm", "Storage Queue Data Message Sender"): frozenset(),
    ("operator", "Storage Blob Data Contributor"): _MORE_THAN_BLOBS,
    # Whoever may put and delete any message may as well read one: a person who asks why a job was poisoned does.
    ("operator", "Storage Queue Data Contributor"): frozenset(
        {f"{QUEUES}/delete", f"{QUEUES}/write", f"{MESSAGES}/read"}
    ),
    ("wake", "Storage Blob Data Contributor"): _MORE_THAN_BLOBS | {f"{BLOBS}/delete"},
}
"""What the built-in roles of the default deployment give beyond need, looked at one by one."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One role assignment. `scope` is a resource id below the providers of the resource group, '' being the group."""

    principal: Principal
    scope: str
    role: Role
    is_built_in: bool

    def covers(self, scope: str) -> bool:
        """Does this assignment hold for `scope`, which may leave names open (`*`)?"""
        own, other = self.scope.lower().split("/"), scope.lower().split("/")
        return not self.scope or (
            len(own) <= len(other) and all(part in (name, "*") for name, part in zip(own, other, strict=False))
        )

    def meets(self, need: Need) -> bool:
        """Does this assignment alone meet the need?"""
        return self.covers(need.scope) and any(self.role.allows(one, is_data=need.is_data) for one in need.any_of)


def grants_of(snapshot: Mapping[str, Any]) -> tuple[Grant, ...]:
    """Read the role assignments out of a Bicep snapshot."""
    resources = snapshot["predictedResources"]
    definitions = (entry for entry in resources if entry["type"] == DEFINITIONS)
    custom = {entry["name"]: _custom_role(entry["properties"]) for entry in definitions}
    assignments = (entry for entry in resources if entry["type"] == ASSIGNMENTS)
    return tuple(_grant(entry, custom) for entry in assignments)


def unmet(grants: tuple[Grant, ...], operation: Operation) -> tuple[Need, ...]:
    """Return what no assignment gives the principal of an operation."""
    own = [grant for grant in grants if grant.principal == operation.principal]
    return tuple(need for need in operation.needs if not any(grant.meets(need) for grant in own))


def _custom_role(properties: Mapping[str, Any]) -> Role:
    parts = properties["permissions"]
    return Role(
        properties["roleName"],
        frozenset(action for part in parts for action in part.get("actions", ())),
        frozenset(action for part in parts for action in part.get("dataActions", ())),
    )


def _grant(assignment: Mapping[str, Any], custom: Mapping[str, Role]) -> Grant:
    properties = assignment["properties"]
    role_id = properties["roleDefinitionId"].rpartition("/")[2]
    return Grant(
        _principal(properties["principalId"]),
        _scope(assignment["id"]),
        custom.get(role_id) or BUILT_IN_ROLES[role_id],
        is_built_in=role_id in BUILT_IN_ROLES,
    )


def _principal(principal_id: str) -> Principal:
    """The snapshot cannot know the principals of identities, and names the module that they come from instead."""
    if "format('identity-{0}'" in principal_id:
        return "vm"
    return "wake" if "format('wake-{0}'" in principal_id else "operator"


def _scope(assignment_id: str) -> str:
    """What a role is assigned to. An assignment whose name is not known has the scope inside an expression."""
    if assignment_id.startswith("[resourceId("):
        return ""
    quoted = re.match(r"\[extensionResourceId\('([^']+)'", assignment_id)
    resource_id = quoted[1] if quoted else assignment_id.partition("/providers/Microsoft.Authorization/")[0]
    return resource_id.partition("/providers/")[2]
