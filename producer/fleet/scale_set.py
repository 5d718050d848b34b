"""The scale set, and Azure Virtual Machine Scale Sets (Flexible orchestration) as the answer.

The only part of the producer that uses azure-mgmt-compute. Every call looks or asks and waits for nothing: what became
of it is seen by the next look.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError

from producer.fleet.look import Instance, ScaleSetState
from worker.contract.arm import NO_RETRIES, delete_instances, fleet_errors
from worker.contract.errors import FleetError, Throttled, TranquilityError
from worker.contract.runtime import Runtime
from worker.contract.settings import Target

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient
    from azure.mgmt.compute.models import InstanceViewStatus, VirtualMachine


class ScaleSet(Protocol):
    """A set of VMs. All methods raise Throttled, FleetDenied or FleetError."""

    def read(self) -> ScaleSetState:
        """Return capacity, ETag and instances; the ETag was read before the instances."""

    def raise_to(self, capacity: int, etag: str) -> None:
        """Ask for more instances if the set still has this ETag. Raises SetChanged, CapacityRefused."""

    def clear(self, etag: str) -> None:
        """Ask for a capacity of 0, only for a set without instances, if it still has this ETag. Raises SetChanged."""

    def delete(self, names: Sequence[str]) -> None:
        """Ask for these instances, and no others, to be deleted. Raises SetChanged where one is gone already."""


class AzureScaleSet:
    """A scale set of Azure."""

    def __init__(self, client: "ComputeManagementClient", target: Target) -> None:
        self._client = client
        self._target = target

    def read(self) -> ScaleSetState:
        """Read the set, then all its instances with their power state in one call."""
        with fleet_errors():
            try:
                found = self._client.virtual_machine_scale_sets.get(
                    self._target.resource_group, self._target.scale_set, retry_total=NO_RETRIES
                )
            except ResourceNotFoundError as error:
                raise FleetError(
                    f"There is no scale set {self._target.scale_set} in the resource group "
                    f"{self._target.resource_group}: is it deployed?"
                ) from error
            # `expand` is allowed only together with this filter; of a Flexible set, the set's own list gives ids only.
            listed = self._client.virtual_machines.list(
                self._target.resource_group,
                filter=f"'virtualMachineScaleSet/id' eq '{found.id}'",
                expand="instanceView",
                retry_total=NO_RETRIES,
            )
            instances = tuple(_instance(vm) for vm in listed)
        if found.sku is None or found.sku.capacity is None or not found.etag:
            raise FleetError(f"Azure answered without the capacity or the ETag of {self._target.scale_set}.")
        return ScaleSetState(int(found.sku.capacity), found.etag, instances)

    def raise_to(self, capacity: int, etag: str) -> None:
        """PATCH the capacity, with If-Match."""
        if capacity < 1:
            raise ValueError(f"a raise to {capacity}")
        self._patch(capacity, etag)

    def clear(self, etag: str) -> None:
        """PATCH the capacity to 0, with If-Match."""
        self._patch(0, etag)

    def delete(self, names: Sequence[str]) -> None:
        """POST the names to the set's `delete`."""
        delete_instances(self._client, self._target, names)

    def _patch(self, capacity: int, etag: str) -> None:
        from azure.mgmt.compute.models import Sku, VirtualMachineScaleSetUpdate

        # Nothing but the capacity: a whole model would overwrite it, and need rights on all that it links to
        # (cloud-provider-azure#630, vm-scale-sets#72).
        body = VirtualMachineScaleSetUpdate(sku=Sku(capacity=capacity))
        with fleet_errors():
            self._client.virtual_machine_scale_sets.begin_update(
                self._target.resource_group,
                self._target.scale_set,
                body,
                etag=etag,
                match_condition=MatchConditions.IfNotModified,
                polling=False,
                retry_total=NO_RETRIES,
            )


def _instance(vm: "VirtualMachine") -> Instance:
    statuses = (vm.instance_view.statuses if vm.instance_view else None) or []
    return Instance(
        name=vm.name or "",
        provisioning=vm.provisioning_state or "",
        power=_after("PowerState/", statuses),
        problem=" ".join(status.message for status in statuses if status.message and _is_error(status)),
    )


def _after(prefix: str, statuses: Sequence["InstanceViewStatus"]) -> str:
    codes = [status.code or "" for status in statuses]
    return next((code.removeprefix(prefix) for code in codes if code.startswith(prefix)), "")


def _is_error(status: "InstanceViewStatus") -> bool:
    return str(status.level).casefold() == "error" or (status.code or "").startswith("ProvisioningState/failed")


class Glances:
    """A scale set for whoever only watches: asks Azure seldom, since it allows 12 looks a minute, and remembers."""

    def __init__(self, connect: Callable[[], ScaleSet], runtime: Runtime, every_s: float) -> None:
        """`connect` is called at the first look: the client of Azure Compute takes a quarter of a second to load."""
        self._connect = connect
        self._scale_set: ScaleSet | None = None
        self._runtime = runtime
        self._every_s = every_s
        self._looked_s = float("-inf")
        self._seen: ScaleSetState | TranquilityError = FleetError("Nobody has looked at the scale set yet.")

    def read(self) -> ScaleSetState:
        """Return the set as it was at most `every_s` ago, or longer while Azure asks for fewer requests.

        Raises what the last look raised.
        """
        now_s = self._runtime.monotonic()
        if now_s - self._looked_s >= self._every_s:
            self._scale_set = self._scale_set or self._connect()
            self._looked_s = now_s  # a look that fails is a request all the same
            self._seen = self._look(self._scale_set)
        if isinstance(self._seen, TranquilityError):
            raise self._seen
        return self._seen

    def _look(self, scale_set: ScaleSet) -> ScaleSetState | TranquilityError:
        try:
            return scale_set.read()
        except Throttled as error:
            return self._seen if isinstance(self._seen, ScaleSetState) else error
        except TranquilityError as error:
            return error
