"""What the public REST specification of Azure says of each answer that the emulator gives, as tables of our own.

Sources, all of github.com/Azure/azure-rest-api-specs at API version 2026-04-01, the one of azure-mgmt-compute 39:
below `specification/compute/resource-manager/Microsoft.Compute/Compute/stable/2026-04-01/` the file `ComputeRP.json`
for statuses, headers and models; for what is really in an answer its `examples/virtualMachineExamples/`
`VirtualMachine_{Get,Get_InstanceView,List_MaximumSet_Gen}.json` and `examples/virtualMachineScaleSetExamples/`
`VirtualMachineScaleSet_{Create_WithSpotPlusPriorityFlex,DeleteInstances_MaximumSet_Gen}.json`; for errors and for the
status of an operation `specification/common-types/resource-management/v3/types.json`. Headers that it leaves out
(Azure-AsyncOperation, x-ms-ratelimit-remaining-resource) are those of "Track asynchronous Azure operations" and
"Troubleshoot API throttling errors".
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

Fields = Mapping[str, str]
"""Type of a field by its path: `[]` is any entry of a list, `*` any key. A type that ends in `?` may be absent."""

_GUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"
TYPES: Final[Mapping[str, str]] = {
    "id": r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/[\w.]+(/\w+/[^/]+)+",
    "guid": _GUID,
    "etag": r'"[^"]+"',
    "string": r"(?s).*",
    "provisioning": "Creating|Updating|Succeeded|Failed|Deleting|Migrating",
    "level": "Info|Warning|Error",
    "status": "InProgress|Succeeded|Failed|Canceled",
    "code": r"ProvisioningState/(creating|updating|succeeded|failed|deleting)(/\w+)?|PowerState/\w+",
    "priority": "Regular|Low|Spot|SpotPlus",
    "eviction": "Deallocate|Delete",
    "option": "Delete|Detach",
    "caching": "None|ReadOnly|ReadWrite",
    "controller": "SCSI|NVMe",
    "url": r"https://\S+",
}

RESOURCE: Final[Fields] = {"id": "id", "name": "string", "type": "string", "location": "string", "tags.*": "string?"}
IDENTITY: Final[Fields] = {
    "identity.type": "string",
    "identity.userAssignedIdentities.*.clientId": "guid",
    "identity.userAssignedIdentities.*.principalId": "guid",
}
STATUSES: Final[Fields] = {
    "statuses[].code": "code",
    "statuses[].level": "level",
    "statuses[].displayStatus": "string",
    "statuses[].message": "string?",
    "statuses[].time": "time?",
}
_DISK: Final[Fields] = {
    "diskControllerType": "controller?",
    "imageReference.publisher": "string",
    "imageReference.offer": "string",
    "imageReference.sku": "string",
    "imageReference.version": "string",
    "osDisk.createOption": "string",
    "osDisk.deleteOption": "option",
    "osDisk.caching": "caching",
    "osDisk.diskSizeGB": "integer",
    "osDisk.managedDisk.storageAccountType": "string",
    "osDisk.diffDiskSettings.option": "string?",
    "osDisk.diffDiskSettings.placement": "string?",
}
_SECURITY: Final[Fields] = {
    "securityType": "string",
    "uefiSettings.secureBootEnabled": "boolean",
    "uefiSettings.vTpmEnabled": "boolean",
}
_MACHINE: Final[Fields] = {
    "adminUsername": "string",
    "linuxConfiguration.disablePasswordAuthentication": "boolean",
    "linuxConfiguration.provisionVMAgent": "boolean?",
    "linuxConfiguration.ssh.publicKeys[].path": "string",
    "linuxConfiguration.ssh.publicKeys[].keyData": "string",
    "linuxConfiguration.patchSettings.patchMode": "string?",
    "linuxConfiguration.patchSettings.assessmentMode": "string?",
}


def _below(prefix: str, *tables: Fields) -> dict[str, str]:
    return {f"{prefix}.{path}": kind for table in tables for path, kind in table.items()}


VM: Final[Fields] = {
    **RESOURCE,
    **IDENTITY,
    "etag": "etag",
    "managedBy": "id",
    "properties.vmId": "guid",
    "properties.provisioningState": "provisioning",
    "properties.timeCreated": "time",
    "properties.hardwareProfile.vmSize": "string",
    "properties.virtualMachineScaleSet.id": "id",
    "properties.priority": "priority",
    "properties.evictionPolicy": "eviction",
    "properties.billingProfile.maxPrice": "number",
    "properties.diagnosticsProfile.bootDiagnostics.enabled": "boolean",
    **_below("properties.securityProfile", _SECURITY),
    **_below("properties.storageProfile", _DISK),
    "properties.storageProfile.osDisk.osType": "string",
    "properties.storageProfile.osDisk.name": "string",
    "properties.storageProfile.osDisk.managedDisk.id": "id",
    "properties.storageProfile.dataDisks[]": "string?",
    **_below("properties.osProfile", _MACHINE),
    "properties.osProfile.computerName": "string",
    "properties.osProfile.secrets[]": "string?",
    "properties.osProfile.allowExtensionOperations": "boolean",
    "properties.networkProfile.networkInterfaces[].id": "id",
    "properties.networkProfile.networkInterfaces[].properties.primary": "boolean",
    "properties.networkProfile.networkInterfaces[].properties.deleteOption": "option",
}
VM_WITH_VIEW: Final[Fields] = {**VM, **_below("properties.instanceView", STATUSES)}

_INTERFACE: Final = "properties.virtualMachineProfile.networkProfile.networkInterfaceConfigurations[]"
_ADDRESS: Final = f"{_INTERFACE}.properties.ipConfigurations[].properties"
SCALE_SET: Final[Fields] = {
    **RESOURCE,
    **IDENTITY,
    "etag": "etag",
    "sku.name": "string",
    "sku.tier": "string",
    "sku.capacity": "integer",
    "properties.provisioningState": "provisioning",
    "properties.uniqueId": "guid",
    "properties.timeCreated": "time",
    "properties.orchestrationMode": "string",
    "properties.platformFaultDomainCount": "integer",
    "properties.singlePlacementGroup": "boolean?",
    "properties.upgradePolicy.mode": "string?",
    "properties.constrainedMaximumCapacity": "boolean?",
    "properties.virtualMachineProfile.priority": "priority",
    "properties.virtualMachineProfile.evictionPolicy": "eviction",
    "properties.virtualMachineProfile.billingProfile.maxPrice": "number",
    "properties.virtualMachineProfile.diagnosticsProfile.bootDiagnostics.enabled": "boolean",
    **_below("properties.virtualMachineProfile.securityProfile", _SECURITY),
    **_below("properties.virtualMachineProfile.storageProfile", _DISK),
    **_below("properties.virtualMachineProfile.osProfile", _MACHINE),
    "properties.virtualMachineProfile.osProfile.computerNamePrefix": "string",
    "properties.virtualMachineProfile.networkProfile.networkApiVersion": "string",
    f"{_INTERFACE}.name": "string",
    f"{_INTERFACE}.properties.primary": "boolean",
    f"{_INTERFACE}.properties.deleteOption": "option",
    f"{_INTERFACE}.properties.enableAcceleratedNetworking": "boolean",
    f"{_INTERFACE}.properties.networkSecurityGroup.id": "id?",
    f"{_INTERFACE}.properties.ipConfigurations[].name": "string",
    f"{_ADDRESS}.primary": "boolean",
    f"{_ADDRESS}.subnet.id": "id",
    f"{_ADDRESS}.publicIPAddressConfiguration.name": "string?",
    f"{_ADDRESS}.publicIPAddressConfiguration.sku.name": "string?",
    f"{_ADDRESS}.publicIPAddressConfiguration.sku.tier": "string?",
    f"{_ADDRESS}.publicIPAddressConfiguration.properties.deleteOption": "option?",
    f"{_ADDRESS}.publicIPAddressConfiguration.properties.idleTimeoutInMinutes": "integer?",
}
MEMBER: Final[Fields] = {**RESOURCE, "instanceId": "string"}
OPERATION: Final[Fields] = {
    "name": "string",
    "status": "status",
    "startTime": "time",
    "endTime": "time?",
    "error.code": "string?",
    "error.message": "string?",
}
ERROR: Final[Fields] = {
    "error.code": "string",
    "error.message": "string",
    "error.target": "string?",
    "error.details[].code": "string?",
    "error.details[].target": "string?",
    "error.details[].message": "string?",
}


def _page(entry: Fields) -> Fields:
    return {**{f"value[].{path}": kind for path, kind in entry.items()}, "nextLink": "url?"}


@dataclass(frozen=True)
class Answer:
    """One status that an operation may answer with. A missing table means that there is no body."""

    fields: Fields | None = None
    headers: tuple[str, ...] = ()


_LONG_RUNNING: Final = ("azure-asyncoperation", "location", "retry-after")
_POLLED: Final = ("retry-after",)
COUNTED: Final = "x-ms-ratelimit-remaining-resource"
"""On every answer of Azure Compute to a request that it counts."""


@dataclass(frozen=True)
class OperationSpec:
    """One operation: how it is asked, and what it answers. Every other status carries an error."""

    name: str
    method: str
    path: str
    answers: Mapping[int, Answer]
    query: Mapping[str, str] = field(default_factory=dict)

    def is_asked(self, method: str, path: str, query: Mapping[str, str]) -> bool:
        """Return whether a request is one of these."""
        asked = all(re.fullmatch(pattern, query.get(name, "")) for name, pattern in self.query.items())
        return asked and method == self.method and re.fullmatch(self.path, path) is not None


_COMPUTE: Final = "/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Compute"
_SET: Final = f"{_COMPUTE}/virtualMachineScaleSets/[^/]+"
_VM: Final = f"{_COMPUTE}/virtualMachines/[^/]+"
_STATUS: Final = "/subscriptions/[^/]+/providers/Microsoft.Compute/locations/[^/]+/operations/[^/]+"
_VIEWED: Final = {"$expand": "instanceView"}
_PLAIN: Final = {"$expand": ""}
OPERATIONS: Final = (
    OperationSpec("VirtualMachineScaleSets_Get", "GET", _SET, {200: Answer(SCALE_SET)}),
    OperationSpec("VirtualMachineScaleSets_Update", "PATCH", _SET, {200: Answer(SCALE_SET, _LONG_RUNNING)}),
    OperationSpec(
        "VirtualMachineScaleSets_DeleteInstances",
        "POST",
        f"{_SET}/delete",
        {200: Answer(), 202: Answer(None, _LONG_RUNNING)},
    ),
    OperationSpec("VirtualMachineScaleSetVMs_List", "GET", f"{_SET}/virtualMachines", {200: Answer(_page(MEMBER))}),
    OperationSpec("VirtualMachines_List", "GET", f"{_COMPUTE}/virtualMachines", {200: Answer(_page(VM))}, _PLAIN),
    OperationSpec(
        "VirtualMachines_List expanded",
        "GET",
        f"{_COMPUTE}/virtualMachines",
        {200: Answer(_page(VM_WITH_VIEW))},
        _VIEWED,
    ),
    OperationSpec("VirtualMachines_Get", "GET", _VM, {200: Answer(VM)}, _PLAIN),
    OperationSpec("VirtualMachines_Get expanded", "GET", _VM, {200: Answer(VM_WITH_VIEW)}, _VIEWED),
    OperationSpec("VirtualMachines_InstanceView", "GET", f"{_VM}/instanceView", {200: Answer(STATUSES)}),
    OperationSpec(
        "VirtualMachines_Delete", "DELETE", _VM, {200: Answer(), 202: Answer(None, _LONG_RUNNING), 204: Answer()}
    ),
    OperationSpec("VirtualMachines_SimulateEviction", "POST", f"{_VM}/simulateEviction", {204: Answer()}),
    OperationSpec("the status of an operation", "GET", _STATUS, {200: Answer(OPERATION, _POLLED)}, {"monitor": ""}),
    OperationSpec(
        "the result of an operation",
        "GET",
        _STATUS,
        {200: Answer(SCALE_SET), 202: Answer(None, _POLLED), 204: Answer()},
        {"monitor": "true"},
    ),
)


def differences(fields: Fields, document: Any) -> Iterator[str]:
    """Yield what is wrong with a document: fields of no model, wrong types, and what should be there and is not."""
    found = dict[str, list[Any]]()
    for path, value in _leaves("", document, fields):
        if path not in fields:
            yield f"{path} = {value!r} is in no model"
        else:
            found.setdefault(path, []).append(value)
    for path, values in found.items():
        kind = fields[path].removesuffix("?")
        yield from (f"{path} = {value!r} is no {kind}" for value in values if not _is(kind, value))
    empty = {parent for parent in ("value[]",) if isinstance(document, dict) and document.get(parent[:-2]) == []}
    for path, kind in fields.items():
        if not kind.endswith("?") and path not in found and not any(path.startswith(parent) for parent in empty):
            yield f"{path} is missing"


def _leaves(path: str, value: Any, fields: Fields) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            below = f"{path}.{key}".lstrip(".")
            any_key = f"{path}.*"
            known = any(one == below or one.startswith((f"{below}.", f"{below}[")) for one in fields)
            named = any(one == any_key or one.startswith(f"{any_key}.") for one in fields)
            yield from _leaves(any_key if named and not known else below, item, fields)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(f"{path}[]", item, fields)
    else:
        yield path, value


def _is(kind: str, value: Any) -> bool:
    if kind in {"boolean", "integer", "number"}:
        accepted = {"boolean": bool, "integer": int, "number": int | float}[kind]
        return isinstance(value, accepted) and (kind == "boolean" or not isinstance(value, bool))
    if kind == "time":
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    return isinstance(value, str) and re.fullmatch(TYPES[kind], value) is not None
