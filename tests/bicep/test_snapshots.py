"""What Azure would be sent: the resolved resources of the committed snapshots. Needs no compiler.

The values of the scale set are compared with the models of azure-mgmt-compute, which are generated from Azure's REST
specification; Bicep itself lets an unknown value of an enumeration pass.
"""

import base64
import inspect
import json
import re
import typing
from enum import Enum
from pathlib import Path
from typing import Any

import azure.mgmt.compute.models as compute
import pytest
import yaml

from worker.contract.settings import Target

BICEP = Path(__file__).parents[2] / "bicep"
GROUP = "/subscriptions/00000000-0000-0000-0000-000000000001/resourceGroups/rg"
NAMES = sorted(path.name.removesuffix(".snapshot.json") for path in (BICEP / "snapshots").glob("*.snapshot.json"))
SECRET = re.compile(r"AccountKey|SharedAccessSignature|sig=|password|listKeys", re.IGNORECASE)


def read(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((BICEP / "snapshots" / f"{name}.snapshot.json").read_text())
    return loaded


def all_of(name: str, kind: str) -> list[dict[str, Any]]:
    return [resource for resource in read(name)["predictedResources"] if resource["type"].endswith(kind)]


def one(name: str, kind: str) -> dict[str, Any]:
    (resource,) = all_of(name, kind)
    return resource


def scale_set(name: str) -> dict[str, Any]:
    return one(name, "/virtualMachineScaleSets")


def profile(name: str) -> dict[str, Any]:
    found: dict[str, Any] = scale_set(name)["properties"]["virtualMachineProfile"]
    return found


def custom_data(name: str) -> str:
    return base64.b64decode(profile(name)["osProfile"]["customData"]).decode()


# ---- Everything ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_deployment_is_exactly_these_resources(name: str) -> None:
    kinds = {resource["type"] for resource in read(name)["predictedResources"]}
    expected = {
        "Microsoft.ManagedIdentity/userAssignedIdentities",
        "Microsoft.Network/networkSecurityGroups",
        "Microsoft.Network/virtualNetworks",
        "Microsoft.Storage/storageAccounts",
        "Microsoft.Storage/storageAccounts/queueServices",
        "Microsoft.Storage/storageAccounts/queueServices/queues",
        "Microsoft.Storage/storageAccounts/blobServices",
        "Microsoft.Storage/storageAccounts/blobServices/containers",
        "Microsoft.Storage/storageAccounts/managementPolicies",
        "Microsoft.Authorization/roleAssignments",
        "Microsoft.Compute/virtualMachineScaleSets",
    }
    if name != "no-wake":
        expected.add("Microsoft.Logic/workflows")
    if name != "built-in-roles":
        expected.add("Microsoft.Authorization/roleDefinitions")
    if name == "nat":
        expected |= {"Microsoft.Network/natGateways", "Microsoft.Network/publicIPAddresses"}
    assert kinds == expected
    assert read(name)["diagnostics"] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_resource_that_has_tags_says_whose_it_is(name: str) -> None:
    for resource in read(name)["predictedResources"]:
        if "location" in resource:
            assert resource["tags"]["application"] == "tranquility", resource["type"]


@pytest.mark.parametrize("name", NAMES)
def test_no_key_or_password_is_anywhere(name: str) -> None:
    sent = json.dumps(read(name)).replace("disablePasswordAuthentication", "").replace("ssh_pwauth", "")
    assert not SECRET.search(sent)
    assert not SECRET.search(custom_data(name).replace("ssh_pwauth", ""))


def test_the_output_is_the_target_file_of_the_laptop() -> None:
    target = Target.model_validate(read("first")["outputs"]["target"])
    assert target.kind == "azure"
    assert (target.scale_set, target.max_instances, target.slots_per_instance) == ("tranq-set", 10, 8)
    assert (target.identity_id, target.vm_size) == ("", "Standard_F8als_v6")


# ---- Storage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_nothing_opens_the_storage_account_but_a_token_over_tls(name: str) -> None:
    properties = one(name, "/storageAccounts")["properties"]
    assert properties["allowSharedKeyAccess"] is False
    assert properties["allowBlobPublicAccess"] is False
    assert properties["defaultToOAuthAuthentication"] is True
    assert properties["supportsHttpsTrafficOnly"] is True
    assert properties["minimumTlsVersion"] == "TLS1_2"
    for container in all_of(name, "/containers"):
        assert container["properties"] == {"publicAccess": "None"}


def test_the_queues_and_containers_are_those_of_the_protocol() -> None:
    queues = {resource["name"].rpartition("/")[2] for resource in all_of("first", "/queues")}
    containers = {resource["name"].rpartition("/")[2] for resource in all_of("first", "/containers")}
    assert queues == {"jobs", "jobs-poison"}
    assert containers == {"sweeps", "checkpoints", "control", "releases"}


def test_nothing_keeps_a_deleted_segment_but_a_deleted_container_comes_back() -> None:
    properties = one("first", "/blobServices")["properties"]
    assert properties["isVersioningEnabled"] is False
    assert properties["changeFeed"] == {"enabled": False}
    assert properties["deleteRetentionPolicy"] == {"enabled": False}
    assert properties["containerDeleteRetentionPolicy"] == {"enabled": True, "days": 7}


def test_only_checkpoints_are_forgotten_and_only_after_ninety_days() -> None:
    (rule,) = one("first", "/managementPolicies")["properties"]["policy"]["rules"]
    assert rule["definition"]["filters"] == {"blobTypes": ["blockBlob"], "prefixMatch": ["checkpoints/"]}
    assert rule["definition"]["actions"] == {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 90}}}


