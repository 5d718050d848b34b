"""`tranquility destroy`, as a person calls it. `doctor` is in tests/producer/target/test_doctor.py."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from producer.commands import target as commands
from producer.program import app
from producer.session import AZURE_TARGET
from producer.sweep.enqueue import NotConfirmed
from producer.target.deploy import MADE_BY
from tests.fakes.cloud import GROUP_ID, Cloud, deployment, operation
from worker.contract.errors import InputError


def call(*words: str) -> Result:
    return CliRunner().invoke(app, words)


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
