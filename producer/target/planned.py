"""What a deployment will be: from what a person wishes and what a survey found, pure. Every refusal is said at once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from producer.target.limits import (
    ADDRESSES,
    Permission,
    Size,
    clamp,
    missing,
    offer_doubt,
    offer_trouble,
    size_troubles,
)
from producer.target.survey import Survey
from worker.contract.errors import InputError

PREFIX: Final = "tranq"
SIZE: Final = "Standard_F8als_v6"
MAXIMUM: Final = 10
KEPT: Final = (
    *("prefix", "vms", "price", "maxInstances", "way", "reach", "operators", "wakeEnabled", "sshPublicKey", "tags"),
    *("wakeIntervalMinutes", "readyWithinMinutes", "checkpointRetentionDays"),
)
"""Parameters that a deployment takes from the one before where nobody says otherwise."""
KINDS: Final = ("User", "Group", "ServicePrincipal")
"""What an operator may be; the first where nobody says."""
OPERATOR: Final = re.compile(rf"[0-9a-fA-F]{{8}}(-[0-9a-fA-F]{{4}}){{3}}-[0-9a-fA-F]{{12}}(:({'|'.join(KINDS)}))?")
PRICE: Final = re.compile(r"-1|(0|[1-9]\d*)(\.\d+)?")
DEPLOYS: Final = "Microsoft.Resources/deployments/write"
MAKES_GROUPS: Final = "Microsoft.Resources/subscriptions/resourceGroups/write"
ASSIGNS: Final = "Microsoft.Authorization/roleAssignments/write"
DEFINES: Final = "Microsoft.Authorization/roleDefinitions/write"


@dataclass(frozen=True)
class Wishes:
    """What a person said; None and empty mean: as it was, or the default."""

    group: str
    prefix: str = ""
    maximum: int | None = None
    sizes: tuple[str, ...] = ()
    slots: int | None = None
    max_price: str = ""
    """USD per VM and hour."""
    regular: bool = False
    nat_gateway: bool | None = None
    operator_addresses: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    """Object ids, each with `:User`, `:Group` or `:ServicePrincipal` after it or nothing."""
    wake: bool | None = None
    ssh_key: str = ""
    image: str = ""
    custom_roles: bool | None = None
    while_running: bool = False


@dataclass(frozen=True)
class Planned:
    """A deployment that can be sent."""

    parameters: Mapping[str, Any]
    """Plain values, by the names of bicep/main.bicep."""
    notes: tuple[str, ...]
    """What the person should know, one sentence each."""
    make_group: bool


def needed_rights(snapshot: Mapping[str, Any], *, custom_roles: bool) -> tuple[str, ...]:
    """Return the actions that sending the template takes: one write for every kind of resource in its snapshot."""
    kinds = {resource["type"] for resource in snapshot["predictedResources"]}
    writes = {DEPLOYS, *(f"{kind}/write" for kind in kinds)}
    return tuple(sorted(writes if custom_roles else writes - {DEFINES}))


def sizes_wished(wishes: Wishes, before: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the VM sizes that a deployment would have."""
    return wishes.sizes or tuple((before.get("vms") or {}).get("sizes") or (SIZE,))


def plan(wishes: Wishes, survey: Survey, snapshot: Mapping[str, Any]) -> Planned:
    """Return the deployment. Raises InputError with everything that stands against it."""
    kept = {name: survey.before.parameters[name] for name in KEPT if survey.before.parameters.get(name) is not None}
    price = _price(wishes, kept)
    spot = price["priority"] == "spot"
    roles = _custom_roles(wishes, survey.permissions)
    names = sizes_wished(wishes, kept)
    sizes = [survey.sizes[name] for name in names if name in survey.sizes]
    against = [
        *_running(wishes, survey),
        *_rights(survey, snapshot, custom_roles=roles),
        *_offer(survey, spot=spot),
        *_sizes(names, sizes, kept, survey, spot=spot),
        *_given(wishes, survey, kept),
    ]
    if against:
        raise InputError("\n".join(dict.fromkeys(against)))
    vms = _vms(wishes, kept, names, sizes)
    way = _way(wishes, kept)
    wanted = wishes.maximum or int(kept.get("maxInstances", MAXIMUM))
    limit = clamp(
        wanted,
        sizes,
        survey.usages,
        spot=spot,
        addresses=way["mode"] == "instanceAddress",
        own=len(survey.before.instances),
    )
    if limit.maximum < 1:
        instead = (
            "take one gateway for all VMs (--nat-gateway)" if limit.quota in ADDRESSES else "take a smaller --size"
        )
        raise InputError(f"Not one VM would fit into {limit.by}: {instead}, {_more_quota(survey.location)}")
    parameters = {
        **kept,
        "location": survey.location,
        "prefix": wishes.prefix or kept.get("prefix", PREFIX),
        "vms": vms,
        "price": price,
        "way": way,
        "reach": _reach(wishes, kept),
        "operators": _operators(wishes, kept),
        "maxInstances": limit.maximum,
        "wakeEnabled": kept.get("wakeEnabled", True) if wishes.wake is None else wishes.wake,
        "customRoles": roles,
        "deployerKind": "User" if survey.account.is_person else "ServicePrincipal",
        "sshPublicKey": wishes.ssh_key or kept["sshPublicKey"],
        "imageVersion": _image(wishes, survey),
    }
    return Planned(parameters, tuple(_notes(survey, wanted, limit.by, parameters)), not survey.group.exists)


