"""`tranquility doctor` and `destroy`: a target in use, and its end."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.status import Status

from producer import session as sessions
from producer.commands.deploy import Subscription
from producer.commands.options import AsJson, TargetFile, Yes
from producer.commands.sweep import asking, say
from producer.session import AZURE_TARGET, find_target, read_target
from producer.sweep.enqueue import NotConfirmed
from producer.target import destroy as destroying
from producer.target.az import find_cli
from producer.target.doctor import examine
from producer.target.findings import Finding, diagnose
from producer.target.survey import Account, sign_in
from worker.contract.errors import InputError
from worker.contract.runtime import RealRuntime


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("doctor", epilog="Example: tranquility doctor")(doctor)
    app.command("destroy", epilog="Example: tranquility destroy -g sweeps")(destroy)


# ---- doctor ----------------------------------------------------------------------------------------------------------


def doctor(as_json: AsJson = False, target: TargetFile = None) -> None:
    """Look at every part of the target, and say what is wrong and what to do.

    Exits with 0 when all is well and 1 when something is wrong: for cron.
    """
    session = sessions.open_session(target)
    console = Console(stderr=True)
    with Status("Looking", console=console) as status:
        symptoms = examine(session, lambda what: status.update(what) if console.is_terminal else None)
    found = diagnose(symptoms, session.target, session.durations)
    wrong = [finding for finding in found if finding.level == "wrong"]
    if as_json:
        document = {"well": not wrong, "findings": [asdict(finding) for finding in found]}
        typer.echo(json.dumps(document, indent=2))
    else:
        show_findings(found)
    raise typer.Exit(1 if wrong else 0)


def show_findings(found: tuple[Finding, ...]) -> None:
    """Print findings for a person."""
    console = Console(highlight=False, soft_wrap=True)
    for finding in found:
        mark, style = ("✗", "red") if finding.level == "wrong" else ("·", "dim")
        console.print(f"[{style}]{mark}[/] ", end="")
        console.print(finding.what, markup=False)
        console.print(f"  → {finding.todo}", markup=False)
    wrong = sum(finding.level == "wrong" for finding in found)
    console.print("All is well." if not wrong else f"{wrong} {'thing is' if wrong == 1 else 'things are'} wrong.")


# ---- destroy ---------------------------------------------------------------------------------------------------------


def destroy(
    group: Annotated[
        str,
        typer.Option(
            "--group", "-g", help="Resource group. Default: that of this folder's target.", show_default=False
        ),
    ] = "",
    yes: Yes = False,
    subscription: Subscription = "",
    target: TargetFile = None,
) -> None:
    """Remove everything that deploy made, sweeps and results included; the group too, if deploy made it."""
    file = target or _azure_target(group)
    known = read_target(file) if file else None
    if known is not None and known.kind == "local":
        raise InputError(
            "The target of this folder is a fleet on this machine: Ctrl-C ends it. Name one on Azure: -g GROUP"
        )
    if not (group or known):
        raise InputError("Say which resource group: -g GROUP")
    name = group or (known.resource_group if known else "")
    cli, account = sign_in(find_cli(), subscription or (known.subscription_id if known else ""))
    say(f"Looking at what is in {name}")
    found = destroying.look(cli, account.subscription_id, name)
    plan_of_removal = destroying.removal(found)
    if plan_of_removal.nothing:
        typer.echo(f"Nothing of tranquility is left in {name}.")
    else:
        if not asking(yes)(question(plan_of_removal, account)):
            raise NotConfirmed("Everything stays as it is.")
        destroying.carry_out(cli, plan_of_removal, account.subscription_id, RealRuntime(), say)
        typer.echo(f"Removed. {plan_of_removal.keeps}".strip())
    if file is not None and known is not None and known.resource_group == name:
        file.unlink(missing_ok=True)


def question(what: destroying.Removal, account: Account) -> str:
    """Say what would go, and ask."""
    parts = [
        f"the group {what.in_group} with everything in it" if what.whole_group else "",
        f"{len(what.resources)} resources of {what.in_group}, sweeps and results included" if what.resources else "",
        f"{len(what.roles)} custom roles" if what.roles else "",
        f"{len(what.assignments)} role assignments" if what.assignments else "",
    ]
    kept = f" {what.keeps}" if what.keeps else ""
    return f"Remove {', '.join(part for part in parts if part)} from {account.subscription}?{kept}"


def _azure_target(group: str) -> Path | None:
    """Return the target file of this folder that a destroy is about; None where the group has to say."""
    if AZURE_TARGET.is_file():
        return AZURE_TARGET
    return None if group else find_target()
