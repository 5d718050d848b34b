"""`tranquility deploy` and `destroy`, as a person calls them. `doctor` is in tests/producer/target/test_doctor.py."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from producer.commands import target as commands
from producer.program import app
from producer.session import AZURE_TARGET, Session, read_target
from producer.sweep.enqueue import NotConfirmed
from producer.target.deploy import MADE_BY
from producer.target.prove import Proven
from producer.target.release import Published
from tests.fakes.cloud import GROUP_ID, SUBSCRIPTION, Cloud, deployment, operation
from worker.contract.errors import InputError

KEY = "ssh-ed25519 " + "A" * 68
PUBLISHED = Published("ab" * 32, "0.1.0", "cp312", 40, 1, "")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that commands are called in; the person has an SSH key."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "id_ed25519.pub").write_text(f"{KEY}\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_what_if_on_an_empty_subscription_writes_nothing_anywhere(cloud: Cloud, folder: Path) -> None:
    told = call("deploy", "-g", "rg", "--location", "westeurope", "--what-if", "--json")
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert "+ 1 × Microsoft.Compute/virtualMachineScaleSets" in document["changes"]
    assert document["parameters"]["sshPublicKey"] == KEY
    assert not cloud.az.calls("create")
    assert not AZURE_TARGET.exists()


def test_deploy_makes_group_and_deployment_then_publishes_then_proves(
    cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def publish(session: Session) -> Published:
        order.append(f"publish to {session.target.blob_endpoint}")
        return PUBLISHED

    def prove(session: Session, _say: object) -> Proven:
        order.append(f"prove {session.target.scale_set}")
        return Proven("tranq-set_1", 80.0, 95.0, 900.0)

    monkeypatch.setattr(commands, "publish_checkout", publish)
    monkeypatch.setattr(commands, "prove", prove)
    cloud.az.answer("deployment", "group", "show", json=deployment())
    cloud.az.fail("deployment", "group", "show", stderr="ERROR: (DeploymentNotFound) not there", once=True)
    told = call("deploy", "-g", "rg", "--location", "westeurope", "--prove")
    assert told.exit_code == 0, told.output
    assert [one.words[:3] for one in cloud.az.calls("create")] == [
        ("group", "create", "--name"),
        ("deployment", "group", "create"),
    ]
    target = read_target(AZURE_TARGET)
    assert order == [f"publish to {target.blob_endpoint}", "prove tranq-set"]
    assert "95 s after its boot" in told.stdout
    assert "release 0.1.0 (abababababab)" in told.stdout


def test_without_publishing_it_says_what_was_written_where(cloud: Cloud, folder: Path) -> None:
    cloud.group()
    cloud.az.answer("deployment", "group", "show", json=deployment())
    told = call("deploy", "-g", "rg", "--no-publish", "--target", "mine.json", "--json")
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert (document["target_file"], document["release"], document["proven"]) == ("mine.json", None, None)
    assert read_target(folder / "mine.json").resource_group == "rg"
    assert not cloud.az.calls("group", "create", "--location")


def test_a_subscription_can_be_named(cloud: Cloud, folder: Path) -> None:
    call("deploy", "-g", "rg", "--location", "westeurope", "--what-if", "--subscription", "Pay")
    assert cloud.az.calls("account", "show", "--subscription", "Pay")
    bound = [one for one in cloud.az.asked if one.words[0] not in {"version", "account"}]
    assert {one.after("--subscription") for one in bound} == {SUBSCRIPTION}


def test_a_key_file_that_is_not_there_is_named(cloud: Cloud, folder: Path) -> None:
    told = call("deploy", "-g", "rg", "--ssh-key", "nowhere.pub")
    assert isinstance(told.exception, InputError)
    assert "nowhere.pub" in str(told.exception)


def deployed(cloud: Cloud, folder: Path) -> None:
    """Have a deployment whose target is that of the folder."""
    cloud.group(**{MADE_BY: "tranq"})
    cloud.az.answer("deployment", "group", "show", json=deployment())
    account = f"{GROUP_ID}/providers/Microsoft.Storage/storageAccounts/tranqx"
    cloud.az.answer("operation", "list", json=[operation("Microsoft.Storage/storageAccounts", account)])
    resource = {"id": account, "type": "Microsoft.Storage/storageAccounts", "name": "tranqx", "tags": None}
    cloud.az.answer("resource", "list", json=[resource])
    for empty in (("nic", "list"), ("role", "definition", "list"), ("role", "assignment", "list")):
        cloud.az.answer(*empty, json=[])
    cloud.az.answer("delete", json=None)
    call("deploy", "-g", "rg", "--no-publish")
    assert AZURE_TARGET.is_file()


def test_destroy_asks_and_then_removes_all_of_it_and_the_target_file(cloud: Cloud, folder: Path) -> None:
    deployed(cloud, folder)
    told = call("destroy")
    assert isinstance(told.exception, InputError)
    assert "Remove the group rg with everything in it from Pay?" in str(told.exception)
    assert not cloud.az.calls("delete")
    told = call("destroy", "--yes")
    assert told.exit_code == 0, told.output
    assert cloud.az.calls("group", "delete", "--name", "rg", "--yes")
    assert not AZURE_TARGET.exists()


def test_a_no_leaves_everything(cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed(cloud, folder)
    monkeypatch.setattr(commands, "asking", lambda _yes: lambda _question: False)
    assert isinstance(call("destroy").exception, NotConfirmed)
    assert not cloud.az.calls("delete")
    assert AZURE_TARGET.is_file()


def test_the_target_of_another_group_stays(cloud: Cloud, folder: Path) -> None:
    deployed(cloud, folder)
    cloud.az.fail("group", "show", "other", "!deployment", stderr="ERROR: (ResourceGroupNotFound) no", status=3)
    told = call("destroy", "-g", "other", "--yes")
    assert "Nothing of tranquility is left in other" in told.stdout
    assert AZURE_TARGET.is_file()


def test_a_fleet_on_this_machine_is_not_destroyed(cloud: Cloud, folder: Path) -> None:
    deployed(cloud, folder)
    local = folder / "local.json"
    local.write_text(AZURE_TARGET.read_text().replace('"azure"', '"local"'))
    told = call("destroy", "--yes", "--target", str(local))
    assert "Ctrl-C ends it" in str(told.exception)
    assert not cloud.az.calls("delete")


@pytest.mark.parametrize("command", [("deploy", "-g", "rg"), ("destroy", "-g", "rg")])
def test_without_the_azure_cli_one_message_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", str(folder))
    told = call(*command)
    assert isinstance(told.exception, InputError)
    assert "install it" in str(told.exception)
