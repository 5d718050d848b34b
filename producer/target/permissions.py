"""Which right each call to Azure needs: the table of operations per principal, and the way there from an HTTP request.

`roles.py` reads which rights the template gives; a test compares the two. Sources: Microsoft, "Authorize with Microsoft
Entra ID" (tables of the queue and blob operations); for what a Flexible scale set needs besides the call itself,
"Orchestration modes", section RBAC permissions, and "Configure role permissions for standby pools".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Principal = Literal["vm", "operator", "wake"]
Service = Literal["queue", "blob", "arm"]

_QUEUES: Final = "Microsoft.Storage/storageAccounts/queueServices/queues"
_MESSAGES: Final = f"{_QUEUES}/messages"
_CONTAINERS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers"
_BLOBS: Final = f"{_CONTAINERS}/blobs"
_SETS: Final = "Microsoft.Compute/virtualMachineScaleSets"
_VMS: Final = "Microsoft.Compute/virtualMachines"
_DISKS: Final = "Microsoft.Compute/disks"
_INTERFACES: Final = "Microsoft.Network/networkInterfaces"
_ADDRESSES: Final = "Microsoft.Network/publicIPAddresses"
_WORKFLOWS: Final = "Microsoft.Logic/workflows"


class UnknownRequest(Exception):
    """A request that no rule here names. Add its rule, and the operation that makes it."""


@dataclass(frozen=True, slots=True)
class Need:
    """One of these actions must be granted on `scope`.

    A scope is a resource id below the providers of the resource group, '' being the group itself; a `*` in it stands
    for a name that only a deployment knows.
    """

    scope: str
    any_of: tuple[str, ...]
    is_data: bool = False

    def __str__(self) -> str:
        return f"{' or '.join(self.any_of)} on {self.scope or 'the resource group'}"


# ---- From a request to its need --------------------------------------------------------------------------------------

_QUEUE_RULES: Final[tuple[tuple[str, str, str, bool, tuple[str, ...]], ...]] = (
    # method, path below the queue, query that must be there, is it a data action, one of these actions
    ("GET", "messages", "peekonly", True, (f"{_MESSAGES}/read",)),
    ("GET", "messages", "", True, (f"{_MESSAGES}/process/action",)),
    ("POST", "messages", "", True, (f"{_MESSAGES}/add/action", f"{_MESSAGES}/write")),
    ("DELETE", "messages", "", True, (f"{_MESSAGES}/delete",)),
    ("PUT", "messages/.+", "", True, (f"{_MESSAGES}/write",)),
    ("DELETE", "messages/.+", "", True, (f"{_MESSAGES}/process/action", f"{_MESSAGES}/delete")),
    ("GET|HEAD", "", "comp", False, (f"{_QUEUES}/read",)),
)
_BLOB_RULES: Final[tuple[tuple[str, str, str, bool, tuple[str, ...]], ...]] = (
    ("GET", "", "comp", True, (f"{_BLOBS}/read",)),
    ("GET|HEAD", "", "", False, (f"{_CONTAINERS}/read",)),
    ("GET|HEAD", ".+", "", True, (f"{_BLOBS}/read",)),
    ("PUT", ".+", "", True, (f"{_BLOBS}/write",)),
    ("DELETE", ".+", "", True, (f"{_BLOBS}/delete",)),
)
_ARM_RULES: Final[tuple[tuple[str, str, str], ...]] = (
    ("GET", f"{_SETS}/[^/]+", f"{_SETS}/read"),
    ("PATCH", f"{_SETS}/[^/]+", f"{_SETS}/write"),
    ("POST", f"{_SETS}/[^/]+/delete", f"{_SETS}/delete/action"),
    ("GET", f"{_VMS}(/[^/]+)?", f"{_VMS}/read"),
    ("GET", f"{_VMS}/[^/]+/instanceView", f"{_VMS}/instanceView/read"),
    ("POST", f"{_VMS}/[^/]+/simulateEviction", f"{_VMS}/simulateEviction/action"),
    ("GET", f"{_DISKS}", f"{_DISKS}/read"),
    ("GET", f"{_INTERFACES}", f"{_INTERFACES}/read"),
    ("GET", f"{_ADDRESSES}", f"{_ADDRESSES}/read"),
    ("GET", f"{_WORKFLOWS}/[^/]+", f"{_WORKFLOWS}/read"),
    ("GET", f"{_WORKFLOWS}/[^/]+/runs(/[^/]+)?", f"{_WORKFLOWS}/runs/read"),
)


def need_of_request(service: Service, method: str, path: str, query: Mapping[str, str]) -> Need:
    """Return what Azure checks before it answers a request.

    `path` begins with a slash: for storage it is below the account (`/jobs/messages`), for ARM the whole path.

    Raises:
        UnknownRequest: nothing in this project makes such a request.
    """
    if service == "arm":
        return _need_of_arm(method, path)
    holder, _, rest = path.strip("/").partition("/")
    parent, rules = (
        ("queueServices/default/queues", _QUEUE_RULES)
        if service == "queue"
        else ("blobServices/default/containers", _BLOB_RULES)
    )
    for methods, below, key, is_data, any_of in rules:
        if re.fullmatch(methods, method) and re.fullmatch(below, rest) and (not key or key in query):
            return Need(f"Microsoft.Storage/storageAccounts/*/{parent}/{holder}", any_of, is_data)
    raise UnknownRequest(f"{method} {path} of the {service} service")


def _need_of_arm(method: str, path: str) -> Need:
    _, marker, resource = path.partition("/providers/")
    for rule_method, pattern, action in _ARM_RULES:
        if marker and method == rule_method and re.fullmatch(pattern, resource, re.IGNORECASE):
            return Need("", (action,))
    raise UnknownRequest(f"{method} {path} of Azure Resource Manager")


# ---- What the code does ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that the code makes as one principal.

    `linked` is what Azure checks besides: a change of a Flexible set creates and deletes VMs, interfaces, addresses and
    disks, which are siblings of the set, in the name of whoever changed it.
    """

    principal: Principal
    call: str
    need: Need
    linked: tuple[Need, ...] = ()

    @property
    def needs(self) -> tuple[Need, ...]:
        """Everything that must be granted."""
        return (self.need, *self.linked)


