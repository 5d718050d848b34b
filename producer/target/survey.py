"""What is there before a deployment: who is signed in, what the subscription allows, what the group holds already."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from producer.target.az import AzureCli, AzureCliError
from producer.target.limits import Permission, Size, Usage

DEPLOYMENT: Final = "tranquility"
"""Name of the deployment in its group; its outputs and operations are read back by later commands."""
IMAGE: Final = {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server"}
_PERMISSIONS: Final = "2022-04-01"
_SUBSCRIPTIONS: Final = "2022-12-01"


@dataclass(frozen=True, slots=True)
class Account:
    """Who is signed in, and to which subscription."""

    subscription_id: str
    subscription: str
    user: str
    is_person: bool
    """False for a service principal or a managed identity."""
    quota_id: str = ""
    """The kind of the subscription, such as `PayAsYouGo_2014-09-01`; empty where it could not be read."""

    @property
    def path(self) -> str:
        """Return the resource id of the subscription."""
        return f"/subscriptions/{self.subscription_id}"


@dataclass(frozen=True, slots=True)
class Group:
    """The resource group as it is now."""

    name: str
    location: str = ""
    """Empty where there is no such group."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def exists(self) -> bool:
        """Return whether it is there."""
        return bool(self.location)


@dataclass(frozen=True, slots=True)
class Before:
    """What an earlier deployment left."""

    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Its parameters, plain values; empty where there was none."""
    capacity: int = 0
    instances: tuple[str, ...] = ()
    image: str = ""
    """The image version that its VMs are made of."""

    @property
    def alive(self) -> bool:
        """Return whether there are VMs, or soon will be."""
        return bool(self.capacity or self.instances)


@dataclass(frozen=True, slots=True)
class Survey:
    """Everything that a deployment is decided by."""

    account: Account
    group: Group
    location: str
    before: Before
    permissions: tuple[Permission, ...] | None
    """Of the caller, on the group or, where that is not there, the subscription; None where nobody knows."""
    sizes: Mapping[str, Size]
    """Those asked for, as far as the region has them."""
    usages: Mapping[str, Usage]
    newest_image: str


def sign_in(cli: AzureCli, subscription: str) -> tuple[AzureCli, Account]:
    """Return the CLI bound to the subscription named (id or name), or to the current one. Raises InputError."""
    named = ("--subscription", subscription) if subscription else ()
    shown = cli.ask("account", "show", *named)
    bound = AzureCli(cli.program, shown["id"])
    try:
        policies = (bound.get(f"/subscriptions/{shown['id']}", _SUBSCRIPTIONS) or {}).get("subscriptionPolicies") or {}
    except AzureCliError:
        policies = {}
    account = Account(
        subscription_id=shown["id"],
        subscription=shown["name"],
        user=shown["user"]["name"],
        is_person=shown["user"]["type"] == "user",
        quota_id=str(policies.get("quotaId", "")),
    )
    return bound, account


def find_group(cli: AzureCli, name: str) -> Group:
    """Return the group, which may not exist."""
    shown = cli.find("group", "show", "--name", name)
    return Group(name) if shown is None else Group(name, shown["location"], shown.get("tags") or {})


def find_deployment(cli: AzureCli, group: str) -> Mapping[str, Any] | None:
    """Return the properties of the group's last deployment of ours, or None."""
    shown = cli.find("deployment", "group", "show", "--resource-group", group, "--name", DEPLOYMENT)
    return None if shown is None else shown["properties"]


def read_before(cli: AzureCli, group: Group, prefix: str) -> Before:
    """Return what an earlier deployment left in the group."""
    if not group.exists:
        return Before()
    properties = find_deployment(cli, group.name) or {}
    parameters = {name: entry.get("value") for name, entry in (properties.get("parameters") or {}).items()}
    name = f"{parameters.get('prefix') or prefix}-set"
    scale_set = cli.find("vmss", "show", "--resource-group", group.name, "--name", name)
    if scale_set is None:
        return Before(parameters)
    image = ((scale_set.get("virtualMachineProfile") or {}).get("storageProfile") or {}).get("imageReference") or {}
    return Before(
        parameters=parameters,
        capacity=int(scale_set["sku"]["capacity"]),
        instances=instances_of(cli, group.name, scale_set["id"]),
        image=str(image.get("version", "")),
    )


def instances_of(cli: AzureCli, group: str, set_id: str) -> tuple[str, ...]:
    """Return the names of a Flexible set's VMs, which are its siblings in the group."""
    return tuple(
        vm["name"]
        for vm in cli.ask("vm", "list", "--resource-group", group) or ()
        if ((vm.get("virtualMachineScaleSet") or {}).get("id") or "").casefold() == set_id.casefold()
    )


def read_permissions(cli: AzureCli, account: Account, group: Group) -> tuple[Permission, ...] | None:
    """Return what the caller may do, or None where Azure does not say."""
    scope = f"{account.path}/resourceGroups/{group.name}" if group.exists else account.path
    try:
        answer = cli.get(f"{scope}/providers/Microsoft.Authorization/permissions", _PERMISSIONS)
    except AzureCliError:
        return None
    return tuple(
        Permission(frozenset(one.get("actions") or ()), frozenset(one.get("notActions") or ()))
        for one in answer["value"]
    )


def read_sizes(cli: AzureCli, location: str, names: Sequence[str]) -> Mapping[str, Size]:
    """Return these sizes as the region has them, restricted ones too."""
    found: dict[str, Size] = {}
    for name in names:
        command = ("vm", "list-skus", "--location", location, "--resource-type", "virtualMachines", "--all")
        for entry in cli.ask(*command, "--size", name) or ():
            if entry["name"].casefold() == name.casefold():  # --size matches parts of names
                found[name] = Size.of(entry)
    return found


def read_usages(cli: AzureCli, location: str) -> Mapping[str, Usage]:
    """Return the quotas of Compute and Network in a region, by Azure's names."""
    listed = [
        *(cli.ask("vm", "list-usage", "--location", location) or ()),
        *(cli.ask("network", "list-usages", "--location", location) or ()),
    ]
    usages = (Usage.of(entry) for entry in listed)
    return {usage.name: usage for usage in usages}


def newest_image(cli: AzureCli, location: str) -> str:
    """Return the newest version of the VMs' image in a region; empty where there is none."""
    named = (word for name, value in IMAGE.items() for word in (f"--{name}", value))
    listed = cli.ask("vm", "image", "list", "--location", location, *named, "--all") or ()
    # With --all the options match parts of names: daily builds, those for ARM and of generation 1 come too.
    versions = {str(one["version"]) for one in listed if all(one.get(name) == IMAGE[name] for name in IMAGE)}
    return max(versions, key=_numbers, default="")


def unregistered(cli: AzureCli, namespaces: Collection[str]) -> tuple[str, ...]:
    """Return those of these resource providers that the subscription does not use yet; none where it does not say."""
    query = "[?registrationState=='NotRegistered' || registrationState=='Unregistered'].namespace"
    try:
        listed = cli.ask("provider", "list", "--query", query) or ()
    except AzureCliError:
        return ()
    return tuple(sorted(set(namespaces) & set(listed)))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