def test_the_open_firewall_leaves_the_gate_to_the_roles() -> None:
    rules = one("first", "/storageAccounts")["properties"]["networkAcls"]
    assert rules["defaultAction"] == "Allow"


def test_the_closed_firewall_keeps_the_laptop_the_subnet_and_the_wake_in() -> None:
    rules = one("nat", "/storageAccounts")["properties"]["networkAcls"]
    assert rules["defaultAction"] == "Deny"
    assert rules["ipRules"] == [{"value": "198.51.100.0/24", "action": "Allow"}]
    (network,) = rules["virtualNetworkRules"]
    assert "subnets/workers" in network["id"] or "outputs.subnetId" in network["id"]
    (workflow,) = rules["resourceAccessRules"]
    assert workflow["resourceId"] == f"{GROUP}/providers/Microsoft.Logic/workflows/tranq-wake"


# ---- Network ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_in_and_storage_is_near(name: str) -> None:
    (rule,) = one(name, "/networkSecurityGroups")["properties"]["securityRules"]
    assert (rule["properties"]["direction"], rule["properties"]["access"]) == ("Inbound", "Deny")
    ends = ("sourceAddressPrefix", "destinationAddressPrefix", "sourcePortRange", "destinationPortRange", "protocol")
    assert {rule["properties"][end] for end in ends} == {"*"}
    assert rule["properties"]["priority"] < 65000  # before the default rules, which let the virtual network in
    (subnet,) = one(name, "/virtualNetworks")["properties"]["subnets"]
    assert subnet["properties"]["defaultOutboundAccess"] is False
    assert subnet["properties"]["networkSecurityGroup"]["id"].endswith("/networkSecurityGroups/tranq-nsg")
    assert [service["service"] for service in subnet["properties"]["serviceEndpoints"]] == ["Microsoft.Storage"]


def test_there_is_always_exactly_one_way_out() -> None:
    for name in NAMES:
        (subnet,) = one(name, "/virtualNetworks")["properties"]["subnets"]
        by_gateway = subnet["properties"]["natGateway"] is not None
        (interface,) = profile(name)["networkProfile"]["networkInterfaceConfigurations"]
        (address,) = interface["properties"]["ipConfigurations"]
        by_address = address["properties"]["publicIPAddressConfiguration"] is not None
        assert by_gateway == (name == "nat")
        assert by_address != by_gateway


