"""Who acts on a laptop: the Azure CLI's account for the subscription, and another only where it has none."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from json import dumps
from pathlib import Path
from time import time
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from tests.fakes.account import SUBSCRIPTION
from tests.fakes.az import FakeAz
from worker.contract.azure import blob_service, credential, storage_errors
from worker.contract.errors import NotSignedIn
from worker.contract.settings import Target
from worker.contract.sign_in import SignedIn

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "lunar.yaml"

SCOPE = "https://storage.azure.com/.default"
NOBODY = "ERROR: Please run 'az login' to setup account."


@pytest.fixture(name="az")
def fake_az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAz:
    """Return an Azure CLI with Ada signed in, on a machine where somebody else is signed in to `azd`."""
    program = tmp_path / "azd"
    token = dumps({"token": "of somebody else", "expiresOn": "2099-01-01T00:00:00Z"})
    program.write_text(f"#!{sys.executable} -IS\nprint({token!r})\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("AZURE_TOKEN_CREDENTIALS", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:9")  # this is no VM
    az = FakeAz(tmp_path)
    az.answer("get-access-token", json={"accessToken": "of Ada", "expires_on": int(time()) + 3600})
    return az


def _target() -> Target:
    return Target(
        kind="azure",
        subscription_id=SUBSCRIPTION,
        resource_group="rg",
        scale_set="tranq-set",
        blob_endpoint="https://a.blob.core.windows.net/",
        queue_endpoint="https://a.queue.core.windows.net/",
    )


def test_the_azure_cli_s_account_for_the_subscription_acts(az: FakeAz) -> None:
    assert credential(_target()).get_token(SCOPE).token == "of Ada"
    (call,) = az.calls("get-access-token")
    assert call.after("--subscription") == SUBSCRIPTION


def test_the_azure_cli_is_asked_once_for_all_threads(az: FakeAz) -> None:
    """Each question starts a large program; many at once would run into its time-out."""
    signed_in = credential(_target())
    with ThreadPoolExecutor(8) as threads:
        tokens = list(threads.map(lambda _: signed_in.get_token(SCOPE).token, range(16)))
    assert tokens == ["of Ada"] * 16
    assert len(az.calls("get-access-token")) == 1


def test_a_token_is_asked_for_anew_before_it_ends_for_another_service_and_when_azure_wants_more() -> None:
    class Counting:
        """Gives tokens of an hour."""

        def __init__(self) -> None:
            self.given = 0

        def get_token(self, *scopes: str, claims: str | None = None, **options: Any) -> AccessToken:
            self.given += 1
            return AccessToken(f"{scopes[0]} {self.given}", int(now_s) + 3600)

    now_s = 1_000.0
    signed_in = SignedIn(Counting(), lambda: now_s)
    assert [signed_in.get_token("a").token for _ in range(2)] == ["a 1", "a 1"]
    assert signed_in.get_token("b").token == "b 2"
    now_s += 3299
    assert signed_in.get_token("a").token == "a 1"
    assert signed_in.get_token("a", claims="{}").token == "a 3"
    assert signed_in.get_token("a").token == "a 3"
    now_s += 3301
    assert signed_in.get_token("a").token == "a 4"


def test_where_nobody_at_all_is_signed_in_one_line_says_first_what_to_do(az: FakeAz) -> None:
    az.fail("get-access-token", stderr=NOBODY)
    (az.folder / "azd").unlink()
    with storage_errors("blob", "https://a.blob.core.windows.net"), pytest.raises(NotSignedIn) as caught:
        blob_service(_target(), credential(_target())).get_service_properties()
    assert str(caught.value) == (
        "The Azure CLI gave no token: sign in with `az login`, then call this again. "
        "It says: Please run 'az login' to set up an account"
    )
    assert len(az.calls("get-access-token")) == 1, "nobody signs in while a request is tried again"


class Door:
    """A lock that tells of everybody who comes to it."""

    def __init__(self) -> None:
        self._lock, self.came = threading.Lock(), threading.Semaphore(0)

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_who_waits_while_the_azure_cli_is_asked_in_vain_does_not_ask_it_again_but_whoever_comes_later() -> None:
    door, answers, calls = Door(), threading.Event(), list[str]()

    class Refusing:
        def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
            calls.append(scopes[0])
            assert answers.wait(60)
            raise ClientAuthenticationError("no")

    signed_in = SignedIn(Refusing())
    signed_in._lock = door  # type: ignore[assignment]

    def ask() -> str:
        with pytest.raises(NotSignedIn) as caught:
            signed_in.get_token(SCOPE)
        return str(caught.value)

    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(ask) for _ in range(3)]
        assert all(door.came.acquire(timeout=60) for _ in asked)
        answers.set()
        assert len({one.result() for one in asked}) == 1
    assert len(calls) == 1
    ask()
    assert len(calls) == 2


def test_what_azure_identity_warns_of_is_not_written_beside_the_message(az: FakeAz, tmp_path: Path) -> None:
    az.fail("get-access-token", stderr=NOBODY)
    (az.folder / "azd").unlink()
    target = tmp_path / "target.json"
    target.write_bytes(_target().canonical())
    environment = {**os.environ, "PATH": str(az.folder)}
    called = [sys.executable, "-m", "producer", "enqueue", str(EXAMPLE), "--yes", "--target", str(target)]
    done = subprocess.run(called, capture_output=True, text=True, env=environment, cwd=ROOT)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.startswith("The Azure CLI gave no token: sign in")) == (1, True)


def test_where_nobody_is_signed_in_to_it_another_may(az: FakeAz) -> None:
    az.fail("get-access-token", stderr=NOBODY)
    assert credential(_target()).get_token(SCOPE).token == "of somebody else"
    assert len(az.calls("get-access-token")) == 1


@pytest.mark.parametrize(("chosen", "who"), [("AzureDeveloperCliCredential", "else"), ("AzureCliCredential", "Ada")])
def test_whoever_is_named_in_the_environment_acts_alone(
    az: FakeAz, monkeypatch: pytest.MonkeyPatch, chosen: str, who: str
) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", chosen)
    assert credential(_target()).get_token(SCOPE).token.endswith(who)
