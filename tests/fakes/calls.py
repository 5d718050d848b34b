"""Every call of the table of operations, as the code makes it: by name, for whoever a credential speaks for."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from azure.core.credentials import TokenCredential
from azure.core.rest import HttpRequest

from producer.fleet.scale_set import AzureScaleSet
from worker.contract import azure, names
from worker.contract.arm import delete_instances, fleet_errors
from worker.contract.queue import AzureQueue, Receipt
from worker.contract.records import AzureBlobs
from worker.contract.settings import Target

Calls = Mapping[str, Callable[[], object]]
NOBODY: Final = "tranq-vmss_nobody00"
"""No instance: what gets through to a deletion of it changes nothing."""


def storage_calls(target: Target, identity: TokenCredential) -> Calls:
    """Return the calls to queues and containers."""
    blobs = AzureBlobs(azure.blob_service(target, identity))
    queues = azure.queue_service(target, identity)
    calls: dict[str, Callable[[], object]] = {}
    for name in (names.JOBS_QUEUE, names.POISON_QUEUE):
        queue = AzureQueue(queues.get_queue_client(name))
        nothing = Receipt("00000000-0000-0000-0000-000000000000", "none")
        calls |= {
            f"{name}: send_message": partial(queue.send, "x"),
            f"{name}: receive_message": partial(queue.receive, 1),
            f"{name}: update_message": partial(queue.renew, nothing, 1),
            f"{name}: delete_message": partial(queue.delete, nothing),
            f"{name}: get_queue_properties": queue.count,
        }
    for name in names.CONTAINERS:
        calls |= {
            f"{name}: download_blob": partial(blobs.get, name, "b"),
            f"{name}: get_blob_properties": partial(blobs.get, name, "b"),  # asked of the service only after a 412
            f"{name}: upload_blob": partial(blobs.put, name, "b", b"x"),
            f"{name}: delete_blob": partial(blobs.delete, name, "b"),
            f"{name}: list_blobs": partial(lambda container: list(blobs.list(container, "")), name),
        }
    return calls


def compute_calls(target: Target, identity: TokenCredential) -> Calls:
    """Return the calls to Azure Resource Manager."""
    compute = azure.compute_client(target, identity)
    group, vms, fleet = target.resource_group, compute.virtual_machines, AzureScaleSet(compute, target)
    base = f"/subscriptions/{target.subscription_id}/resourceGroups/{group}/providers"

    def get(path: str) -> object:
        answer = compute.send_request(HttpRequest("GET", f"{base}/{path}?api-version=2025-01-01"))
        answer.raise_for_status()
        return answer.json()

    calls: Calls = {
        "virtual_machine_scale_sets.get": fleet.read,
        "virtual_machine_scale_sets.begin_update": lambda: fleet.raise_to(1, '"*"'),
        "virtual_machine_scale_sets.begin_delete_instances": lambda: delete_instances(compute, target, [NOBODY]),
        "virtual_machines.list": fleet.read,
        "virtual_machines.get": lambda: vms.get(group, NOBODY),
        "virtual_machines.instance_view": lambda: vms.instance_view(group, NOBODY),
        "virtual_machines.simulate_eviction": lambda: vms.simulate_eviction(group, NOBODY),
        "GET disks": lambda: get("Microsoft.Compute/disks"),
        "GET networkInterfaces": lambda: get("Microsoft.Network/networkInterfaces"),
        "GET publicIPAddresses": lambda: get("Microsoft.Network/publicIPAddresses"),
        "GET workflows": lambda: get(f"Microsoft.Logic/workflows/{target.wake}"),
        "GET workflows/runs": lambda: get(f"Microsoft.Logic/workflows/{target.wake}/runs"),
    }

    def with_our_errors(call: Callable[[], object]) -> None:
        with fleet_errors():
            call()

    as_the_wake = {
        "GET virtualMachineScaleSets": calls["virtual_machine_scale_sets.get"],
        "PATCH virtualMachineScaleSets": calls["virtual_machine_scale_sets.begin_update"],
    }
    return {name: partial(with_our_errors, call) for name, call in {**calls, **as_the_wake}.items()}
