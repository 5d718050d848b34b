"""What a deployment of bicep/ leaves in Azure, as far as the fleet on this machine shows it: read from a snapshot.

A snapshot is what the Bicep compiler says that Azure would be sent. Owns what Azure itself adds: the principals of
identities and the values of the expressions that only a deployment can evaluate.
"""

import json
import uuid
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import yaml

from producer.emulator.description import SetDescription
from producer.emulator.errors import EmulatorError
from producer.emulator.tokens import Identity
from producer.emulator.wake import Wake
from worker.contract.resource_types import ACCOUNTS, ASSIGNMENTS, IDENTITIES, NETWORKS, SETS, WORKFLOWS

TENANT: Final = "00000000-0000-4000-8000-000000000002"
TARGET_FILE: Final = "/etc/tranquility/target.json"
"""Where custom data puts the target of a VM."""
AZURE_CLI: Final = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
"""Client id of `az login` in every tenant."""

_NOT_RESOURCE: Final = ("id", "type", "name", "apiVersion")
_Resource = Mapping[str, Any]
_Snapshot = Mapping[str, Any]


@dataclass(frozen=True)
class StorageDescription:
    """The storage account and what the template creates in it."""

    account: str
    queues: tuple[str, ...]
    containers: tuple[str, ...]


@dataclass(frozen=True)
class DeployedWake:
    """The wake's workflow and the identity that its runs have."""

    workflow: Wake
    identity: Identity


@dataclass(frozen=True)
class Deployment:
    """Everything that the fleet on this machine shows of a deployment."""

    scale_set: SetDescription
    storage: StorageDescription
    operator: Identity
    """Whoever deployed it."""
    wake: DeployedWake | None
    target: Mapping[str, Any]
    """The template's output of that name, for the operator's commands."""
    snapshot: _Snapshot
    """What all of it was read from, with its roles."""

    @property
    def vm_target(self) -> Mapping[str, Any]:
        """What custom data writes to `TARGET_FILE` of a VM. Raises EmulatorError where there is none."""
        return _target_of(self.scale_set.custom_data)


def deployed(snapshot: _Snapshot, max_instances: int, slots_per_instance: int) -> Deployment:
    """Return what a deployment with these two parameters leaves, everything else being as in the snapshot.

    Raises EmulatorError where the snapshot is not one of this project's template.
    """
    resources = {kind: _all_of(snapshot, kind) for kind in (SETS, IDENTITIES, NETWORKS, ACCOUNTS, WORKFLOWS)}
    sizes = {"max_instances": max_instances, "slots_per_instance": slots_per_instance}
    identity = identity_of(_only(resources[IDENTITIES])["id"])
    return Deployment(
        scale_set=_described(_only(resources[SETS]), _only(resources[NETWORKS]), identity, sizes),
        storage=_storage(snapshot, _only(resources[ACCOUNTS])["name"]),
        operator=_operator(snapshot),
        wake=_wake(snapshot, resources[WORKFLOWS], max_instances, slots_per_instance),
        target={**snapshot["outputs"]["target"], **sizes},
        snapshot=snapshot,
    )


def identity_of(resource_id: str) -> Identity:
    """Return an identity as the emulated tenant knows it; the same at every start."""
    return Identity(
        name=resource_id.rpartition("/")[2],
        resource_id=resource_id,
        client_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{resource_id}/client")),
        principal_id=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{resource_id}/principal")),
        tenant_id=TENANT,
    )


def _all_of(snapshot: _Snapshot, kind: str) -> list[_Resource]:
    return [resource for resource in snapshot["predictedResources"] if resource["type"] == kind]


def _only(resources: list[_Resource]) -> _Resource:
    if len(resources) != 1:
        raise EmulatorError(f"The snapshot has {len(resources)} resources of a kind that the template has one of.")
    return resources[0]


