"""Which right each call to Azure needs: the table of operations per principal.

`roles.py` reads which rights the template gives; a test compares the two. Source of what a Flexible scale set needs
besides the call itself: Microsoft, "Orchestration modes", section RBAC permissions, and "Configure role permissions for
standby pools".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from worker.contract.permissions import Need, need_of_request
from worker.contract.resource_types import (
    ADDRESSES,
    DISKS,
    IDENTITIES,
    INTERFACES,
    NETWORKS,
    SETS,
    SUBNETS,
    VMS,
    WORKFLOWS,
)

Principal = Literal["vm", "operator", "wake"]


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


DELETES_VMS: Final = _of_group(f"{VMS}/delete", f"{DISKS}/delete", f"{INTERFACES}/delete", f"{ADDRESSES}/delete")
CREATES_VMS: Final = (
    *_of_group(
        *(f"{VMS}/read", f"{VMS}/write", f"{DISKS}/read", f"{DISKS}/write"),
        *(f"{INTERFACES}/read", f"{INTERFACES}/write", f"{INTERFACES}/join/action"),
        *(f"{ADDRESSES}/read", f"{ADDRESSES}/write", f"{ADDRESSES}/join/action"),
    ),
    Need(
        f"{NETWORKS}/*/subnets/workers",
        (f"{SUBNETS}/join/action",),
    ),
    Need(
        f"{IDENTITIES}/*",
        (f"{IDENTITIES}/assign/action",),
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
_CHANGE: Final[_Requests] = {
    "update_message": ("PUT", "/messages/id", {}),
    "delete_message": ("DELETE", "/messages/id", {}),
}
_WORK: Final[_Requests] = {"receive_message": ("GET", "/messages", {}), **_CHANGE}
_READ_AND_WRITE: Final = ("download_blob", "get_blob_properties", "upload_blob", "list_blobs")
_ALL_BLOB_CALLS: Final = (*_READ_AND_WRITE, "delete_blob")


def _arm(principal: Principal, call: str, action: str, linked: tuple[Need, ...] = ()) -> Operation:
    return Operation(principal, call, Need("", (action,)), linked)


OPERATIONS: Final[tuple[Operation, ...]] = (
    *_messages("vm", "jobs", {**_WORK, **_COUNT}),
    *_messages("vm", "jobs-poison", _SEND),
    *_blobs("vm", "sweeps", *_READ_AND_WRITE),
    *_blobs("vm", "checkpoints", *_ALL_BLOB_CALLS),
    *_blobs("vm", "control", *_ALL_BLOB_CALLS),
    *_blobs("vm", "releases", "download_blob"),
    _arm("vm", "virtual_machine_scale_sets.begin_delete_instances", f"{SETS}/delete/action", DELETES_VMS),
    # Some of these only `doctor` makes, of what is not there, to see whether the right is.
    *_messages("operator", "jobs", {**_SEND, **_CHANGE, **_COUNT}),
    *_messages("operator", "jobs-poison", {**_CHANGE, **_COUNT}),
    *_blobs("operator", "sweeps", *_ALL_BLOB_CALLS),
    *_blobs("operator", "checkpoints", *_ALL_BLOB_CALLS),
    *_blobs("operator", "control", *_ALL_BLOB_CALLS),
    *_blobs("operator", "releases", *_ALL_BLOB_CALLS),
    _arm("operator", "virtual_machine_scale_sets.get", f"{SETS}/read"),
    _arm("operator", "virtual_machine_scale_sets.begin_update", f"{SETS}/write", CREATES_VMS + DELETES_VMS),
    _arm("operator", "virtual_machine_scale_sets.begin_delete_instances", f"{SETS}/delete/action", DELETES_VMS),
    _arm("operator", "virtual_machines.list", f"{VMS}/read", _of_group(f"{VMS}/instanceView/read")),
    _arm("operator", "virtual_machines.get", f"{VMS}/read"),
    _arm("operator", "virtual_machines.instance_view", f"{VMS}/instanceView/read"),
    _arm("operator", "virtual_machines.simulate_eviction", f"{VMS}/simulateEviction/action"),
    _arm("operator", "GET disks", f"{DISKS}/read"),
    _arm("operator", "GET networkInterfaces", f"{INTERFACES}/read"),
    _arm("operator", "GET publicIPAddresses", f"{ADDRESSES}/read"),
    _arm("operator", "GET workflows", f"{WORKFLOWS}/read"),
    _arm("operator", "GET workflows/runs", f"{WORKFLOWS}/runs/read"),
    *_messages("wake", "jobs", _COUNT),
    *_blobs("wake", "control", "download_blob", "upload_blob"),
    _arm("wake", "GET virtualMachineScaleSets", f"{SETS}/read"),
    _arm("wake", "PATCH virtualMachineScaleSets", f"{SETS}/write", CREATES_VMS + DELETES_VMS),
)
"""Every call of ours and of the wake's that a role of the template must allow."""

OF_THE_SUBSCRIPTION: Final = {
    "usage.list": "Microsoft.Compute/locations/usages/read",
    "resource_skus.list": "Microsoft.Compute/skus/read",
}
"""Calls of deploy and doctor whose scope is the subscription, where a template for a group assigns nothing. Whoever may
deploy has them; for any other operator doctor leaves the check out and says so."""
