"""The JSON that Azure Resource Manager shows of the scale set, its VMs and its operations (API 2026-04-01)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from producer.emulator.description import SetDescription
from producer.emulator.model import ScaleSetModel
from producer.emulator.states import Operation, Provisioning, Vm
from worker.contract.resource_types import SETS, VMS

Document = dict[str, Any]


def scale_set(model: ScaleSetModel) -> Document:
    """The set, as deployed and as it is now."""
    description = model.description
    capacity, etag, state = model.snapshot()
    resource = dict(description.resource)
    return resource | {
        "id": description.id,
        "name": description.name,
        "type": SETS,
        "etag": etag,
        "sku": resource["sku"] | {"tier": "Standard", "capacity": capacity},
        "properties": _shown(resource["properties"])
        | {
            "provisioningState": state,
            "uniqueId": model.unique_id,
            "timeCreated": timestamp(model.created),
        },
    }


def _shown(properties: Mapping[str, Any]) -> Document:
    """The properties that Azure shows of what it was sent: custom data is for the VMs alone."""
    profile = properties["virtualMachineProfile"]
    machine = {key: value for key, value in profile["osProfile"].items() if key != "customData"}
    return {**properties, "virtualMachineProfile": {**profile, "osProfile": machine}}


def vm(description: SetDescription, shown: Vm, *, instance_view: bool) -> Document:
    """One VM. Its power state is in the instance view only, as in reality."""
    profile = description.profile
    properties: Document = {
        "vmId": shown.vm_id,
        "provisioningState": shown.provisioning,
        "hardwareProfile": {"vmSize": description.vm_size},
        "virtualMachineScaleSet": {"id": description.id},
        "timeCreated": timestamp(shown.created),
    }
    for inherited in ("priority", "evictionPolicy", "billingProfile", "diagnosticsProfile", "securityProfile"):
        if inherited in profile:
            properties[inherited] = profile[inherited]
    properties |= _parts(description, shown.name)
    if instance_view:
        properties["instanceView"] = vm_instance_view(shown)
    document: Document = {
        "id": description.vm_id(shown.name),
        "name": shown.name,
        "type": VMS,
        "location": description.location,
        "tags": dict(description.tags),
        "etag": f'"{shown.etag}"',
        "managedBy": description.id,
        "properties": properties,
    }
    if "identity" in description.resource:
        document["identity"] = description.resource["identity"]
    return document


def _parts(description: SetDescription, name: str) -> Document:
    """What a VM consists of: the profile of the set, with a disk and an interface of its own."""
    profile = description.profile
    disk = f"{name}_OsDisk_1"
    stored, sent = profile["storageProfile"], profile["osProfile"]
    os_disk = stored["osDisk"] | {"osType": "Linux", "name": disk}
    os_disk["managedDisk"] = os_disk.get("managedDisk", {}) | {"id": _sibling(description, "Compute/disks", disk)}
    machine = {key: value for key, value in sent.items() if key not in {"customData", "computerNamePrefix"}}
    interfaces = [
        {
            "id": _sibling(description, "Network/networkInterfaces", f"{name}-{made['name']}"),
            "properties": {key: made["properties"][key] for key in ("primary", "deleteOption")},
        }
        for made in profile["networkProfile"]["networkInterfaceConfigurations"]
    ]
    return {
        "storageProfile": {**stored, "osDisk": os_disk, "dataDisks": []},
        "osProfile": {**machine, "computerName": name, "secrets": [], "allowExtensionOperations": True},
        "networkProfile": {"networkInterfaces": interfaces},
    }


def _sibling(description: SetDescription, kind: str, name: str) -> str:
    return f"{description.group_id}/providers/Microsoft.{kind}/{name}"


def vm_instance_view(shown: Vm) -> Document:
    """The statuses of a VM."""
    state = shown.provisioning.lower()
    statuses: list[Document] = [
        {
            "code": f"ProvisioningState/{state}",
            "level": "Info",
            "displayStatus": "Provisioning succeeded"
            if shown.provisioning is Provisioning.SUCCEEDED
            else state.title(),
            "time": timestamp(shown.created),
        }
    ]
    if shown.problem is not None:
        statuses[0] |= {
            "code": f"ProvisioningState/{state}/{shown.problem.code}",
            "level": "Error",
            "message": shown.problem.message,
        }
    if shown.power is not None:
        statuses.append({"code": f"PowerState/{shown.power}", "level": "Info", "displayStatus": f"VM {shown.power}"})
    return {"statuses": statuses}


def set_member(description: SetDescription, shown: Vm) -> Document:
    """A VM in the set's own list, which for a Flexible set says hardly more than its ids."""
    return {
        "id": f"{description.id}/virtualMachines/{shown.name}",
        "name": shown.name,
        "instanceId": shown.name,
        "type": f"{SETS}/virtualMachines",
        "location": description.location,
    }


def operation(shown: Operation) -> Document:
    """What polling a long-running operation answers."""
    document: Document = {
        "startTime": timestamp(shown.started),
        "status": shown.status,
        "name": shown.operation_id,
    }
    if shown.ended is not None:
        document["endTime"] = timestamp(shown.ended)
        if shown.problem is not None:
            document["error"] = {"code": shown.problem.code, "message": shown.problem.message}
    return document


def timestamp(moment: datetime) -> str:
    """ISO 8601 as ARM writes it."""
    return moment.isoformat()
