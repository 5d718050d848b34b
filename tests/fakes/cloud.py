"""A subscription, as the fake `az` shows it: pay-as-you-go, with an owner signed in, and nothing deployed."""

from collections.abc import Mapping, Sequence
from typing import Any

from producer.target.committed import committed_snapshot
from tests.fakes.az import FakeAz

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
GROUP_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
OWNER = {"actions": ["*"], "notActions": []}
CONTRIBUTOR = {
    "actions": ["*"],
    "notActions": [
        "Microsoft.Authorization/*/Delete",
        "Microsoft.Authorization/*/Write",
        "Microsoft.Authorization/elevateAccess/Action",
    ],
}
ROLE_ADMINISTRATOR = {
    "actions": [
        "Microsoft.Authorization/roleAssignments/write",
        "Microsoft.Authorization/roleAssignments/delete",
        "*/read",
    ],
    "notActions": [],
}
"""Role Based Access Control Administrator: assigns, and does not define."""


def size(name: str = "Standard_F8als_v6", *, restricted: str = "", **traits: str) -> Mapping[str, Any]:
    """Return an entry of `az vm list-skus`."""
    known = {
        "vCPUs": "8",
        "vCPUsPerCore": "1",
        "LowPriorityCapable": "True",
        "CpuArchitectureType": "x64",
        "HyperVGenerations": "V2",
        "AcceleratedNetworkingEnabled": "True",
        "EphemeralOSDiskSupported": "False",
        "DiskControllerTypes": "NVMe",
    }
    location = {"type": "Location", "reasonCode": restricted, "values": ["westeurope"]}
    zone = {"type": "Zone", "reasonCode": "NotAvailableForSubscription", "values": ["westeurope"]}
    return {
        "name": name,
        "family": "StandardFalsv6Family",
        "resourceType": "virtualMachines",
        "capabilities": [{"name": key, "value": value} for key, value in {**known, **traits}.items()],
        "restrictions": [zone, location] if restricted else [zone],
    }


def usage(name: str, used: int | str, limit: int | str) -> Mapping[str, Any]:
    """Return an entry of `az vm list-usage` (numbers as text) or `az network list-usages`."""
    return {"name": {"value": name, "localizedValue": name}, "currentValue": used, "limit": limit, "unit": "Count"}


def image(version: str, **other: str) -> Mapping[str, Any]:
    """Return an entry of `az vm image list`."""
    named = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", **other}
    return {**named, "architecture": "x64", "urn": ":".join((*named.values(), version)), "version": version}


OTHERS = (
    image("24.04.209901010", sku="server-gen1"),
    image("24.04.209902010", sku="server-arm64", architecture="Arm64"),
    image("24.04.209903010", offer="ubuntu-24_04-lts-daily"),
    image("24.04.209904010", publisher="canonical-test"),
)
"""Images that `az vm image list --all` lists too, since it looks for parts of names: none is the VMs'."""


def operation(kind: str, resource_id: str, state: str = "Succeeded", error: Any = None) -> Mapping[str, Any]:
    """Return an entry of `az deployment operation group list`."""
    target = {"id": resource_id, "resourceName": resource_id.rpartition("/")[2], "resourceType": kind}
    properties: dict[str, Any] = {
        "provisioningOperation": "Create",
        "provisioningState": state,
        "targetResource": target,
    }
    if error:
        properties["statusMessage"] = {"error": error}
    return {"properties": properties}


def outputs() -> Mapping[str, Any]:
    """Return the outputs of a first deployment into the group `rg`."""
    return {
        "target": {"type": "Object", "value": committed_snapshot()["outputs"]["target"]},
        "deployment": {"type": "Object", "value": {"customRoleIds": [], "vmsDeleteThemselves": True}},
    }


def deployment(state: str = "Succeeded", **more: Any) -> Mapping[str, Any]:
    """Return what `az deployment group show` does."""
    properties: dict[str, Any] = {"provisioningState": state, "parameters": {}, "outputs": outputs()}
    return {"name": "tranquility", "properties": {**properties, **more}}


class Cloud:
    """The subscription."""

    def __init__(self, az: FakeAz) -> None:
        self.az = az
        az.answer("version", json={"azure-cli": "2.91.0"})
        user = {"name": "ada@example.com", "type": "user"}
        az.answer("account", "show", json={"id": SUBSCRIPTION, "name": "Pay", "user": user})
        self.kind("PayAsYouGo_2014-09-01")
        self.permit(OWNER)
        self.no_group()
        az.answer("list-skus", json=[size(), size("Standard_F8als_v6x")])
        az.answer("vm", "list-usage", json=[usage("lowPriorityCores", "0", "100"), usage("cores", "0", "100")])
        az.answer("network", "list-usages", json=[usage("PublicIPAddresses", 0, 10)])
        az.answer(
            "image", "list", json=[*map(image, ("24.04.202601010", "24.04.202608010", "24.04.99999999")), *OTHERS]
        )
        az.answer("provider", "list", json=["Microsoft.Quantum"])
        az.answer("group", "create", json={})
        az.answer("deployment", "group", "create", json=None)
        az.answer("deployment", "group", "show", "--name", json=None)
        az.answer("operation", "list", json=[])
        az.fail("deployment", "group", "show", stderr="ERROR: (DeploymentNotFound) Deployment 'tranquility' not found.")
        az.fail("vmss", "show", stderr="ERROR: (ResourceNotFound) The Resource was not found.", status=3)

    def kind(self, quota_id: str) -> None:
        """Make it a subscription of this kind."""
        url = f"/subscriptions/{SUBSCRIPTION}?api-version=2022-12-01"
        self.az.answer("rest", url, json={"subscriptionPolicies": {"quotaId": quota_id}})

    def permit(self, *permissions: Mapping[str, Any]) -> None:
        """Let the caller do this, on the subscription and on the group."""
        for scope in (f"/subscriptions/{SUBSCRIPTION}", GROUP_ID):
            url = f"{scope}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"
            self.az.answer("rest", url, json={"value": list(permissions)})

    def no_group(self) -> None:
        """Have no resource group."""
        self.az.fail("group", "show", "!deployment", stderr="ERROR: (ResourceGroupNotFound) not found.", status=3)

    def group(self, **tags: str) -> None:
        """Have the resource group."""
        self.az.answer("group", "show", "!deployment", json={"location": "westeurope", "tags": tags})

    def deployed(self, parameters: Mapping[str, Any], capacity: int = 0, vms: Sequence[str] = ()) -> None:
        """Have an earlier deployment with these parameters, and its set."""
        given = {name: {"type": "x", "value": value} for name, value in parameters.items()}
        self.az.answer("deployment", "group", "show", json=deployment(parameters=given))
        set_id = f"{GROUP_ID}/providers/Microsoft.Compute/virtualMachineScaleSets/tranq-set"
        image = {"storageProfile": {"imageReference": {"version": "24.04.202601010"}}}
        self.az.answer(
            "vmss", "show", json={"id": set_id, "sku": {"capacity": capacity}, "virtualMachineProfile": image}
        )
        members = [{"name": name, "virtualMachineScaleSet": {"id": set_id.upper()}} for name in vms]
        self.az.answer("vm", "list", "--resource-group", json=[*members, {"name": "somebody's"}])
