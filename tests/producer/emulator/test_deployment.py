"""The fleet on this machine is what the template deploys: nothing of it is described a second time."""

import copy
import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest

from producer.emulator.arm_documents import scale_set as shown
from producer.emulator.deployment import TARGET_FILE, deployed
from producer.emulator.errors import EmulatorError
from producer.emulator.faults import Faults
from producer.emulator.model import ScaleSetModel
from producer.emulator.states import Latencies
from producer.target.committed import committed_snapshot
from tests.fakes.hand_clock import HandClock
from worker.contract import names
from worker.contract.settings import Target

SNAPSHOTS = Path(__file__).parents[3] / "bicep" / "snapshots"
FILES = sorted(SNAPSHOTS.glob("*.snapshot.json"))


def resource_of(snapshot: Mapping[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [one for one in snapshot["predictedResources"] if one["type"] == kind]
    resource: dict[str, Any] = found
    return resource


def changed(change: Any) -> dict[str, Any]:
    snapshot: dict[str, Any] = copy.deepcopy(dict(committed_snapshot()))
    change(resource_of(snapshot, "Microsoft.Compute/virtualMachineScaleSets"))
    return snapshot


def test_what_is_packaged_is_the_committed_snapshot_of_a_first_deployment() -> None:
    assert committed_snapshot() == json.loads((SNAPSHOTS / "first.snapshot.json").read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name.partition(".")[0])
def test_the_scale_set_of_every_snapshot_is_shown_as_it_is_sent(file: Path) -> None:
    snapshot = json.loads(file.read_text())
    sent = resource_of(snapshot, "Microsoft.Compute/virtualMachineScaleSets")
    machine = sent["properties"]["virtualMachineProfile"]["osProfile"]
    sizes = (int(sent["tags"]["tranquility-max-instances"]), int(sent["tags"]["tranquility-slots-per-instance"]))
    deployment = deployed(snapshot, *sizes)
    known = deployment.scale_set
    assert known.custom_data == b64decode(machine["customData"])
    assert (known.id, known.name, known.location) == (sent["id"], sent["name"], sent["location"])
    assert known.tags == sent["tags"]
    assert list(known.resource["identity"]["userAssignedIdentities"]) == [known.identity.resource_id]
    assert list(sent["identity"]["userAssignedIdentities"]) == [known.identity.resource_id]
    clock = HandClock()
    document = shown(ScaleSetModel(known, Latencies(1, 1), Faults(), clock, Random(1)))
    assert not differences(sent, document), "Azure shows what it was sent"
    assert "customData" not in json.dumps(document)
    assert Target.model_validate(deployment.target).max_instances == sizes[0]


def differences(sent: Any, document: Any, path: str = "") -> list[str]:
    """What was sent and is not shown, but for what Azure keeps to itself, evaluates or drops."""
    if isinstance(sent, dict):
        left_out = {"apiVersion", "customData", "userAssignedIdentities"}
        return [
            line
            for key, value in sent.items()
            if key not in left_out and value is not None
            for line in differences(value, document.get(key) if document else None, f"{path}/{key}")
        ]
    if isinstance(sent, list):
        if len(sent) != len(document):
            return [path]
        return [line for one, other in zip(sent, document, strict=True) for line in differences(one, other, path)]
    if isinstance(sent, str) and sent.startswith("[") and path.endswith("/capacity"):
        return [] if document == 0 else [path]  # what a redeployment finds
    if isinstance(sent, str) and sent.startswith("["):
        return [] if document.endswith("/virtualNetworks/tranq-vnet/subnets/workers") else [path]
    return [] if sent == document else [path]


def test_storage_has_the_queues_and_containers_of_the_template_and_the_code_uses_them_all() -> None:
    storage = deployed(committed_snapshot(), 2, 1).storage
    assert set(storage.queues) == {names.JOBS_QUEUE, names.POISON_QUEUE}
    assert set(storage.containers) == set(names.CONTAINERS)
    assert f"https://{storage.account}.blob." in committed_snapshot()["outputs"]["target"]["blob_endpoint"]


def test_other_sizes_reach_tags_targets_custom_data_and_wake_as_the_templates_parameters_would() -> None:
    deployment = deployed(committed_snapshot(), max_instances=3, slots_per_instance=2)
    assert deployment.scale_set.tags["tranquility-max-instances"] == "3"
    assert deployment.scale_set.tags["tranquility-slots-per-instance"] == "2"
    for target in (deployment.target, deployment.vm_target):
        assert (target["max_instances"], target["slots_per_instance"]) == (3, 2)
    assert deployment.vm_target["identity_id"] == deployment.scale_set.identity.resource_id
    assert deployment.wake is not None
    parameters = deployment.wake.workflow.parameters
    assert (parameters["maxInstances"], parameters["slotsPerInstance"]) == (3, 2)


def test_everyone_who_acts_has_a_principal_of_their_own_and_the_same_at_every_start() -> None:
    first, again = (deployed(committed_snapshot(), 2, 1) for _ in range(2))
    assert first.wake is not None
    principals = {first.operator.principal_id, first.scale_set.identity.principal_id, first.wake.identity.principal_id}
    assert len(principals) == 3
    assert (first.operator, first.scale_set, first.wake) == (again.operator, again.scale_set, again.wake)


def test_without_a_wake_in_the_template_there_is_none() -> None:
    assert deployed(json.loads((SNAPSHOTS / "no-wake.snapshot.json").read_text()), 2, 1).wake is None


def test_a_template_that_is_not_understood_is_refused_and_not_guessed_at() -> None:
    def no_tags(resource: dict[str, Any]) -> None:
        resource["tags"] = {}

    def open_expression(resource: dict[str, Any]) -> None:
        resource["sku"]["name"] = "[reference('elsewhere').outputs.size.value]"

    def no_target(resource: dict[str, Any]) -> None:
        machine = resource["properties"]["virtualMachineProfile"]["osProfile"]
        machine["customData"] = b64encode(b"#cloud-config\nruncmd: []\n").decode()

    for change, problem in ((no_tags, "tags"), (open_expression, "elsewhere"), (no_target, TARGET_FILE)):
        with pytest.raises(EmulatorError, match=problem):
            deployed(changed(change), 2, 1)
    with pytest.raises(EmulatorError, match="0 resources"):
        deployed({"predictedResources": [], "outputs": {}}, 2, 1)
