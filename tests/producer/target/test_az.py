"""Claims about the Azure CLI: what it needs, what its errors say."""

from pathlib import Path

import pytest

from producer.target.az import AzureCliError, find_cli, innermost, parse_error
from tests.fakes.az import FakeAz
from worker.contract.errors import InputError


def test_without_the_cli_one_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match=r"install it.*az login"):
        find_cli()


@pytest.mark.parametrize(
    ("version", "old"), [("2.75.9", True), ("2.76.0", False), ("2.100.0", False), ("3.0.0", False)]
)
def test_an_old_cli_is_refused_with_the_version_that_is_needed(az: FakeAz, version: str, old: bool) -> None:
    az.answer("version", json={"azure-cli": version})
    if old:
        with pytest.raises(InputError, match=r"2\.75\.9, and 2\.76\.0 or newer"):
            find_cli()
    else:
        assert find_cli().ask("version") == {"azure-cli": version}


@pytest.mark.parametrize(
    "stderr",
    [
        "ERROR: Please run 'az login' to setup account.\n",
        (
            "ERROR: AADSTS70043: The refresh token has expired or is invalid.\nInteractive authentication is needed. "
            "Please run:\naz login\n"
        ),
    ],
)
def test_a_person_who_is_not_signed_in_is_told_so(az: FakeAz, stderr: str) -> None:
    az.answer("version", json={"azure-cli": "2.91.0"})
    az.fail("account", "show", stderr=stderr)
    with pytest.raises(InputError, match="Nobody is signed in"):
        find_cli().ask("account", "show")


@pytest.mark.parametrize(
    ("stderr", "code", "message"),
    [
        (
            "ERROR: (ResourceGroupNotFound) Resource group 'x' could not be found.\nCode: ResourceGroupNotFound\n",
            "ResourceGroupNotFound",
            "Resource group 'x' could not be found.",
        ),
        (
            (
                'WARNING: slow\nERROR: {"code": "InvalidTemplateDeployment", "message": "See inner errors.", '
                '"details": [{"code": "SkuNotAvailable", "message": "The requested size is not available."}]}\n'
            ),
            "SkuNotAvailable",
            "The requested size is not available.",
        ),
        ("ERROR: something else\n  broke\n", "", "something else broke"),
        (
            (
                "ERROR: The command failed with an unexpected error. Here is the traceback:\n"
                "ERROR: Max retries exceeded\n"
                "Traceback (most recent call last):\n  File x\nrequests.exceptions.ConnectionError: Max retries\n"
            ),
            "",
            "Max retries exceeded",
        ),
        ("", "", "it failed without a word"),
    ],
)
def test_an_error_is_reduced_to_what_says_something(stderr: str, code: str, message: str) -> None:
    found_code, found = parse_error(stderr)
    assert found_code == code
    assert found.startswith(message)


def test_an_error_inside_the_message_of_another_is_found() -> None:
    inner = '{"error": {"code": "PrincipalNotFound", "message": "No such principal."}}'
    nested = {"code": "DeploymentFailed", "message": "x", "details": [{"code": "BadRequest", "message": inner}]}
    assert innermost(nested) == ("PrincipalNotFound", "No such principal.")


def test_what_does_not_exist_is_none_and_a_denial_is_an_error(az: FakeAz) -> None:
    az.answer("version", json={"azure-cli": "2.91.0"})
    az.fail("group", "show", stderr="ERROR: (ResourceGroupNotFound) no.", status=3)
    az.fail("vmss", "show", stderr="ERROR: (AuthorizationFailed) The client may not.")
    cli = find_cli()
    assert cli.find("group", "show") is None
    with pytest.raises(AzureCliError, match="AuthorizationFailed: The client may not") as caught:
        cli.find("vmss", "show")
    assert caught.value.code == "AuthorizationFailed"
