"""`tranquility deploy`, as a person calls it."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from producer.commands import deploy as commands
from producer.program import app
from producer.session import AZURE_TARGET, Session, read_target
from producer.target.prove import Proven
from producer.target.release import Published
from tests.fakes.cloud import SUBSCRIPTION, Cloud, deployment
from worker.contract.errors import InputError

PUBLISHED = Published("ab" * 32, "0.1.0", "cp312", 40, 1, "")


def call(*words: str) -> Result:
    return CliRunner().invoke(app, words)


def test_what_if_on_an_empty_subscription_writes_nothing_anywhere(cloud: Cloud, folder: Path) -> None:
    told = call("deploy", "-g", "rg", "--location", "westeurope", "--what-if", "--json")
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert "+ 1 × Microsoft.Compute/virtualMachineScaleSets" in document["changes"]
    assert document["parameters"]["sshPublicKey"].startswith("ssh-ed25519 AAAA")
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
