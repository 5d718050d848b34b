"""Azure Resource Manager as producers and VMs meet it: its errors as ours, and instances deleted by name.

Needs azure-mgmt-compute only where it is called, since that takes seconds to import.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.identity import CredentialUnavailableError

from worker.contract.errors import CapacityRefused, FleetDenied, FleetError, SetChanged, Throttled, first_line
from worker.contract.settings import Target

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient

NO_RETRIES: Final = 0
"""Every caller is a loop that looks again before it writes again; the SDK would wait, and then send what is stale."""

_REFUSALS: Final = frozenset(
    {
        "AllocationFailed",
        "OverconstrainedAllocationRequest",
        "OverconstrainedZonalAllocationRequest",
        "PublicIPCountLimitReached",
        "QuotaExceeded",
        "SkuNotAvailable",
        "ZonalAllocationFailed",
    }
)
_RETRY_AFTER_S: Final = 60.0
"""Where a 429 names no time: the buckets of Azure Compute are refilled every minute."""


@contextmanager
def fleet_errors() -> Iterator[None]:
    """Turn the SDK's errors into ours.

    Raises Throttled (429), FleetDenied (401, 403), CapacityRefused (quota, allocation), SetChanged (409, 412, and a
    name that is no instance any more), FleetError (anything else, no answer included).
    """
    try:
        yield
    except CredentialUnavailableError as error:
        raise FleetError(f"No token: {first_line(error)}") from error
    except HttpResponseError as error:
        raise _translated(error) from error
    except AzureError as error:
        raise FleetError(first_line(error)) from error


def delete_instances(client: "ComputeManagementClient", target: Target, names: Sequence[str]) -> None:
    """Ask Azure to delete these instances of the scale set, and wait for nothing.

    Refuses an empty list with ValueError: where ids are left out, some operations mean all instances
    (azure-powershell#21162). Raises what `fleet_errors` raises, and SetChanged for a name that is no instance any more:
    whether Azure answers 400 or 404 to that is not documented.
    """
    from azure.mgmt.compute.models import VirtualMachineScaleSetVMInstanceRequiredIDs

    if not names or not all(names):
        raise ValueError("deleting no instance in particular could mean all of them")
    with fleet_errors():
        try:
            client.virtual_machine_scale_sets.begin_delete_instances(
                target.resource_group,
                target.scale_set,
                VirtualMachineScaleSetVMInstanceRequiredIDs(instance_ids=list(names)),
                polling=False,
                retry_total=NO_RETRIES,
            )
        except ResourceNotFoundError as error:
            raise SetChanged(_said(error)) from error


def _is_refusal(code: str, message: str) -> bool:
    """Return whether an error of Azure Compute says that there is no quota or no capacity.

    A used-up quota comes as OperationNotAllowed, which has other meanings too.
    """
    return code in _REFUSALS or (code == "OperationNotAllowed" and "quota" in message.casefold())


def _code_and_message(error: HttpResponseError) -> tuple[str, str]:
    code = (error.error.code if error.error else "") or ""
    return code, (error.error.message if error.error else "") or (error.message or "").partition("\n")[0]


def _said(error: HttpResponseError) -> str:
    code, message = _code_and_message(error)
    return f"{error.status_code or ''} {code}: {message}".strip(" :")


def _translated(error: HttpResponseError) -> FleetError:
    code, message = _code_and_message(error)
    text = _said(error)
    if error.status_code == 429:
        return Throttled(text, _retry_after_s(error))
    if error.status_code in {401, 403}:
        return FleetDenied(text)
    if _is_refusal(code, message):
        return CapacityRefused(text)
    gone = code == "InvalidParameter" and "instanceid" in message.casefold()
    if error.status_code in {409, 412} or gone:
        return SetChanged(text)
    return FleetError(text)


def _retry_after_s(error: HttpResponseError) -> float:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return _RETRY_AFTER_S
