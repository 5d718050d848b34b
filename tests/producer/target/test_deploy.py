"""Claims about `deploy`: what it refuses before anything is sent, what it sends, and how it follows it."""

import json
from pathlib import Path
from typing import Any

import pytest

from producer.session import read_target
from producer.target.az import find_cli
from producer.target.committed import committed_snapshot
from producer.target.deploy import (
    MADE_BY,
    DeploymentFailed,
    Template,
    deploy,
    make_group,
    survey,
    target_of,
    what_if,
    would_make,
    write_target,
)
from producer.target.planned import KEPT, Planned, Wishes, needed_rights, plan
from producer.target.sources import ROOT
from producer.target.survey import sign_in
from tests.fakes.cloud import (
    CONTRIBUTOR,
    GROUP_ID,
    OWNER,
    ROLE_ADMINISTRATOR,
    Cloud,
    deployment,
    operation,
    outputs,
    size,
    usage,
)
from tests.fakes.producing import InlineRuntime
from worker.contract.errors import InputError

KEY = "ssh-ed25519 " + "A" * 68
WISHES = Wishes(group="rg", ssh_key=KEY)
ADA, TEAM, PIPELINE = (f"{digit * 8}-0000-4000-8000-{digit * 12}" for digit in "abc")
TEMPLATE = Template.of(ROOT)
ROLES = "Microsoft.Resources/deployments"


def planned(wishes: Wishes = WISHES, location: str = "West Europe") -> Planned:
    """Return what would be deployed into the fake subscription."""
    cli, account = sign_in(find_cli(), "")
    return plan(wishes, survey(cli, account, wishes, location), committed_snapshot())


def wish(**more: Any) -> Wishes:
    return Wishes(group="rg", **{"ssh_key": KEY, **more})


# ---- what is decided -------------------------------------------------------------------------------------------------


def test_a_first_deployment_takes_the_defaults_and_asks_for_its_group(cloud: Cloud) -> None:
    found = planned()
    assert found.make_group
    assert not found.notes
    given = dict(found.parameters)
    assert given.pop("vms") == {"sizes": ["Standard_F8als_v6"], "slotsPerInstance": 8, "diskController": "NVMe"}
    assert given == {
        "location": "westeurope",
        "prefix": "tranq",
        "price": {"priority": "spot"},
        "way": {"mode": "instanceAddress"},
        "reach": {"mode": "open"},
        "operators": [],
        "maxInstances": 10,
        "wakeEnabled": True,
        "customRoles": True,
        "deployerKind": "User",
        "sshPublicKey": KEY,
        "imageVersion": "24.04.202608010",
    }


def test_every_parameter_is_one_of_the_template(cloud: Cloud) -> None:
    parameters = json.loads(TEMPLATE.file.read_text())["parameters"]
    without_default = {name for name, entry in parameters.items() if "defaultValue" not in entry}
    needed = {name for name in without_default if not parameters[name].get("nullable")}
    sent = set(planned().parameters)
    assert needed <= sent
    assert sent | set(KEPT) <= set(parameters)


def test_the_quota_cuts_the_maximum_and_the_person_is_told_by_what(cloud: Cloud) -> None:
    cloud.az.answer("vm", "list-usage", json=[usage("lowPriorityCores", "4", "30")])
    found = planned(wish(maximum=20))
    assert found.parameters["maxInstances"] == 3
    (note,) = found.notes
    assert "At most 3 VMs instead of 20" in note
    assert "lowPriorityCores (30, of which 4 are used, and one Standard_F8als_v6 takes 8)" in note


def test_a_quota_without_room_for_one_vm_refuses(cloud: Cloud) -> None:
    cloud.az.answer("vm", "list-usage", json=[usage("lowPriorityCores", "0", "3")])
    with pytest.raises(InputError, match=r"would fit into the quota lowPriorityCores.*smaller --size.*Quotas"):
        planned()
    cloud.az.answer("vm", "list-usage", json=[])
    cloud.az.answer("network", "list-usages", json=[usage("PublicIPAddresses", 10, 10)])
    with pytest.raises(InputError, match=r"Not one VM would fit into the quota PublicIPAddresses.*--nat-gateway"):
        planned()
    assert planned(wish(nat_gateway=True)).parameters["maxInstances"] == 10