def _more_quota(location: str) -> str:
    return f"ask for more in the portal (Quotas → Compute or Networking, region {location}), or take another region."


# ---- what stands against it ------------------------------------------------------------------------------------------


def _running(wishes: Wishes, survey: Survey) -> Iterator[str]:
    before = survey.before
    if before.alive and not wishes.while_running:
        shown = ", ".join(before.instances[:3]) or f"a capacity of {before.capacity}"
        more = ", …" if len(before.instances) > 3 else ""
        yield (
            f"The set has VMs ({shown}{more}). They keep the model that they were made from, and a set that follows "
            "its queue while it is written could lose some: wait until it is at zero, or say --while-running."
        )


def _rights(survey: Survey, snapshot: Mapping[str, Any], *, custom_roles: bool) -> Iterator[str]:
    if survey.permissions is None:
        return
    needed = needed_rights(snapshot, custom_roles=custom_roles)
    lacking = missing(survey.permissions, needed if survey.group.exists else (MAKES_GROUPS, *needed))
    if lacking:
        where = f"the group {survey.group.name}" if survey.group.exists else "the subscription"
        shown = ", ".join(lacking[:4]) + (", …" if len(lacking) > 4 else "")
        yield (
            f"{survey.account.user} may not deploy into {where}, for want of {shown}. Owner has all of it; so have "
            "Contributor and User Access Administrator together."
        )


def _custom_roles(wishes: Wishes, permissions: Sequence[Permission] | None) -> bool:
    """Return whether to define roles: as wished, else as far as the caller may."""
    if wishes.custom_roles is not None or permissions is None:
        return wishes.custom_roles is not False
    return not missing(permissions, [DEFINES]) or bool(missing(permissions, [ASSIGNS]))


def _offer(survey: Survey, *, spot: bool) -> Iterator[str]:
    trouble = offer_trouble(survey.account.quota_id) if spot else ""
    if trouble:
        yield trouble


def _sizes(
    names: Sequence[str], sizes: Sequence[Size], kept: Mapping[str, Any], survey: Survey, *, spot: bool
) -> Iterator[str]:
    for name in names:
        if name not in survey.sizes:
            yield f"{survey.location} has no VM size {name}: az vm list-sizes --location {survey.location}"
    if sizes and not _controllers(sizes):
        yield (
            f"{', '.join(size.name for size in sizes)} cannot be mixed: some attach disks by NVMe "
            "alone, others by SCSI alone."
        )
    ephemeral = (kept.get("vms") or {}).get("ephemeral")
    for size in sizes:
        yield from size_troubles(size, spot=spot, ephemeral=ephemeral)