def _described(resource: _Resource, network: _Resource, identity: Identity, sizes: Mapping[str, int]) -> SetDescription:
    """Return the scale set with what its deployment fills in."""
    (subnet,) = network["properties"]["subnets"]
    size = {key: value for key, value in resource["sku"].items() if key != "capacity"}  # which is of the moment
    sent = {key: value for key, value in resource.items() if key not in _NOT_RESOURCE} | {"sku": size}
    body = _without_nulls(_resolved(sent, f"{network['id']}/subnets/{subnet['name']}"))
    given = {f"tranquility-{name.replace('_', '-')}": str(value) for name, value in sizes.items()}
    if not set(given) <= set(body["tags"]):
        raise EmulatorError(f"The scale set of the snapshot lacks the tags {', '.join(given)}.")
    body["tags"] |= given
    known = {identity.resource_id: {"clientId": identity.client_id, "principalId": identity.principal_id}}
    body["identity"]["userAssignedIdentities"] = known
    machine = body["properties"]["virtualMachineProfile"]["osProfile"]
    machine["customData"] = _with_sizes(machine["customData"], sizes)
    _, subscription, _, group, *_ = resource["id"].strip("/").split("/")
    return SetDescription(subscription, group, resource["name"], identity, body)


def _resolved(value: Any, subnet_id: str) -> Any:
    """Replace expressions that the compiler leaves to the deployment. The id of the subnet is the only one."""
    if isinstance(value, dict):
        return {key: _resolved(item, subnet_id) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item, subnet_id) for item in value]
    if isinstance(value, str) and value.startswith("["):
        if value.endswith(".outputs.subnetId.value]"):
            return subnet_id
        raise EmulatorError(f"The snapshot leaves an expression open that the emulator cannot evaluate: {value}")
    return value


def _without_nulls(value: Any) -> Any:
    """Drop what was sent as null: Azure Resource Manager takes it for left out, and never shows it."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _with_sizes(custom_data: str, sizes: Mapping[str, int]) -> str:
    """Return custom data as the template makes it of these parameters: they are in the target that it holds."""
    text = b64decode(custom_data)
    target = _target_of(text)
    changed = text.replace(_encoded(target), _encoded({**target, **sizes}))
    if _target_of(changed) != {**target, **sizes}:
        raise EmulatorError(f"The custom data of the scale set holds {TARGET_FILE} in a form that cannot be changed.")
    return b64encode(changed).decode()


def _encoded(target: Mapping[str, Any]) -> bytes:
    return b64encode(json.dumps(target, separators=(",", ":")).encode())  # as Bicep's string() writes an object


def _target_of(custom_data: bytes) -> Mapping[str, Any]:
    for file in (yaml.safe_load(custom_data) or {}).get("write_files", ()):
        if file["path"] == TARGET_FILE:
            target: Mapping[str, Any] = json.loads(b64decode(file["content"]))
            return target
    raise EmulatorError(f"The custom data of the scale set writes no {TARGET_FILE}.")


def _storage(snapshot: _Snapshot, account: str) -> StorageDescription:
    def names(kind: str) -> tuple[str, ...]:
        return tuple(one["name"].rpartition("/")[2] for one in _all_of(snapshot, f"{ACCOUNTS}/{kind}"))

    return StorageDescription(account, names("queueServices/queues"), names("blobServices/containers"))


def _operator(snapshot: _Snapshot) -> Identity:
    """Return the person that the template gives an operator's roles: whoever deploys."""
    people = [one["properties"] for one in _all_of(snapshot, ASSIGNMENTS)]
    principal_id = next(one["principalId"] for one in people if not one["principalId"].startswith("["))
    return Identity("operator", f"/users/{principal_id}", AZURE_CLI, principal_id, TENANT)


def _wake(snapshot: _Snapshot, found: list[_Resource], max_instances: int, slots: int) -> DeployedWake | None:
    wake = Wake.from_snapshot(snapshot)
    if wake is None:
        return None
    sized = wake.with_parameters(maxInstances=max_instances, slotsPerInstance=slots)
    return DeployedWake(sized, identity_of(_only(found)["id"]))