def test_everything_that_stands_against_it_is_said_at_once(cloud: Cloud) -> None:
    cloud.kind("FreeTrial_2014-09-01")
    cloud.permit(CONTRIBUTOR)
    cloud.az.answer("list-skus", json=[size(restricted="NotAvailableForSubscription")])
    with pytest.raises(InputError) as caught:
        planned(wish(ssh_key=""))
    said = str(caught.value)
    for words in ("FreeTrial", "roleAssignments/write", "NotAvailableForSubscription", "ssh-keygen"):
        assert words in said
    assert not cloud.az.calls("create")


def test_who_may_assign_roles_and_not_define_them_gets_built_in_ones(cloud: Cloud) -> None:
    cloud.permit(CONTRIBUTOR, ROLE_ADMINISTRATOR)
    found = planned()
    assert found.parameters["customRoles"] is False
    assert any("cannot delete themselves" in note and "about 100 minutes" in note for note in found.notes)
    cloud.permit(OWNER)
    assert planned().parameters["customRoles"] is True


def test_where_azure_does_not_say_what_one_may_the_deployment_has_to(cloud: Cloud) -> None:
    cloud.az.fail("rest", stderr="ERROR: (AuthorizationFailed) no.")
    found = planned()
    assert found.parameters["customRoles"] is True
    assert any("did not say" in note for note in found.notes)


def test_the_rights_that_are_asked_for_are_those_to_write_what_the_template_holds() -> None:
    needed = needed_rights(committed_snapshot(), custom_roles=True)
    assert "Microsoft.Compute/virtualMachineScaleSets/write" in needed
    assert "Microsoft.Authorization/roleDefinitions/write" in needed
    built_in = needed_rights(committed_snapshot(), custom_roles=False)
    assert set(needed) - set(built_in) == {"Microsoft.Authorization/roleDefinitions/write"}


def test_what_is_not_named_stays_as_it_was_deployed(cloud: Cloud) -> None:
    cloud.group()
    before = {
        "prefix": "tranq",
        "vms": {"sizes": ["Standard_F8als_v6"], "slotsPerInstance": 4, "diskController": "NVMe"},
        "price": {"priority": "spot", "maxPrice": "0.12"},
        "maxInstances": 5,
        "way": {"mode": "natGateway"},
        "reach": {"mode": "closed", "operatorAddresses": ["192.0.2.1"]},
        "operators": [{"objectId": TEAM, "kind": "Group"}, {"objectId": PIPELINE, "kind": "User"}],
        "wakeEnabled": False,
        "sshPublicKey": "ssh-rsa old",
        "deployerObjectId": "somebody else",
        "capacity": None,
    }
    cloud.deployed(before)
    named = (ADA, TEAM, f"{PIPELINE}:ServicePrincipal")
    found = planned(Wishes(group="rg", operators=named), location="")
    given = found.parameters
    assert not found.make_group
    assert {name: given[name] for name in before if name in KEPT and name != "operators"} == {
        name: value for name, value in before.items() if name in KEPT and name != "operators"
    }
    assert given["operators"] == [
        {"objectId": TEAM, "kind": "Group"},
        {"objectId": PIPELINE, "kind": "ServicePrincipal"},
        {"objectId": ADA, "kind": "User"},
    ]
    assert not {"deployerObjectId", "capacity"} & set(given)
    other = planned(wish(sizes=("Standard_F8als_v6",), maximum=7, nat_gateway=False, wake=True), location="")
    assert (other.parameters["maxInstances"], other.parameters["way"]["mode"]) == (7, "instanceAddress")
    assert other.parameters["wakeEnabled"] is True


@pytest.mark.parametrize(
    ("known", "sent"), [("NVMe", {"diskController": "NVMe"}), ("SCSI, NVMe", {}), ("NVMe,SCSI", {}), ("SCSI", {})]
)
def test_how_disks_are_attached_is_said_where_a_size_leaves_no_choice(
    cloud: Cloud, known: str, sent: dict[str, str]
) -> None:
    cloud.az.answer("list-skus", json=[size(DiskControllerTypes=known)])
    assert planned().parameters["vms"] == {"sizes": ["Standard_F8als_v6"], "slotsPerInstance": 8, **sent}


