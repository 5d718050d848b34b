"""Tries every operation that an operator's commands use, in ways that change nothing.

A write names what does not exist, or an ETag that nothing has: whoever may write is told so by 404 or 412, whoever may
not by 403, since Azure looks at rights first. What cannot be tried without an effect (receiving or clearing messages,
putting one) is covered by another operation that needs the same right.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from azure.core.exceptions import ResourceNotFoundError

from producer.session import Session
from producer.target.arm_reader import ArmReader
from producer.target.symptoms import Tried
from worker.contract import names
from worker.contract.arm import NO_RETRIES, delete_instances, fleet_errors
from worker.contract.errors import (
    AccessDenied,
    CapacityRefused,
    ConditionFailed,
    FleetDenied,
    FleetError,
    MessageGone,
    NotSignedIn,
    SetChanged,
    StorageError,
    Throttled,
)
from worker.contract.queue import MessageQueue, Receipt
from worker.contract.records import Unchanged
from worker.contract.resource_types import ADDRESSES, DISKS, INTERFACES, WORKFLOWS

NETWORK_API: Final = "2024-05-01"
DISK_API: Final = "2024-03-02"
LOGIC_API: Final = "2019-05-01"
NO_ETAG: Final = '"0"'
ABSENT: Final = "doctor/absent"
COVERED: Final[Mapping[str, str]] = {
    "send_message": "update_message",
    "receive_message": "delete_message",
    "clear_messages": "delete_message",
    "peek_messages": "update_message",
    "get_blob_properties": "download_blob",
    "virtual_machines.get": "virtual_machines.list",
    "virtual_machines.instance_view": "virtual_machines.list",
}
"""Operations that are not tried, and the one that stands for each: the roles that give one give both."""

Attempts = Mapping[str, Callable[[], object]]


def attempts(session: Session) -> Attempts:
    """Return what is tried, by the names of `permissions.OPERATIONS`."""
    found: dict[str, Callable[[], object]] = {}
    for name, queue in ((names.JOBS_QUEUE, session.jobs), (names.POISON_QUEUE, session.poison)):
        found |= {f"{name}: {call}": work for call, work in _of_queue(queue).items()}
    for container in names.CONTAINERS:
        found |= {f"{container}: {call}": work for call, work in _of_container(session, container).items()}
    return {**found, **_of_set(session), **_of_group(session)}


def try_all(tried: Attempts) -> Iterator[Tried]:
    """Try everything, and yield how it went. Raises NotSignedIn: then there is nothing to try."""
    for call, work in tried.items():
        try:
            work()
        except NotSignedIn:
            raise
        except (MessageGone, ConditionFailed, SetChanged, CapacityRefused, Throttled):
            yield Tried(call)  # it was allowed to do what could not be done, or shall ask again later
        except (AccessDenied, FleetDenied) as error:
            yield Tried(call, str(error), denied=True)
        except (StorageError, FleetError) as error:
            yield Tried(call, str(error))
        else:
            yield Tried(call)


def _of_queue(queue: MessageQueue) -> Attempts:
    nothing = Receipt(str(uuid.uuid4()), "AgAAAAMAAAAAAAAAAAAAAAAAAAA=")  # of the form that a receipt has
    return {
        "get_queue_properties": queue.count,
        "update_message": lambda: queue.renew(nothing, 0),
        "delete_message": lambda: queue.delete(nothing),
    }


def _of_container(session: Session, container: str) -> Attempts:
    blobs = session.blobs
    return {
        "download_blob": lambda: blobs.get(container, ABSENT),
        "list_blobs": lambda: list(blobs.list(container, ABSENT)),
        "upload_blob": lambda: blobs.put(container, ABSENT, b"", Unchanged(NO_ETAG)),
        "delete_blob": lambda: blobs.delete(container, ABSENT),
    }


def _of_set(session: Session) -> Attempts:
    target = session.target
    absent = f"{target.scale_set}_doctor00"

    def read() -> Any:
        with fleet_errors():
            return session.compute.virtual_machine_scale_sets.get(
                target.resource_group, target.scale_set, retry_total=NO_RETRIES
            )

    def update() -> object:
        from azure.core import MatchConditions
        from azure.mgmt.compute.models import VirtualMachineScaleSetUpdate

        with fleet_errors():
            return session.compute.virtual_machine_scale_sets.begin_update(
                target.resource_group,
                target.scale_set,
                VirtualMachineScaleSetUpdate(),  # nothing: harmless also where the ETag were not compared
                etag=NO_ETAG,
                match_condition=MatchConditions.IfNotModified,
                polling=False,
                retry_total=NO_RETRIES,
            )

    def vms() -> object:
        members = f"'virtualMachineScaleSet/id' eq '{read().id}'"
        with fleet_errors():
            listed = session.compute.virtual_machines.list(
                target.resource_group, filter=members, expand="instanceView", retry_total=NO_RETRIES
            )
            return list(listed)

    def simulate() -> None:
        with fleet_errors():
            try:
                session.compute.virtual_machines.simulate_eviction(
                    target.resource_group, absent, retry_total=NO_RETRIES
                )
            except ResourceNotFoundError:
                return

    return {
        "virtual_machine_scale_sets.get": read,
        "virtual_machine_scale_sets.begin_update": update,
        "virtual_machine_scale_sets.begin_delete_instances": lambda: delete_instances(
            session.compute, target, [absent]
        ),
        "virtual_machines.list": vms,
        "virtual_machines.simulate_eviction": simulate,
    }


def _of_group(session: Session) -> Attempts:
    arm, wake = ArmReader(session.compute, session.target), session.target.wake
    found: dict[str, Callable[[], object]] = {
        "GET disks": lambda: arm.list(DISKS, DISK_API),
        "GET networkInterfaces": lambda: arm.list(INTERFACES, NETWORK_API),
        "GET publicIPAddresses": lambda: arm.list(ADDRESSES, NETWORK_API),
    }
    if wake:
        workflow = f"{WORKFLOWS}/{wake}"
        found["GET workflows"] = lambda: arm.get(workflow, LOGIC_API)
        found["GET workflows/runs"] = lambda: arm.list(f"{workflow}/runs", LOGIC_API, {"$top": "1"})
    return found
