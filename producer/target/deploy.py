"""Sends the template of bicep/ to Azure and follows it to its end. What is sent is decided by `planned`."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from producer.target.az import AzureCli, AzureCliError, innermost
from producer.target.committed import committed_snapshot
from producer.target.planned import PREFIX, Planned, Wishes, sizes_wished
from producer.target.survey import (
    DEPLOYMENT,
    Account,
    Before,
    Group,
    Survey,
    find_deployment,
    find_group,
    newest_image,
    read_before,
    read_permissions,
    read_sizes,
    read_usages,
    unregistered,
)
from worker.contract.errors import InputError, TranquilityError
from worker.contract.runtime import Runtime
from worker.contract.settings import Target

MADE_BY: Final = "tranquility-made-group"
"""Tag of a group that deploy made, so that destroy may remove it; its value says with which prefix."""
TAG: Final = "application"
OURS: Final = "tranquility"
LOOK_S: Final = 5.0
SETTLE_S: Final = 60.0
SLOW_TO_BE_KNOWN: Final = frozenset({"RoleDefinitionDoesNotExist", "PrincipalNotFound"})
"""New roles and identities take minutes to be known everywhere: the same deployment again goes on."""
TRIES: Final = 3

Say = Callable[[str], None]


class DeploymentFailed(TranquilityError):
    """Azure did not carry out the deployment."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


@dataclass(frozen=True)
class Template:
    """The compiled template of a checkout."""

    file: Path

    @classmethod
    def of(cls, root: Path) -> "Template":
        """Return that of the checkout at `root`. Raises InputError where there is none."""
        file = root / "bicep" / "main.json"
        if not file.is_file():
            raise InputError(f"A deployment is sent from a checkout, and {file} is not there: clone the repository.")
        return cls(file)


def survey(cli: AzureCli, account: Account, wishes: Wishes, location: str) -> Survey:
    """Read everything that the deployment is decided by.

    Raises InputError where no region is known, or another than that of the deployment there is, and for resource
    providers without which nothing more can be read.
    """
    group = find_group(cli, wishes.group)
    before = read_before(cli, group, wishes.prefix or PREFIX)
    region = _region(location, group, before)
    if lacking := unregistered(cli, _namespaces(committed_snapshot())):
        commands = "\n".join(f"az provider register --wait --namespace {name}" for name in lacking)
        raise InputError(
            f"The subscription {account.subscription} is not registered for what a target takes:\n{commands}"
        )
    return Survey(
        account=account,
        group=group,
        location=region,
        before=before,
        permissions=read_permissions(cli, account, group),
        sizes=read_sizes(cli, region, sizes_wished(wishes, before.parameters)),
        usages=read_usages(cli, region),
        newest_image=wishes.image or newest_image(cli, region),
    )


def _region(named: str, group: Group, before: Before) -> str:
    """Return where to deploy: a resource stays in its region, which need not be that of its group."""
    wanted, deployed = _plain(named), _plain(str(before.parameters.get("location") or ""))
    if wanted and deployed and wanted != deployed:
        raise InputError(
            f"The group {group.name} holds a deployment in {deployed}, and nothing in it can move to {wanted}: leave "
            "--location out, deploy into another group, or remove this one first: "
            f"tranquility destroy -g {group.name}"
        )
    region = wanted or deployed or _plain(group.location)
    if not region:
        raise InputError(f"There is no resource group {group.name} yet: say where to make it, --location REGION")
    return region


def _plain(region: str) -> str:
    """Return the name of a region as Azure stores it: people also write `West Europe`."""
    return region.replace(" ", "").lower()


