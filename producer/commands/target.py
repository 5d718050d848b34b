"""`tranquility deploy`, `doctor` and `destroy`: a target from its first deployment to its end."""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status

from producer import session as sessions
from producer.commands.sweep import AsJson, TargetFile, Yes, asking, say
from producer.session import AZURE_TARGET, LOCAL_TARGET, Session, find_target, read_target
from producer.sweep.enqueue import NotConfirmed
from producer.sweep.patience import patient
from producer.target import deploy as deploying
from producer.target import destroy as destroying
from producer.target.az import AzureCli, find_cli
from producer.target.committed import committed_snapshot
from producer.target.deploy import Template
from producer.target.doctor import examine
from producer.target.findings import Finding, diagnose
from producer.target.planned import Planned, Wishes, plan
from producer.target.prove import Proven, prove
from producer.target.release import Published, publish
from producer.target.sources import ROOT, Checkout
from producer.target.survey import Account, sign_in
from producer.target.wheelhouse import TORCH_INDEX, Platform
from worker.contract.errors import InputError
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Target

GroupName = Annotated[str, typer.Option("--group", "-g", help="Resource group of everything; made if missing.")]
Subscription = Annotated[
    str, typer.Option(help="Subscription, by name or id. Default: the Azure CLI's current one.", show_default=False)
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("deploy", epilog="Example: tranquility deploy -g sweeps --location westeurope --prove")(deploy)
    app.command("doctor", epilog="Example: tranquility doctor")(doctor)
    app.command("destroy", epilog="Example: tranquility destroy -g sweeps")(destroy)


# ---- deploy ----------------------------------------------------------------------------------------------------------


def deploy(
    group: GroupName,
    location: Annotated[str, typer.Option(help="Region. Default: that of the group.", show_default=False)] = "",
    what_if: Annotated[bool, typer.Option("--what-if", help="Say what would change, and write nothing.")] = False,
    prove_it: Annotated[
        bool, typer.Option("--prove", help="Then train one tiny job on one VM, and go back to 0: a few cents.")
    ] = False,
    while_running: Annotated[
        bool, typer.Option("--while-running", help="Even if there are VMs; they keep the model they were made from.")
    ] = False,
    maximum: Annotated[
        int | None,
        typer.Option("--max", min=1, max=1000, help="Most VMs. Default: 10, or as it was.", show_default=False),
    ] = None,
    size: Annotated[
        list[str] | None,
        typer.Option(help="VM size, up to five times. Default: Standard_F8als_v6, or as it was.", show_default=False),
    ] = None,
    slots: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Workers on a VM. Default: its physical cores.", show_default=False),
    ] = None,
    max_price: Annotated[
        str,
        typer.Option(
            help="USD a VM and hour at most; -1: up to the regular price. Default: -1, or as it was.",
            show_default=False,
        ),
    ] = "",
    regular: Annotated[
        bool, typer.Option("--regular", help="Regular VMs, which nobody evicts, instead of spot.")
    ] = False,
    nat_gateway: Annotated[
        bool | None,
        typer.Option(
            "--nat-gateway/--instance-addresses",
            help="The way out: 36 USD a month, or an address per VM.",
            show_default=False,
        ),
    ] = None,
    operator: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID[:KIND]",
            help="Object id of who may enqueue and scale; KIND: User (default), Group or ServicePrincipal.",
            show_default=False,
        ),
    ] = None,
    operator_address: Annotated[
        list[str] | None,
        typer.Option(help="Close the storage firewall to all but the fleet and this address.", show_default=False),
    ] = None,
    wake: Annotated[
        bool | None,
        typer.Option("--wake/--no-wake", help="The Logic App that scales while no laptop does.", show_default=False),
    ] = None,
    custom_roles: Annotated[
        bool | None,
        typer.Option(
            "--custom-roles/--built-in-roles", help="Default: custom where you may define.", show_default=False
        ),
    ] = None,
    ssh_key: Annotated[
        Path | None, typer.Option(help="SSH public key file. Default: the one in ~/.ssh.", show_default=False)
    ] = None,
    image: Annotated[
        str, typer.Option(help="Version of Ubuntu's image. Default: the newest.", show_default=False)
    ] = "",
    prefix: Annotated[str, typer.Option(help="Start of every name. Default: tranq.", show_default=False)] = "",
    subscription: Subscription = "",
    do_publish: Annotated[
        bool, typer.Option("--publish/--no-publish", help="Also build and publish the release of this checkout.")
    ] = True,
    target: Annotated[
        Path, typer.Option("--target", metavar="FILE", help="Where to write the target's settings.")
    ] = AZURE_TARGET,
    as_json: AsJson = False,
) -> None:
    """Put everything into a resource group: storage, identities, roles, network, the scale set at 0, the wake.

    Checks first what would fail late. Call it again to change something: what you do not name stays as it was.
    """
    wishes = Wishes(
        group=group,
        prefix=prefix,
        maximum=maximum,
        sizes=tuple(size or ()),
        slots=slots,
        max_price=max_price,
        regular=regular,
        nat_gateway=nat_gateway,
        operator_addresses=tuple(operator_address or ()),
        operators=tuple(operator or ()),
        wake=wake,
        ssh_key=read_ssh_key(ssh_key),
        image=image,
        custom_roles=custom_roles,
        while_running=while_running,
    )
    template = Template.of(ROOT)
    cli, account = sign_in(find_cli(), subscription)
    say(f"Signed in as {account.user}, subscription {account.subscription}. Looking at what is there")
    planned = plan(wishes, deploying.survey(cli, account, wishes, location), committed_snapshot())
    for note in planned.notes:
        say(note)
    if what_if:
        _show_what_if(cli, group, template, planned, as_json=as_json)
        return
    made = _carry_out(cli, group, template, planned, target)
    session = patient(sessions.open_session(target), say)
    published = publish_checkout(session) if do_publish else None
    proven = prove(session, say) if prove_it else None
    _show_deployed(target, made, published, proven, as_json=as_json)