# ---- Scale set -------------------------------------------------------------------------------------------------------


def test_the_set_is_flexible_spot_and_deletes_what_is_evicted() -> None:
    properties = scale_set("first")["properties"]
    assert properties["orchestrationMode"] == "Flexible"
    assert properties["platformFaultDomainCount"] == 1
    assert properties["upgradePolicy"] == {"mode": "Manual"}
    assert "spotRestorePolicy" not in properties
    assert "automaticRepairsPolicy" not in properties
    assert profile("first")["priority"] == "Spot"
    assert profile("first")["evictionPolicy"] == "Delete"
    assert profile("first")["billingProfile"] == {"maxPrice": -1}
    assert scale_set("first")["sku"] == {"name": "Standard_F8als_v6", "capacity": 0}


def test_a_redeployment_keeps_the_capacity_that_the_set_has() -> None:
    capacity = scale_set("redeployed")["sku"]["capacity"]
    assert re.fullmatch(
        r"\[coalesce\(coalesce\(null\(\), tryGet\(tryGet\(reference\('[^']+/virtualMachineScaleSets/tranq-set',"
        r" '[\d-]+', 'full'\), 'sku'\), 'capacity'\)\), 0\)\]",
        capacity,
    )
    template = json.loads((BICEP / "main.json").read_text())
    current = template["resources"]["scaleset"]["properties"]["template"]["resources"]["current"]
    assert current["existing"] is True
    assert "nullIfNotFound" in current["@options"]


def test_apart_from_the_capacity_a_redeployment_sends_the_same() -> None:
    first, again = scale_set("first"), scale_set("redeployed")
    first["sku"].pop("capacity")
    again["sku"].pop("capacity")
    assert first == again


def test_whatever_a_vm_was_made_of_goes_with_it() -> None:
    for name in NAMES:
        assert profile(name)["storageProfile"]["osDisk"]["deleteOption"] == "Delete"
        (interface,) = profile(name)["networkProfile"]["networkInterfaceConfigurations"]
        assert interface["properties"]["deleteOption"] == "Delete"
        address = interface["properties"]["ipConfigurations"][0]["properties"]["publicIPAddressConfiguration"]
        assert address is None or address["properties"]["deleteOption"] == "Delete"


def test_how_disks_are_attached_is_said_for_sizes_that_know_one_way() -> None:
    """Left to itself, Azure was seen to take SCSI for them (kubermatic/machine-controller#1980)."""
    assert {name: profile(name)["storageProfile"]["diskControllerType"] for name in ("first", "mix", "no-wake")} == {
        "first": "NVMe",
        "mix": "NVMe",
        "no-wake": "NVMe",
    }


def test_a_vm_is_entered_with_a_key_runs_a_pinned_image_and_leaves_a_boot_log() -> None:
    linux = profile("first")["osProfile"]["linuxConfiguration"]
    assert linux["disablePasswordAuthentication"] is True
    assert profile("first")["diagnosticsProfile"] == {"bootDiagnostics": {"enabled": True}}
    assert re.fullmatch(r"\d+\.\d+\.\d+", profile("first")["storageProfile"]["imageReference"]["version"])
    assert "encryptionAtHost" not in profile("first")["securityProfile"]


def test_a_mix_has_no_tier_and_no_ephemeral_disk() -> None:
    assert scale_set("mix")["sku"] == {"name": "Mix", "capacity": 0}
    properties = scale_set("mix")["properties"]
    assert properties["skuProfile"] == {
        "vmSizes": [{"name": "Standard_F8als_v6"}, {"name": "Standard_F8as_v6"}],
        "allocationStrategy": "CapacityOptimized",
    }
    assert properties["priorityMixPolicy"] == {
        "baseRegularPriorityCount": 1,
        "regularPriorityPercentageAboveBase": 10,
    }
    assert profile("mix")["billingProfile"] == {"maxPrice": 0.12}
    assert profile("mix")["storageProfile"]["osDisk"]["diffDiskSettings"] is None


