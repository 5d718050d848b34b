"""`tranquility deploy`: a target is made, or changed."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from producer import session as sessions
from producer.commands.options import AsJson
from producer.commands.sweep import say
from producer.session import AZURE_TARGET, LOCAL_TARGET, Session
from producer.sweep.patience import patient
from producer.target import deploy as deploying
from producer.target.az import AzureCli, find_cli
from producer.target.committed import committed_snapshot
from producer.target.deploy import Template
from producer.target.planned import Planned, Wishes, plan
from producer.target.prove import Proven, prove
from producer.target.release import Published, publish
from producer.target.sources import ROOT, Checkout
from producer.target.survey import sign_in
from producer.target.wheelhouse import TORCH_INDEX, Platform
from worker.contract.errors import InputError
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Target


def option(*names: str, text: str, **settings: Any) -> Any:
    """Return an option whose help says the default in words: what is not named stays as it was deployed."""
    return typer.Option(*names, help=text, show_default=False, **settings)


# ---- where, and by whom ----------------------------------------------------------------------------------------------

GroupName = Annotated[str, typer.Option("--group", "-g", help="Resource group of everything; made if missing.")]
Subscription = Annotated[str, option(text="Subscription, by name or id. Default: the Azure CLI's current one.")]
Location = Annotated[str, option(text="Region. Default: that of the group.")]
Prefix = Annotated[str, option(text="Start of every name. Default: tranq.")]
File = Annotated[Path, typer.Option("--target", metavar="FILE", help="Where to write the target's settings.")]

# ---- how far to go ---------------------------------------------------------------------------------------------------

WhatIf = Annotated[bool, typer.Option("--what-if", help="Say what would change, and write nothing.")]
ProveIt = Annotated[
    bool, typer.Option("--prove", help="Then train one tiny job on one VM, and go back to 0: a few cents.")
]
DoPublish = Annotated[
    bool, typer.Option("--publish/--no-publish", help="Also build and publish the release of this checkout.")
]
WhileRunning = Annotated[
    bool, typer.Option("--while-running", help="Even if there are VMs; they keep the model they were made from.")
]

# ---- what to deploy --------------------------------------------------------------------------------------------------

Maximum = Annotated[int | None, option("--max", min=1, max=1000, text="Most VMs. Default: 10, or as it was.")]
Size = Annotated[list[str] | None, option(text="VM size, up to five times. Default: Standard_F8als_v6, or as it was.")]
Slots = Annotated[int | None, option(min=1, max=256, text="Workers on a VM. Default: its physical cores.")]
MaxPrice = Annotated[
    str, option(text="USD a VM and hour at most; -1: up to the regular price. Default: -1, or as it was.")
]
Regular = Annotated[bool, typer.Option("--regular", help="Regular VMs, which nobody evicts, instead of spot.")]
NatGateway = Annotated[
    bool | None,
    option("--nat-gateway/--instance-addresses", text="The way out: 36 USD a month, or an address per VM."),
]
Operator = Annotated[
    list[str] | None,
    option(
        metavar="ID[:KIND]",
        text="Object id of who may enqueue and scale; KIND: User (default), Group or ServicePrincipal.",
    ),
]
OperatorAddress = Annotated[
    list[str] | None, option(text="Close the storage firewall to all but the fleet and this address.")
]
Wake = Annotated[bool | None, option("--wake/--no-wake", text="The Logic App that scales while no laptop does.")]
CustomRoles = Annotated[
    bool | None, option("--custom-roles/--built-in-roles", text="Default: custom where you may define.")
]
SshKey = Annotated[Path | None, option(text="SSH public key file. Default: the one in ~/.ssh.")]
Image = Annotated[str, option(text="Version of Ubuntu's image. Default: the newest.")]


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("deploy", epilog="Example: tranquility deploy -g sweeps --location westeurope --prove")(deploy)


def deploy(
    group: GroupName,
    location: Location = "",
    what_if: WhatIf = False,
    prove_it: ProveIt = False,
    while_running: WhileRunning = False,
    maximum: Maximum = None,
    size: Size = None,
    slots: Slots = None,
    max_price: MaxPrice = "",
    regular: Regular = False,
    nat_gateway: NatGateway = None,
    operator: Operator = None,
    operator_address: OperatorAddress = None,
    wake: Wake = None,
    custom_roles: CustomRoles = None,
    ssh_key: SshKey = None,
    image: Image = "",
    prefix: Prefix = "",
    subscription: Subscription = "",
    do_publish: DoPublish = True,
    target: File = AZURE_TARGET,
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
    how_far = HowFar(publishes=do_publish, proves=prove_it)
    if what_if:
        show_what_if(wishes, subscription, location, as_json=as_json)
    else:
        deploy_all(wishes, subscription, location, target, how_far, as_json=as_json)


@dataclass(frozen=True)
class HowFar:
    """What follows the deployment itself."""

    publishes: bool
    proves: bool


def deploy_all(wishes: Wishes, subscription: str, location: str, file: Path, how_far: HowFar, *, as_json: bool) -> None:
    """Look, decide, make the group, deploy, write the target's file, publish, prove."""
    template = Template.of(ROOT)
    cli, planned = _plan(wishes, subscription, location)
    if planned.make_group:
        deploying.make_group(cli, wishes.group, planned)
        say(f"Made the resource group {wishes.group}")
    say("Deploying; this takes some minutes")
    outputs = deploying.deploy(cli, wishes.group, template, planned, RealRuntime(), say)
    made = deploying.target_of(outputs)
    deploying.write_target(file, made)
    session = patient(sessions.open_session(file), say)
    published = publish_checkout(session) if how_far.publishes else None
    proven = prove(session, say) if how_far.proves else None
    _show_deployed(file, made, published, proven, as_json=as_json)


def show_what_if(wishes: Wishes, subscription: str, location: str, *, as_json: bool) -> None:
    """Look, decide, and say what would change."""
    template = Template.of(ROOT)
    cli, planned = _plan(wishes, subscription, location)
    if planned.make_group:
        say(f"The group {wishes.group} is not there: it would be made, and in it")
        changes = deploying.would_make(committed_snapshot())
    else:
        changes = deploying.what_if(cli, wishes.group, template, planned)
    if as_json:
        typer.echo(json.dumps({"changes": list(changes), "parameters": planned.parameters}, indent=2))
        return
    for line in changes:
        typer.echo(line)
    say("Nothing was written." if changes else "Nothing would change.")


def _plan(wishes: Wishes, subscription: str, location: str) -> tuple[AzureCli, Planned]:
    """Return what will be sent, and the Azure CLI of the subscription that it goes to."""
    cli, account = sign_in(find_cli(), subscription)
    say(f"Signed in as {account.user}, subscription {account.subscription}. Looking at what is there")
    planned = plan(wishes, deploying.survey(cli, account, wishes, location), committed_snapshot())
    for note in planned.notes:
        say(note)
    return cli, planned


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
