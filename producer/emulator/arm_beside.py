"""What Azure Resource Manager shows beside the scale set: parts of VMs, the quota, and the wake with its runs.

Fields are those of Microsoft.Network 2024-05-01, Microsoft.Compute (disks 2024-03-02, usages 2026-04-01) and
Microsoft.Logic 2019-05-01, as far as they tell whether something is attached, used up or failed.
"""

from collections.abc import Callable, Mapping
from typing import Any

from producer.emulator.arm import Answer
from producer.emulator.arm_documents import Document, timestamp
from producer.emulator.faults import Faults
from producer.emulator.model import MAXIMUM_CAPACITY, ScaleSetModel
from producer.emulator.states import Kind, Part
from producer.emulator.wake_runs import WakeHistory
from worker.contract.resource_types import WORKFLOWS

_GROUP = "/subscriptions/{subscription}/resourceGroups/{group}/providers"
_LOCATION = "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{location}"
_PROVIDER: Mapping[Kind, str] = {
    Kind.DISK: "Microsoft.Compute",
    Kind.INTERFACE: "Microsoft.Network",
    Kind.ADDRESS: "Microsoft.Network",
}


def beside(model: ScaleSetModel, faults: Faults, history: WakeHistory) -> list[Answer]:
    """Return what else of the group can be asked for."""

    def parts(kind: Kind) -> Callable[[], list[Document]]:
        return lambda: [_part(model, part) for part in model.parts() if part.kind is kind]

    answers = [Answer(f"{_GROUP}/{_PROVIDER[kind]}/{kind}", parts(kind)) for kind in Kind]
    workflow = f"{_GROUP}/{WORKFLOWS}/{history.name or 'none'}"
    return [
        *answers,
        Answer(f"{_LOCATION}/usages", lambda: _usages(model, faults)),
        Answer(workflow, lambda: _workflow(model, history, disabled=faults.wake_disabled)),
        Answer(f"{workflow}/runs", lambda: _runs(model, history)),
    ]


def _part(model: ScaleSetModel, part: Part) -> Document:
    description = model.description
    name = {
        Kind.DISK: f"{part.vm.name}_OsDisk_1_{part.vm.vm_id.replace('-', '')}",
        Kind.INTERFACE: f"nic-{part.vm.vm_id[:8]}",
        Kind.ADDRESS: f"address-{part.vm.vm_id[:8]}",
    }[part.kind]
    kind = f"{_PROVIDER[part.kind]}/{part.kind}"
    document: Document = {
        "id": f"{description.group_id}/providers/{kind}/{name}",
        "name": name,
        "type": kind,
        "location": description.location,
        "tags": dict(description.tags),
        "properties": {"provisioningState": "Succeeded"},
    }
    vm_id = description.vm_id(part.vm.name)
    network = f"{description.group_id}/providers/Microsoft.Network"
    interface = f"{network}/networkInterfaces/nic-{part.vm.vm_id[:8]}"
    properties: dict[str, Any] = document["properties"]
    if part.kind is Kind.DISK:
        properties |= {
            "diskState": "Unattached" if part.orphaned else "Attached",
            "osType": "Linux",
            "diskSizeGB": 30,
            "timeCreated": timestamp(part.vm.created),
        }
        document |= {} if part.orphaned else {"managedBy": vm_id}
    elif part.kind is Kind.INTERFACE:
        (configured,) = description.profile["networkProfile"]["networkInterfaceConfigurations"]
        (address,) = configured["properties"]["ipConfigurations"]
        ip = {"name": "ip", "id": f"{interface}/ipConfigurations/ip"}
        properties |= {"ipConfigurations": [{**ip, "properties": {"subnet": address["properties"]["subnet"]}}]}
        properties |= {} if part.orphaned else {"virtualMachine": {"id": vm_id}}
    elif not part.orphaned:
        properties |= {"ipConfiguration": {"id": f"{interface}/ipConfigurations/ip"}}
    return document


def _usages(model: ScaleSetModel, faults: Faults) -> list[Document]:
    """The spot quota, in cores: as many for each VM as it has workers."""
    cores = int(model.description.tags["tranquility-slots-per-instance"])
    vms = MAXIMUM_CAPACITY if faults.quota is None else faults.quota
    name = {"value": "lowPriorityCores", "localizedValue": "Total Regional Low-priority vCPUs"}
    return [{"unit": "Count", "currentValue": model.capacity * cores, "limit": vms * cores, "name": name}]


def _workflow(model: ScaleSetModel, history: WakeHistory, *, disabled: bool) -> Document | None:
    if not history.name:
        return None
    recurrence = {"frequency": "Second", "interval": max(1, round(history.interval_s))}
    return {
        "id": f"{model.description.group_id}/providers/{WORKFLOWS}/{history.name}",
        "name": history.name,
        "type": WORKFLOWS,
        "location": model.description.location,
        "properties": {
            "provisioningState": "Succeeded",
            "state": "Disabled" if disabled else "Enabled",
            "createdTime": timestamp(model.created),
            "changedTime": timestamp(model.created),
            "definition": {"triggers": {"every": {"type": "Recurrence", "recurrence": recurrence}}},
        },
    }


def _runs(model: ScaleSetModel, history: WakeHistory) -> list[Document] | None:
    """The newest first, as Azure lists them: also one that is going on."""
    if not history.name:
        return None
    shown: list[dict[str, Any]] = []
    for run in history.runs:
        shown.append({"startTime": timestamp(run.started), "endTime": timestamp(run.ended), "status": run.status})
        if run.code:
            shown[-1] |= {"code": run.code, "error": {"code": run.code, "message": run.message}}
    if (began := history.began) is not None:
        shown.append({"startTime": timestamp(began), "status": "Running"})
    workflow = f"{model.description.group_id}/providers/{WORKFLOWS}/{history.name}"
    return [
        {
            "id": f"{workflow}/runs/{number:020d}",
            "name": f"{number:020d}",
            "type": f"{WORKFLOWS}/runs",
            "properties": run,
        }
        for number, run in reversed(list(enumerate(shown)))
    ]