def test_sizes_that_attach_disks_in_different_ways_cannot_be_mixed(cloud: Cloud) -> None:
    old = size("Standard_F8s_v2")
    old = {**old, "capabilities": [one for one in old["capabilities"] if one["name"] != "DiskControllerTypes"]}
    cloud.az.answer("list-skus", json=[size(), old])
    assert planned(wish(sizes=("Standard_F8s_v2",))).parameters["vms"].get("diskController") is None
    with pytest.raises(InputError, match="Standard_F8als_v6, Standard_F8s_v2 cannot be mixed"):
        planned(wish(sizes=("Standard_F8als_v6", "Standard_F8s_v2")))


@pytest.mark.parametrize(("capacity", "vms"), [(2, ["tranq-set_1"]), (0, ["tranq-set_1"]), (1, [])])
def test_a_set_with_vms_is_not_written_unless_told_and_then_keeps_its_image(
    cloud: Cloud, capacity: int, vms: list[str]
) -> None:
    cloud.group()
    cloud.deployed({}, capacity, vms)
    with pytest.raises(InputError, match="--while-running"):
        planned()
    assert planned(wish(while_running=True)).parameters["imageVersion"] == "24.04.202601010"


def test_without_vms_the_newest_image_is_taken(cloud: Cloud) -> None:
    cloud.group()
    cloud.deployed({})
    assert planned().parameters["imageVersion"] == "24.04.202608010"


def test_a_new_group_needs_a_region(cloud: Cloud) -> None:
    with pytest.raises(InputError, match="--location"):
        planned(location="")


@pytest.mark.parametrize("location", ["", "North Europe", "northeurope"])
def test_a_deployment_stays_in_its_region_which_need_not_be_that_of_its_group(cloud: Cloud, location: str) -> None:
    cloud.group()
    cloud.deployed({"location": "northeurope"})
    assert planned(location=location).parameters["location"] == "northeurope"
    assert {call.after("--location") for call in cloud.az.calls("--location")} == {"northeurope"}


def test_a_deployment_does_not_move_to_another_region(cloud: Cloud) -> None:
    cloud.group()
    cloud.deployed({"location": "northeurope"})
    with pytest.raises(InputError, match="deployment in northeurope, and nothing in it can move to westeurope"):
        planned(location="westeurope")


@pytest.mark.parametrize("price", ["-1", "0.12", "1"])
def test_a_price_is_a_decimal_number_or_no_limit(cloud: Cloud, price: str) -> None:
    assert planned(wish(max_price=price)).parameters["price"] == {"priority": "spot", "maxPrice": price}


@pytest.mark.parametrize("price", ["abc", "0,12", "-2", "0.0", "1e-1", "nan", ".5", "00.5"])
def test_what_is_no_price_is_refused_and_what_is_one_said(cloud: Cloud, price: str) -> None:
    with pytest.raises(InputError, match=r"is no price: .* decimal number above 0, such as 0\.12, or -1"):
        planned(wish(max_price=price))


def test_regular_vms_take_no_limit_of_price(cloud: Cloud) -> None:
    with pytest.raises(InputError, match="--regular and --max-price contradict each other"):
        planned(wish(regular=True, max_price="0.12"))
    assert planned(wish(regular=True)).parameters["price"] == {"priority": "regular"}


@pytest.mark.parametrize("who", ["ada@example.com", f"{ADA}:Team", f"{ADA}:", f"{ADA}:user"])
def test_what_is_no_operator_is_refused_and_what_is_one_said(cloud: Cloud, who: str) -> None:
    with pytest.raises(InputError, match="takes an object id of Entra ID, with :Group or :ServicePrincipal"):
        planned(wish(operators=(who,)))


def test_resource_providers_that_a_new_subscription_lacks_are_named_with_their_commands(cloud: Cloud) -> None:
    cloud.az.answer("provider", "list", json=["Microsoft.Logic", "Microsoft.Compute", "Microsoft.Quantum"])
    cloud.az.fail("list-skus", stderr="ERROR: (MissingSubscriptionRegistration) not registered.")
    with pytest.raises(InputError) as caught:
        planned()
    assert str(caught.value).splitlines()[1:] == [
        "az provider register --wait --namespace Microsoft.Compute",
        "az provider register --wait --namespace Microsoft.Logic",
    ]


def test_who_may_not_list_resource_providers_goes_on(cloud: Cloud) -> None:
    cloud.az.fail("provider", "list", stderr="ERROR: (AuthorizationFailed) no.")
    assert planned().parameters["location"] == "westeurope"