def _given(wishes: Wishes, survey: Survey, kept: Mapping[str, Any]) -> Iterator[str]:
    if not (wishes.ssh_key or kept.get("sshPublicKey")):
        yield "There is no ~/.ssh/id_ed25519.pub or id_rsa.pub here: make one (ssh-keygen), or name one with --ssh-key."
    if wishes.prefix and not re.fullmatch(r"[a-z][a-z0-9]{2,10}", wishes.prefix):
        yield f"{wishes.prefix!r} cannot begin names in Azure: 3 to 11 lower case letters and digits, a letter first."
    if wishes.max_price and not (PRICE.fullmatch(wishes.max_price) and float(wishes.max_price)):
        yield (
            f"{wishes.max_price!r} is no price: --max-price takes USD per VM and hour as a decimal number above 0, "
            "such as 0.12, or -1 for up to the regular price."
        )
    if wishes.max_price and wishes.regular:
        yield (
            "--regular and --max-price contradict each other: a regular VM costs its regular price. For spot VMs up to "
            "a price, leave --regular out."
        )
    for who in wishes.operators:
        if not OPERATOR.fullmatch(who):
            yield (
                f"{who!r} is no operator: --operator takes an object id of Entra ID, with :Group or :ServicePrincipal "
                "after it where it is not that of a person (az ad user show --id ada@example.com --query id)."
            )
    if not _image(wishes, survey):
        yield f"{survey.location} has no image Canonical:ubuntu-24_04-lts:server: name its version with --image."
    if wishes.custom_roles is False and wishes.wake is False:
        yield "Without custom roles VMs cannot delete themselves; without the wake nothing would clear a forgotten set."


# ---- parameters ------------------------------------------------------------------------------------------------------


def _price(wishes: Wishes, kept: Mapping[str, Any]) -> Mapping[str, Any]:
    if wishes.regular:
        return {"priority": "regular"}
    before = kept.get("price") or {"priority": "spot"}
    return {**before, "priority": "spot", "maxPrice": wishes.max_price} if wishes.max_price else before


def _vms(wishes: Wishes, kept: Mapping[str, Any], names: Sequence[str], sizes: Sequence[Size]) -> Mapping[str, Any]:
    before = kept.get("vms") or {}
    same = tuple(before.get("sizes") or ()) == tuple(names)
    slots = wishes.slots or (before.get("slotsPerInstance") if same else None) or min(size.cores for size in sizes)
    kept_too = {name: before[name] for name in ("ephemeral", "diskController") if same and before.get(name)}
    # Said, where there is no choice: left to itself, Azure was seen to take SCSI (machine-controller#1980).
    needed = {"diskController": "NVMe"} if _controllers(sizes) == {"NVMe"} else {}
    return {"sizes": list(names), "slotsPerInstance": slots, **needed, **kept_too}


def _controllers(sizes: Sequence[Size]) -> frozenset[str]:
    """Return how the disks of all these sizes can be attached."""
    return frozenset.intersection(*(size.controllers for size in sizes))


def _way(wishes: Wishes, kept: Mapping[str, Any]) -> Mapping[str, Any]:
    if wishes.nat_gateway is None:
        return kept.get("way") or {"mode": "instanceAddress"}
    return {"mode": "natGateway" if wishes.nat_gateway else "instanceAddress"}


def _reach(wishes: Wishes, kept: Mapping[str, Any]) -> Mapping[str, Any]:
    if wishes.operator_addresses:
        return {"mode": "closed", "operatorAddresses": list(wishes.operator_addresses)}
    return kept.get("reach") or {"mode": "open"}


def _operators(wishes: Wishes, kept: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    known = {one["objectId"]: one for one in kept.get("operators") or ()}
    for who in wishes.operators:
        object_id, _, kind = who.partition(":")
        was = known.get(object_id, {}).get("kind", KINDS[0])
        known[object_id] = {"objectId": object_id, "kind": kind or was}
    return list(known.values())


def _image(wishes: Wishes, survey: Survey) -> str:
    """VMs that run and those that come belong to one sweep: a newer C library would end bit-exact resumption."""
    return wishes.image or (survey.before.image if survey.before.alive else "") or survey.newest_image


def _notes(survey: Survey, wanted: int, cut_by: str, parameters: Mapping[str, Any]) -> Iterator[str]:
    if cut_by:
        yield (
            f"At most {parameters['maxInstances']} VMs instead of {wanted}, by {cut_by}. For more, "
            f"{_more_quota(survey.location)}"
        )
    if parameters["price"]["priority"] == "spot" and (doubt := offer_doubt(survey.account.quota_id)):
        yield doubt
    if not parameters["customRoles"]:
        yield (
            "No custom roles are defined, and built-in ones taken: idle VMs cannot delete themselves. While "
            "tranquility scale --watch runs, it deletes them after some minutes; else all are billed for about 100 "
            "minutes after the last commit, until the wake clears the set."
        )
    if survey.permissions is None:
        yield "Azure did not say what you may do here: the deployment itself will."
    if not parameters["wakeEnabled"]:
        yield "No wake: with the laptop closed, evicted VMs are not replaced."