def test_regular_vms_have_nothing_of_spot() -> None:
    assert profile("no-wake")["priority"] == "Regular"
    assert profile("no-wake")["evictionPolicy"] is None
    assert profile("no-wake")["billingProfile"] is None
    disk = profile("no-wake")["storageProfile"]["osDisk"]
    assert disk["diffDiskSettings"] == {"option": "Local", "placement": "NvmeDisk"}
    assert (disk["caching"], disk["managedDisk"]) == ("ReadOnly", None)


def complaints(model: Any, value: Any, path: str) -> list[str]:
    """What of a JSON value a model of the SDK does not know: fields, and values of enumerations."""
    model({})  # a model learns its fields when the first of its kind is made
    names = {field._rest_name: attribute for attribute, field in model._attr_to_rest_field.items()}
    kinds: dict[str, Any] = {}
    for part in reversed(model.__mro__):
        kinds |= inspect.get_annotations(part)
    found = []
    for key, item in value.items():
        if key not in names:
            found.append(f"{path}.{key} is no field")
        elif item is not None:
            found += complaints_of(kinds[names[key]], item, f"{path}.{key}")
    return found


def resolved(kind: Any) -> Any:
    name = kind.__forward_arg__ if isinstance(kind, typing.ForwardRef) else kind
    return getattr(compute, name.removeprefix("_models.")) if isinstance(name, str) else kind


def complaints_of(kind: Any, value: Any, path: str) -> list[str]:
    options = [resolved(part) for part in typing.get_args(kind)]
    enums = [part for part in options if isinstance(part, type) and issubclass(part, Enum)]
    if enums and isinstance(value, str):
        known = {str(member.value) for member in enums[0]}
        return [] if value in known else [f"{path} = {value!r}, known are {sorted(known)}"]
    if typing.get_origin(kind) is typing.Union:
        return complaints_of(options[0], value, path)
    if isinstance(value, list):
        return [
            text for number, item in enumerate(value) for text in complaints_of(options[0], item, f"{path}[{number}]")
        ]
    if isinstance(value, dict) and getattr(kind, "__module__", "").startswith("azure.mgmt.compute"):
        return complaints(kind, value, path)
    return []


@pytest.mark.parametrize("name", NAMES)
def test_azures_specification_knows_every_field_and_value_of_the_set(name: str) -> None:
    sent = {key: value for key, value in scale_set(name).items() if key != "apiVersion"}
    assert complaints(compute.VirtualMachineScaleSet, sent, "set") == []


def test_a_value_beyond_the_specification_is_found() -> None:
    sent = {key: value for key, value in scale_set("first").items() if key != "apiVersion"}
    sent["properties"]["virtualMachineProfile"]["evictionPolicy"] = "Remove"
    sent["properties"]["virtualMachineProfile"]["networkProfile"]["networkInterfaceConfigurations"][0]["properties"][
        "deleteOption"
    ] = "Keep"
    sent["properties"]["autoRepair"] = True
    assert len(complaints(compute.VirtualMachineScaleSet, sent, "set")) == 3


# ---- Custom data -----------------------------------------------------------------------------------------------------


def files_of(name: str) -> dict[str, str]:
    entries = yaml.safe_load(custom_data(name))["write_files"]
    return {
        entry["path"]: base64.b64decode(entry["content"]).decode()
        if entry.get("encoding") == "b64"
        else entry["content"]
        for entry in entries
    }


@pytest.mark.parametrize("name", NAMES)
def test_the_custom_data_is_known_to_the_last_byte_and_fits(name: str) -> None:
    text = custom_data(name)
    assert text.startswith("#cloud-config\n")
    assert "__" not in re.sub(r"content: \S+", "", text)
    assert len(text) < 48_000  # Azure takes 64 KB before base64; the rest is room to grow