# ---- what is sent ----------------------------------------------------------------------------------------------------


def test_a_group_that_is_made_remembers_it_and_one_that_was_there_is_left_alone(cloud: Cloud) -> None:
    make_group(find_cli(), "rg", planned())
    (call,) = cloud.az.calls("group", "create")
    assert {f"{MADE_BY}=tranq", "application=tranquility", "westeurope"} <= set(call.words)


def test_the_committed_template_goes_out_with_the_parameters_and_its_outputs_come_back(
    cloud: Cloud, tmp_path: Path
) -> None:
    chosen = planned()
    steps = [
        operation(ROLES, f"{GROUP_ID}/providers/{ROLES}/storage"),
        operation(ROLES, f"{GROUP_ID}/x/roles", "Running"),
    ]
    cloud.az.answer("operation", "list", json=steps)
    cloud.az.answer("deployment", "group", "show", json=deployment())
    cloud.az.answer("deployment", "group", "show", json=deployment("Running"), once=True)
    said: list[str] = []
    found = deploy(find_cli(), "rg", TEMPLATE, chosen, InlineRuntime(), said.append)
    assert said == ["storage: succeeded", "roles: running"]
    (call,) = cloud.az.calls("deployment", "group", "create")
    assert call.after("--template-file") == str(ROOT / "bicep" / "main.json")
    (sent,) = call.files.values()
    assert {name: entry["value"] for name, entry in sent["parameters"].items()} == chosen.parameters
    write_target(tmp_path / "new" / "azure.json", target_of(found))
    target = read_target(tmp_path / "new" / "azure.json")
    assert (target.kind, target.scale_set, target.max_instances) == ("azure", "tranq-set", 10)


@pytest.mark.parametrize("code", ["RoleDefinitionDoesNotExist", "PrincipalNotFound"])
def test_what_azure_does_not_know_yet_is_sent_again(cloud: Cloud, code: str) -> None:
    error = {"code": "DeploymentFailed", "details": [{"code": code, "message": "not yet"}]}
    cloud.az.answer("deployment", "group", "show", json=deployment())
    cloud.az.answer("deployment", "group", "show", json=deployment("Failed", error=error), once=True)
    runtime, said = InlineRuntime(), list[str]()
    assert deploy(find_cli(), "rg", TEMPLATE, planned(), runtime, said.append) == outputs()
    assert len(cloud.az.calls("deployment", "group", "create")) == 2
    assert runtime.waits == [60.0]
    assert code in said[-1]


def test_a_failure_says_what_failed_and_not_only_that_something_did(cloud: Cloud) -> None:
    cloud.az.answer("deployment", "group", "show", json=deployment("Failed", error={"code": "DeploymentFailed"}))
    inner = {"code": "StorageAccountAlreadyTaken", "message": "The name is taken."}
    cloud.az.answer("operation", "list", json=[operation("x", "/a/b", "Failed", inner)])
    with pytest.raises(DeploymentFailed, match="StorageAccountAlreadyTaken: The name is taken"):
        deploy(find_cli(), "rg", TEMPLATE, planned(), InlineRuntime(), lambda _: None)


def test_what_if_writes_nothing_and_leaves_out_what_stays(cloud: Cloud) -> None:
    cloud.group()
    changes = [
        {
            "changeType": "Modify",
            "resourceId": f"{GROUP_ID}/providers/Microsoft.Compute/virtualMachineScaleSets/tranq-set",
        },
        {"changeType": "NoChange", "resourceId": f"{GROUP_ID}/providers/Microsoft.Network/virtualNetworks/v"},
        {"changeType": "Ignore", "resourceId": f"{GROUP_ID}/providers/Microsoft.Web/sites/other"},
        {"changeType": "Create", "resourceId": f"{GROUP_ID}/providers/Microsoft.Logic/workflows/tranq-wake"},
    ]
    cloud.az.answer("deployment", "group", "what-if", json={"changes": changes, "status": "Succeeded"})
    assert what_if(find_cli(), "rg", TEMPLATE, planned()) == (
        "~ Microsoft.Compute/virtualMachineScaleSets/tranq-set",
        "+ Microsoft.Logic/workflows/tranq-wake",
    )
    assert not cloud.az.calls("create")
    assert "+ 1 × Microsoft.Compute/virtualMachineScaleSets" in would_make(committed_snapshot())
