"""What a subscription allows, and what that leaves of a wish: pure, over what `survey` read.

Sources: Microsoft, "Use Azure Spot Virtual Machines" (offers), "Resource SKUs" (capabilities, restrictions), "Usage -
List" of Compute and Network (quotas), "Understand Azure role definitions" (how actions and notActions combine).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from producer.target.roles import Role

SPOT_CORES: Final = "lowPriorityCores"
REGULAR_CORES: Final = "cores"
ADDRESSES: Final = ("PublicIPAddresses", "StandardSkuPublicIpAddresses", "IPv4StandardSkuPublicIpAddresses")
"""Names under which Azure counts public addresses; which of them a region reports differs."""
WITHOUT_SPOT: Final = ("FreeTrial", "AzureForStudents", "DreamSpark")
"""What the quota id of an offer without spot VMs begins with."""
WITH_SPOT: Final = ("EnterpriseAgreement", "PayAsYouGo", "Sponsored", "CSP", "Internal")


@dataclass(frozen=True, slots=True)
class Usage:
    """One quota, and how much of it is used. `name` is Azure's, such as `lowPriorityCores`."""

    name: str
    used: int
    limit: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Usage":
        """Read one entry of `az vm list-usage`, which writes numbers as text, or of `az network list-usages`."""
        return cls(document["name"]["value"], int(document["currentValue"]), int(document["limit"]))


@dataclass(frozen=True, slots=True)
class Size:
    """A VM size in one region."""

    name: str
    family: str
    vcpus: int
    vcpus_per_core: int
    traits: Mapping[str, str]
    """The other capabilities, by Azure's names."""
    restricted: str = ""
    """Why this subscription cannot have it here; empty where it can."""

    @property
    def cores(self) -> int:
        """Return the physical cores, each of which runs one worker."""
        return max(1, self.vcpus // self.vcpus_per_core)

    @property
    def controllers(self) -> frozenset[str]:
        """Return how its disks can be attached, `NVMe` or `SCSI` or both. Older sizes say nothing, and know SCSI."""
        return frozenset(one.strip() for one in self.traits.get("DiskControllerTypes", "SCSI").split(","))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Size":
        """Read one entry of `az vm list-skus --all`."""
        traits = {entry["name"]: str(entry["value"]) for entry in document.get("capabilities") or ()}
        whole = [one for one in document.get("restrictions") or () if one.get("type") == "Location"]
        return cls(
            name=document["name"],
            family=document.get("family") or "",
            vcpus=int(traits.get("vCPUs", "0")),
            vcpus_per_core=int(traits.get("vCPUsPerCore", "1") or "1"),
            traits=traits,
            restricted=str(whole[0].get("reasonCode", "NotAvailable")) if whole else "",
        )


@dataclass(frozen=True, slots=True)
class Permission:
    """One entry of what the caller may do: all of `actions` but `not_actions`. Several entries add up."""

    actions: frozenset[str]
    not_actions: frozenset[str] = frozenset()

    def allows(self, action: str) -> bool:
        """Return whether this entry alone gives `action`."""
        granted, denied = Role("granted", self.actions), Role("denied", self.not_actions)
        return granted.allows(action, is_data=False) and not denied.allows(action, is_data=False)


@dataclass(frozen=True, slots=True)
class Clamped:
    """The maximum that can be kept, and what it was cut by."""

    maximum: int
    by: str = ""
    """One sentence; empty where nothing cut it."""
    quota: str = ""
    """Azure's name of what cut it."""


def missing(permissions: Sequence[Permission], actions: Sequence[str]) -> tuple[str, ...]:
    """Return those of `actions` that no permission gives."""
    return tuple(action for action in actions if not any(one.allows(action) for one in permissions))


def offer_trouble(quota_id: str) -> str:
    """Say why a subscription of this kind has no spot VMs; empty where it has, or where that is not known."""
    if not quota_id.startswith(WITHOUT_SPOT):
        return ""
    return (
        f"This subscription is of the kind {quota_id.partition('_')[0]}, for which Azure sells no spot VMs. "
        "Pay-as-you-go, Enterprise Agreement, Sponsored and CSP have them; or take regular VMs: --regular"
    )


def offer_doubt(quota_id: str) -> str:
    """Say that nobody knows whether this kind of subscription has spot VMs; empty where that is known."""
    if not quota_id or quota_id.startswith((*WITHOUT_SPOT, *WITH_SPOT)):
        return ""
    return f"Whether a subscription of the kind {quota_id} has spot VMs is not known here: --prove shows it."


def size_troubles(size: Size, *, spot: bool, ephemeral: str | None) -> tuple[str, ...]:
    """Return what the template asks of a size and this one has not, one sentence each."""
    traits = size.traits
    wrong = {
        f"is not sold to this subscription here ({size.restricted})": bool(size.restricted),
        "is not sold as a spot VM": spot and traits.get("LowPriorityCapable", "True") != "True",
        f"has a {traits.get('CpuArchitectureType')} processor; releases are for x86-64": (
            traits.get("CpuArchitectureType", "x64") != "x64"
        ),
        "has no generation 2, which the image needs": "V2" not in traits.get("HyperVGenerations", "V2"),
        "has no trusted launch": traits.get("TrustedLaunchDisabled", "False") == "True",
        "has no accelerated networking": traits.get("AcceleratedNetworkingEnabled", "True") != "True",
        "has no local disk for the operating system": (
            ephemeral is not None and traits.get("EphemeralOSDiskSupported", "False") != "True"
        ),
    }
    return tuple(f"{size.name} {what}." for what, holds in wrong.items() if holds)


def clamp(
    wanted: int, sizes: Sequence[Size], usages: Mapping[str, Usage], *, spot: bool, addresses: bool, own: int
) -> Clamped:
    """Return how many VMs the quotas leave of `wanted`. `own` VMs of this deployment are part of what is used.

    A quota that Azure did not report cuts nothing. The result may be 0.
    """
    largest = max(sizes, key=lambda size: size.vcpus)
    cores = (SPOT_CORES,) if spot else (REGULAR_CORES, *{size.family for size in sizes})
    rooms = [(_room(usages, name, max(1, largest.vcpus), own), name) for name in cores]
    rooms += [(_room(usages, name, 1, own), name) for name in ADDRESSES] if addresses else []
    known = [(room, name) for room, name in rooms if room is not None]
    if not known:
        return Clamped(wanted)
    room, name = min(known)
    if room >= wanted:
        return Clamped(wanted)
    usage = usages[name]
    each = f", and one {largest.name} takes {largest.vcpus}" if name not in ADDRESSES else ""
    return Clamped(room, f"the quota {name} ({usage.limit:,}, of which {usage.used:,} are used{each})", name)


def _room(usages: Mapping[str, Usage], name: str, each: int, own: int) -> int | None:
    if name not in usages:
        return None
    usage = usages[name]
    return max(0, usage.limit - usage.used + own * each) // each
