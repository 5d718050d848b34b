"""The Azure CLI as a subprocess that answers with JSON.

deploy and destroy use it for what our packages have no client for: groups, deployments, roles, quotas. It acts as
whoever is signed in to it.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import Any, Final

from worker.contract.errors import InputError, TranquilityError

OLDEST: Final = (2, 76, 0)
"""From this version on the CLI can answer a sign-in that asks for a second factor (Microsoft, "Plan for mandatory
multifactor authentication")."""
GET_IT: Final = "https://learn.microsoft.com/cli/azure/install-azure-cli"
_ENVIRONMENT: Final = {
    "AZURE_CORE_NO_COLOR": "true",
    "AZURE_CORE_ONLY_SHOW_ERRORS": "true",
    "AZURE_CORE_LOGIN_EXPERIENCE_V2": "false",
    "AZURE_EXTENSION_USE_DYNAMIC_INSTALL": "no",
}
_NOT_SIGNED_IN: Final = re.compile(r"az login|AADSTS\d+", re.IGNORECASE)
_NOT_FOUND: Final = re.compile(r"\w*NotFound|NotFound\w*")


class AzureCliError(TranquilityError):
    """The Azure CLI could not do it."""

    def __init__(self, code: str, message: str, command: str = "") -> None:
        text = f"{code}: {message}" if code else message
        super().__init__(f"{text} (az {command})" if command else text)
        self.code = code
        """Azure's own, such as `AuthorizationFailed`; empty where it gave none."""
        self.message = message

    @property
    def not_found(self) -> bool:
        """Return whether what was asked for does not exist."""
        return _NOT_FOUND.fullmatch(self.code) is not None

    @property
    def denied(self) -> bool:
        """Return whether a right is missing."""
        return self.code in {"AuthorizationFailed", "LinkedAuthorizationFailed", "Forbidden"}


@dataclass(frozen=True)
class AzureCli:
    """The program, bound to one subscription once that is known."""

    program: str
    subscription: str = ""

    def ask(self, *command: str) -> Any:
        """Run a command and return what it answered, None where that is nothing. Raises AzureCliError, InputError."""
        bound = ("--subscription", self.subscription) if self.subscription else ()
        done = subprocess.run(
            [self.program, *command, *bound, "--output", "json"],
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
        )
        if done.returncode != 0:
            raise _error(done.stderr, " ".join(command[:3]))
        try:
            return json.loads(done.stdout) if done.stdout.strip() else None
        except ValueError as error:
            raise AzureCliError("", "the answer is no JSON", " ".join(command[:3])) from error

    def find(self, *command: str) -> Any:
        """Run a command that shows one thing; return None where there is no such thing."""
        try:
            return self.ask(*command)
        except AzureCliError as error:
            if error.not_found:
                return None
            raise

    def get(self, path: str, api_version: str) -> Any:
        """GET a path of Azure Resource Manager that no command shows."""
        return self.ask("rest", "--method", "get", "--url", f"{path}?api-version={api_version}")


def find_cli() -> AzureCli:
    """Return the Azure CLI of this machine. Raises InputError where there is none, or too old a one."""
    program = shutil.which("az")
    if program is None:
        raise InputError(f"The Azure CLI is not here: install it ({GET_IT}), then sign in: az login")
    cli = AzureCli(program)
    version = str((cli.ask("version") or {}).get("azure-cli", ""))
    if _numbers(version) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise InputError(
            f"The Azure CLI here is version {version or 'unknown'}, and {oldest} or newer is needed: az upgrade "
            f"({GET_IT})"
        )
    return cli


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _error(stderr: str, command: str) -> TranquilityError:
    code, message = parse_error(stderr)
    if not code and _NOT_SIGNED_IN.search(message):
        return InputError(f"Nobody is signed in to the Azure CLI, or no longer: az login. It says: {message}")
    return AzureCliError(code, message, command)


def parse_error(stderr: str) -> tuple[str, str]:
    """Return code and message of what the CLI wrote when it failed.

    It writes `ERROR: (Code) Message`, or `ERROR: ` and Azure's JSON, whose innermost details say what is wrong.
    """
    # Of what it did not expect it says first that it did not, and then what, with a traceback.
    text = stderr.rpartition("ERROR:")[2].partition("\nTraceback (most recent call last)")[0].strip()
    start = text.find("{")
    if start >= 0:
        try:
            document, _ = json.JSONDecoder().raw_decode(text, start)
        except ValueError:
            pass
        else:
            return innermost(document.get("error", document))
    named = re.match(r"\((\w+)\)\s*(.*)", text)
    if named:
        return named[1], named[2].strip()
    return "", " ".join(text.split()) or "it failed without a word"


def innermost(error: Any) -> tuple[str, str]:
    """Return code and message of what lies at the bottom of an error of Azure: the rest says only that something did.

    `{"code", "message", "details": […]}`, where a message may be such a document, as text, again.
    """
    details = error.get("details") or []
    if details:
        return innermost(details[0])
    message = str(error.get("message", ""))
    if message.lstrip().startswith("{"):
        try:
            inner = json.loads(message)
        except ValueError:
            inner = {}
        if isinstance(inner, dict) and (inner.get("error") or inner.get("code")):
            return innermost(inner.get("error", inner))
    return str(error.get("code", "")), " ".join(message.split())