def _namespaces(snapshot: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(resource["type"].partition("/")[0] for resource in snapshot["predictedResources"])


def what_if(cli: AzureCli, group: str, template: Template, planned: Planned) -> tuple[str, ...]:
    """Return what the deployment would change in a group that exists, one line each. Writes nothing."""
    with _parameter_file(planned) as file:
        found = cli.ask(*_command("what-if", group, template, file), "--no-pretty-print")
    return tuple(_change(entry) for entry in found["changes"] if entry["changeType"] not in {"Ignore", "NoChange"})


def make_group(cli: AzureCli, group: str, planned: Planned) -> None:
    """Make the resource group, and remember in a tag that it was made here."""
    tags = (f"{TAG}={OURS}", f"{MADE_BY}={planned.parameters['prefix']}")
    cli.ask("group", "create", "--name", group, "--location", planned.parameters["location"], "--tags", *tags)


def deploy(
    cli: AzureCli, group: str, template: Template, planned: Planned, runtime: Runtime, say: Say
) -> Mapping[str, Any]:
    """Send the template, tell how it goes on, and return its outputs. Raises DeploymentFailed, AzureCliError."""
    never = runtime.event()
    left = TRIES
    while True:
        left -= 1
        try:
            with _parameter_file(planned) as file:
                cli.ask(*_command("create", group, template, file), "--no-wait")
            return _follow(cli, group, runtime, say)
        except (DeploymentFailed, AzureCliError) as error:
            if error.code not in SLOW_TO_BE_KNOWN or not left:
                raise
            say(f"Azure does not know everywhere yet what was just made ({error.code}): again in {SETTLE_S:.0f} s.")
            runtime.wait(never, SETTLE_S)


def target_of(outputs: Mapping[str, Any]) -> Target:
    """Return the target that a deployment's outputs describe. Raises DeploymentFailed where they do not."""
    try:
        return Target.model_validate(outputs["target"]["value"])
    except (KeyError, ValidationError) as error:
        raise DeploymentFailed("NoTarget", f"its outputs are not those of this template: {error}") from error


def write_target(file: Path, target: Target) -> None:
    """Write the file that every other command reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(target.model_dump_json(indent=2, exclude_defaults=True) + "\n")


def _follow(cli: AzureCli, group: str, runtime: Runtime, say: Say) -> Mapping[str, Any]:
    never, told = runtime.event(), dict[str, str]()
    while True:
        properties = find_deployment(cli, group) or {}
        for step, state in steps(operations(cli, group, DEPLOYMENT)):
            if told.get(step) != state:
                told[step] = state
                say(f"{step}: {state.lower()}")
        state = properties.get("provisioningState", "")
        if state == "Succeeded":
            outputs: Mapping[str, Any] = properties["outputs"]
            return outputs
        if state in {"Failed", "Canceled"}:
            raise DeploymentFailed(*_why(cli, group, properties))
        runtime.wait(never, LOOK_S)


def operations(cli: AzureCli, group: str, deployment: str) -> Sequence[Mapping[str, Any]]:
    """Return what a deployment did, and does: one entry for each resource, and each nested deployment."""
    found: Sequence[Mapping[str, Any]] = (
        cli.find("deployment", "operation", "group", "list", "--resource-group", group, "--name", deployment) or ()
    )
    return found


def steps(found: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield name and state of each operation that makes something."""
    for entry in found:
        properties = entry["properties"]
        resource = properties.get("targetResource") or {}
        if resource.get("resourceName") and properties.get("provisioningState"):
            yield resource["resourceName"].rpartition("/")[2], properties["provisioningState"]


def _why(cli: AzureCli, group: str, properties: Mapping[str, Any]) -> tuple[str, str]:
    """Return the innermost error: that of the deployment, or, where it names none, that of an operation."""
    code, message = innermost(properties.get("error") or {})
    if code and code != "DeploymentFailed":
        return code, message
    for entry in operations(cli, group, DEPLOYMENT):
        status = entry["properties"].get("statusMessage") or {}
        if isinstance(status, dict) and status.get("error"):
            return innermost(status["error"])
    return code or "DeploymentFailed", message or f"its state is {properties.get('provisioningState')}"


def _command(verb: str, group: str, template: Template, parameters: Path) -> tuple[str, ...]:
    return (
        *("deployment", "group", verb, "--resource-group", group, "--name", DEPLOYMENT),
        *("--template-file", str(template.file), "--parameters", f"@{parameters}"),
    )


@contextmanager
def _parameter_file(planned: Planned) -> Iterator[Path]:
    """Yield a file with a deployment's parameters."""
    document = {
        "$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentParameters.json#",
        "contentVersion": "1.0.0.0",
        "parameters": {name: {"value": value} for name, value in planned.parameters.items()},
    }
    with tempfile.TemporaryDirectory(prefix="tranquility-") as folder:
        file = Path(folder) / "parameters.json"
        file.write_text(json.dumps(document))
        yield file


def _change(entry: Mapping[str, Any]) -> str:
    sign = {"Create": "+", "Delete": "-", "Modify": "~", "Deploy": "~"}.get(entry["changeType"], "?")
    _, _, below = entry["resourceId"].partition("/resourceGroups/")
    return f"{sign} {below.partition('/providers/')[2] or entry['resourceId']}"


def would_make(snapshot: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a first deployment makes, one line for each kind: Azure compares with a group that exists only."""
    kinds = [resource["type"] for resource in snapshot["predictedResources"]]
    return tuple(f"+ {kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds))