def _of_group(*actions: str) -> tuple[Need, ...]:
    return tuple(Need("", (action,)) for action in actions)


DELETES_VMS: Final = _of_group(f"{_VMS}/delete", f"{_DISKS}/delete", f"{_INTERFACES}/delete", f"{_ADDRESSES}/delete")
CREATES_VMS: Final = (
    *_of_group(
        *(f"{_VMS}/read", f"{_VMS}/write", f"{_DISKS}/read", f"{_DISKS}/write"),
        *(f"{_INTERFACES}/read", f"{_INTERFACES}/write", f"{_INTERFACES}/join/action"),
        *(f"{_ADDRESSES}/read", f"{_ADDRESSES}/write", f"{_ADDRESSES}/join/action"),
    ),
    Need(
        "Microsoft.Network/virtualNetworks/*/subnets/workers",
        ("Microsoft.Network/virtualNetworks/subnets/join/action",),
    ),
    Need(
        "Microsoft.ManagedIdentity/userAssignedIdentities/*",
        ("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",),
    ),
)


_Requests = Mapping[str, tuple[str, str, Mapping[str, str]]]
"""Per call the method, the path below queue or container, and the query."""


def _messages(principal: Principal, queue: str, calls: _Requests) -> Iterator[Operation]:
    for call, (method, path, query) in calls.items():
        yield Operation(principal, f"{queue}: {call}", need_of_request("queue", method, f"/{queue}{path}", query))


def _blobs(principal: Principal, container: str, *calls: str) -> Iterator[Operation]:
    requests: _Requests = {
        "download_blob": ("GET", "/b", {}),
        "get_blob_properties": ("HEAD", "/b", {}),
        "upload_blob": ("PUT", "/b", {}),
        "delete_blob": ("DELETE", "/b", {}),
        "list_blobs": ("GET", "", {"restype": "container", "comp": "list"}),
    }
    for call in calls:
        method, path, query = requests[call]
        yield Operation(
            principal, f"{container}: {call}", need_of_request("blob", method, f"/{container}{path}", query)
        )


