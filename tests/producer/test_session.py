"""Commands find their target, and say at once where the fleet that it names runs no more."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from producer.emulator.ports import LOOPBACK, bind_loopback
from producer.session import LOCAL_TARGET, open_session, user_name
from worker.contract.errors import InputError, NoTarget
from worker.contract.settings import Target


@pytest.fixture
def imds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The port at which the local fleet of this folder gives tokens; nobody listens yet."""
    monkeypatch.chdir(tmp_path)
    with bind_loopback() as bound:
        url = f"http://{LOOPBACK}:{bound.getsockname()[1]}"
        monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", url)  # whoever opens the target sets it
        target = Target(
            kind="local",
            subscription_id="subscription",
            resource_group="group",
            scale_set="set",
            blob_endpoint=f"https://{LOOPBACK}:1/blob",
            queue_endpoint=f"https://{LOOPBACK}:1/queue",
            imds_endpoint=url,
        )
        LOCAL_TARGET.parent.mkdir()
        LOCAL_TARGET.write_bytes(target.canonical())
        yield bound


@pytest.mark.usefixtures("imds")
@pytest.mark.parametrize("named", [None, LOCAL_TARGET])
def test_a_fleet_of_this_machine_that_was_killed_is_said_to_have_ended_with_what_to_do(named: Path | None) -> None:
    with pytest.raises(NoTarget) as caught:
        open_session(named)
    assert "local.json names a fleet on this machine that ended without clearing up: tranquility local up" in str(
        caught.value
    )
    assert f"remove {LOCAL_TARGET}" in str(caught.value)


def test_a_fleet_that_listens_is_the_target(imds: socket.socket) -> None:
    imds.listen()
    assert open_session().target.kind == "local"


def test_a_target_file_that_is_not_there_is_named_with_who_writes_one(tmp_path: Path) -> None:
    missing = tmp_path / "nofile"
    with pytest.raises(InputError) as caught:
        open_session(missing)
    assert str(caught.value).startswith(f"{missing} cannot be read as a target: No such file or directory. tranquility")


def test_a_user_without_an_account_has_a_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 123_456_789)
    assert user_name() == "user 123456789"