def test_a_vm_gets_the_very_programs_and_units_of_this_repository() -> None:
    files = files_of("first")
    for path in (BICEP / "cloud-init").iterdir():
        if path.suffix == ".py":
            assert files[f"/usr/local/lib/tranquility/{path.name}"] == path.read_text()
        elif path.suffix in {".service", ".timer"}:
            assert files[f"/etc/systemd/system/{path.name}"] == path.read_text()
    assert len(files) == 8


def test_a_vm_is_told_its_target_and_who_it_is() -> None:
    target = json.loads(files_of("first")["/etc/tranquility/target.json"])
    laptop = read("first")["outputs"]["target"]
    identity = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/tranq-vm"
    assert target == {**laptop, "identity_id": identity}
    assert list(scale_set("first")["identity"]["userAssignedIdentities"]) == [identity]
    assert files_of("first")["/etc/tranquility/boot.env"] == "TRANQUILITY_READY_WITHIN_S=1800\n"


def test_a_vm_asks_no_package_index_and_upgrades_nothing() -> None:
    config = yaml.safe_load(custom_data("first"))
    assert "packages" not in config
    assert "apt" not in config
    assert (config["package_update"], config["package_upgrade"]) == (False, False)
    (mask,) = config["bootcmd"]
    assert mask[:2] == ["systemctl", "mask"]
    assert {"apt-daily.timer", "apt-daily-upgrade.timer", "unattended-upgrades.service"} <= set(mask)


def test_the_dead_man_is_armed_before_anything_can_go_wrong() -> None:
    commands = yaml.safe_load(custom_data("first"))["runcmd"]
    armed = [number for number, command in enumerate(commands) if "tranquility-deadman.timer" in command]
    started = [number for number, command in enumerate(commands) if "tranquility-bootstrap.service" in command]
    assert armed < started


# ---- Wake ------------------------------------------------------------------------------------------------------------


def test_the_wake_speaks_of_this_set_this_queue_and_this_account() -> None:
    values = {name: entry["value"] for name, entry in one("first", "/workflows")["properties"]["parameters"].items()}
    account = one("first", "/storageAccounts")["name"]
    set_id = f"{GROUP}/providers/Microsoft.Compute/virtualMachineScaleSets/tranq-set"
    assert values["scaleSetUri"] == f"https://management.azure.com{set_id}?api-version=2025-04-01"
    assert values["countUri"] == f"https://{account}.queue.core.windows.net/jobs?comp=metadata"
    assert values["controlUri"] == f"https://{account}.blob.core.windows.net/control"
    assert (values["maxInstances"], values["slotsPerInstance"]) == (10, 8)


def test_the_wakes_times_are_those_of_the_protocol() -> None:
    workflow = one("first", "/workflows")["properties"]
    values = {name: entry["value"] for name, entry in workflow["parameters"].items()}
    assert (values["freshness_s"], values["pulseAge_s"], values["clearDelay_s"]) == (30, 1800, 600)
    assert (values["fruitlessRaises"], values["rest_s"]) == (3, 6 * 3600)
    assert workflow["definition"]["triggers"]["tick"]["recurrence"] == {"frequency": "Minute", "interval": 10}
    assert {name: entry["type"] for name, entry in workflow["definition"]["parameters"].items()} == {
        name: "String" if isinstance(value, str) else "Int" for name, value in values.items()
    }


def test_the_wake_needs_no_connector_and_no_secret() -> None:
    workflow = one("first", "/workflows")
    assert workflow["identity"] == {"type": "SystemAssigned"}
    assert "$connections" not in json.dumps(workflow)
    kinds = re.findall(r'"authentication": \{"type": "(\w+)"', json.dumps(workflow))
    assert len(kinds) == 11
    assert set(kinds) == {"ManagedServiceIdentity"}