_SEND: Final[_Requests] = {"send_message": ("POST", "/messages", {})}
_COUNT: Final[_Requests] = {"get_queue_properties": ("GET", "", {"comp": "metadata"})}
_WORK: Final[_Requests] = {
    "receive_message": ("GET", "/messages", {}),
    "update_message": ("PUT", "/messages/id", {}),
    "delete_message": ("DELETE", "/messages/id", {}),
}
_LOOK: Final[_Requests] = {
    "peek_messages": ("GET", "/messages", {"peekonly": "true"}),
    "clear_messages": ("DELETE", "/messages", {}),
}
_ALL_BLOB_CALLS: Final = ("download_blob", "get_blob_properties", "upload_blob", "delete_blob", "list_blobs")


def _arm(principal: Principal, call: str, action: str, linked: tuple[Need, ...] = ()) -> Operation:
    return Operation(principal, call, Need("", (action,)), linked)


OPERATIONS: Final[tuple[Operation, ...]] = (
    *_messages("vm", "jobs", {**_WORK, **_COUNT}),
    *_messages("vm", "jobs-poison", _SEND),
    *_blobs("vm", "sweeps", *_ALL_BLOB_CALLS),
    *_blobs("vm", "checkpoints", *_ALL_BLOB_CALLS),
    *_blobs("vm", "control", *_ALL_BLOB_CALLS),
    *_blobs("vm", "releases", "download_blob", "list_blobs"),
    _arm("vm", "virtual_machine_scale_sets.begin_delete_instances", f"{_SETS}/delete/action", DELETES_VMS),
    *_messages("operator", "jobs", {**_SEND, **_WORK, **_COUNT, **_LOOK}),
    *_messages("operator", "jobs-poison", {**_SEND, **_WORK, **_COUNT, **_LOOK}),
    *_blobs("operator", "sweeps", *_ALL_BLOB_CALLS),
    *_blobs("operator", "checkpoints", *_ALL_BLOB_CALLS),
    *_blobs("operator", "control", *_ALL_BLOB_CALLS),
    *_blobs("operator", "releases", *_ALL_BLOB_CALLS),
    _arm("operator", "virtual_machine_scale_sets.get", f"{_SETS}/read"),
    _arm("operator", "virtual_machine_scale_sets.begin_update", f"{_SETS}/write", CREATES_VMS + DELETES_VMS),
    _arm("operator", "virtual_machine_scale_sets.begin_delete_instances", f"{_SETS}/delete/action", DELETES_VMS),
    _arm("operator", "virtual_machines.list", f"{_VMS}/read", _of_group(f"{_VMS}/instanceView/read")),
    _arm("operator", "virtual_machines.get", f"{_VMS}/read"),
    _arm("operator", "virtual_machines.instance_view", f"{_VMS}/instanceView/read"),
    _arm("operator", "virtual_machines.simulate_eviction", f"{_VMS}/simulateEviction/action"),
    _arm("operator", "GET disks", f"{_DISKS}/read"),
    _arm("operator", "GET networkInterfaces", f"{_INTERFACES}/read"),
    _arm("operator", "GET publicIPAddresses", f"{_ADDRESSES}/read"),
    _arm("operator", "GET workflows", f"{_WORKFLOWS}/read"),
    _arm("operator", "GET workflows/runs", f"{_WORKFLOWS}/runs/read"),
    *_messages("wake", "jobs", _COUNT),
    *_blobs("wake", "control", "download_blob", "upload_blob"),
    _arm("wake", "GET virtualMachineScaleSets", f"{_SETS}/read"),
    _arm("wake", "PATCH virtualMachineScaleSets", f"{_SETS}/write", CREATES_VMS + DELETES_VMS),
)
"""Every call of ours and of the wake's that a role of the template must allow."""

OF_THE_SUBSCRIPTION: Final = {
    "usage.list": "Microsoft.Compute/locations/usages/read",
    "resource_skus.list": "Microsoft.Compute/skus/read",
}
"""Calls of deploy and doctor whose scope is the subscription, where a template for a group assigns nothing. Whoever may
deploy has them; for any other operator doctor leaves the check out and says so."""
