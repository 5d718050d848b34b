"""What the emulated scale set is: its ARM resource, as the template of bicep/ deploys it (see `deployment`)."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from producer.emulator.tokens import Identity
from worker.contract.resource_types import SETS, VMS


@dataclass(frozen=True)
class SetDescription:
    """A Flexible scale set of spot VMs, as deployed; its capacity is not part of it.

    `resource` is the ARM resource (`location`, `tags`, `sku`, `identity`, `properties`) as it was sent, without what
    the service itself adds. `identity` is the user-assigned identity that its VMs get tokens for.
    """

    subscription_id: str
    resource_group: str
    name: str
    identity: Identity
    resource: Mapping[str, Any]

    @property
    def group_id(self) -> str:
        """Resource id of the resource group."""
        return f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"

    @property
    def id(self) -> str:
        """Resource id of the set."""
        return f"{self.group_id}/providers/{SETS}/{self.name}"

    def vm_id(self, vm: str) -> str:
        """Resource id of one of its VMs: with Flexible orchestration, a sibling of the set."""
        return f"{self.group_id}/providers/{VMS}/{vm}"

    @property
    def location(self) -> str:
        """The region."""
        return str(self.resource["location"])

    @property
    def vm_size(self) -> str:
        """The size of its VMs, such as `Standard_F2als_v6`."""
        return str(self.resource["sku"]["name"])

    @property
    def tags(self) -> Mapping[str, str]:
        """Tags of the set, which its VMs inherit."""
        tags: Mapping[str, str] = self.resource.get("tags", {})
        return tags

    @property
    def profile(self) -> Mapping[str, Any]:
        """The profile that VMs are made from."""
        profile: Mapping[str, Any] = self.resource["properties"]["virtualMachineProfile"]
        return profile

    @property
    def custom_data(self) -> bytes:
        """What cloud-init finds on each of its VMs; empty where nothing was deployed for it."""
        return b64decode(self.profile.get("osProfile", {}).get("customData", ""))