def read_ssh_key(file: Path | None) -> str:
    """Return the public key in a file, or that of this user; empty where there is none. Raises InputError."""
    own = [Path.home() / ".ssh" / name for name in ("id_ed25519.pub", "id_rsa.pub")]
    for candidate in [file] if file else own:
        try:
            return candidate.read_text().strip()
        except OSError as error:
            if file:
                raise InputError(f"{file}: {error.strerror}") from error
    return ""


def publish_checkout(session: Session) -> Published:
    """Build the release of this checkout and publish it."""
    from producer.commands.release import build

    with tempfile.TemporaryDirectory(prefix="tranquility-") as folder:
        made = build(Checkout(), Platform(), TORCH_INDEX, Path(folder))
        say("Uploading the release")
        return publish(session, made, lambda _name, _size: None)


def _carry_out(cli: AzureCli, group: str, template: Template, planned: Planned, file: Path) -> Target:
    if planned.make_group:
        deploying.make_group(cli, group, planned)
        say(f"Made the resource group {group}")
    say("Deploying; this takes some minutes")
    outputs = deploying.deploy(cli, group, template, planned, RealRuntime(), say)
    made = deploying.target_of(outputs)
    deploying.write_target(file, made)
    return made


def _show_what_if(cli: AzureCli, group: str, template: Template, planned: Planned, *, as_json: bool) -> None:
    if planned.make_group:
        say(f"The group {group} is not there: it would be made, and in it")
        changes = deploying.would_make(committed_snapshot())
    else:
        changes = deploying.what_if(cli, group, template, planned)
    if as_json:
        typer.echo(json.dumps({"changes": list(changes), "parameters": planned.parameters}, indent=2))
        return
    for line in changes:
        typer.echo(line)
    say("Nothing was written." if changes else "Nothing would change.")


def _show_deployed(
    file: Path, made: Target, published: Published | None, proven: Proven | None, *, as_json: bool
) -> None:
    if as_json:
        document: dict[str, Any] = {"target_file": str(file), "target": made.model_dump(mode="json")}
        document["release"] = published.release if published else None
        document["proven"] = asdict(proven) if proven else None
        typer.echo(json.dumps(document, indent=2))
        return
    typer.echo(f"Deployed: at most {made.max_instances} VMs of {made.slots_per_instance} workers, {file}.")
    if published:
        typer.echo(f"VMs boot with release {published.version} ({published.release[:12]}).")
    if proven:
        typer.echo(
            f"Proven: {proven.vm} trained {proven.boot_to_first_step_s:.0f} s after its boot, its job is published, "
            f"and the set was at 0 again after {proven.total_s / 60:.0f} min."
        )
    if LOCAL_TARGET.is_file():
        typer.echo(
            f"A fleet of this machine runs in this folder, too, and comes first: --target {file} names this one."
        )
    typer.echo("Next: tranquility enqueue examples/lunar.yaml")


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
        destroying.carry_out(cli, plan_of_removal, account.subscription_id, say)
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
