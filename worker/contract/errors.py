"""Every error of tranquility. The docstring of a class is the first sentence of its message.

TranquilityError
├── InputError             wrong usage or input (exit code 2)
│   └── NoTarget
├── StorageError
│   ├── ConditionFailed    a conditional write met another state
│   ├── AccessDenied
│   └── StorageUnavailable
├── FleetError             Azure Resource Manager refused or did not answer
│   ├── SetChanged         someone else changed the scale set between our look and our write
│   ├── Throttled          HTTP 429; carries how long to wait
│   ├── CapacityRefused    no quota, no spot capacity
│   ├── FleetDenied
│   └── NotSignedIn        on a laptop; a StorageUnavailable, too
├── MetadataUnavailable    the instance metadata service
├── MessageGone            the pop receipt is no longer good
├── MessageRejected        what the message holds can never be a job
├── NewerSchema            this code is older than the message
├── OwnershipLost          another claim owns the job
├── CheckpointCorrupt
├── Diverged
└── BadConfiguration
"""

import inspect


class TranquilityError(Exception):
    """Something in tranquility failed."""

    def __init__(self, detail: str = "") -> None:
        self.detail = detail
        headline = (inspect.getdoc(type(self)) or "").split("\n\n", 1)[0].replace("\n", " ")
        super().__init__(f"{headline} {detail}".strip())


class InputError(TranquilityError):
    """This input cannot be used."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.args = (detail,)  # the person reads what is wrong, not our headline


class NoTarget(InputError):
    """There is no target to work on."""


class StorageError(TranquilityError):
    """Azure Storage refused or did not answer."""


class ConditionFailed(StorageError):
    """A conditional write found another state of the blob than it expected."""


class AccessDenied(StorageError):
    """Azure Storage denied access: the identity lacks a role, or the role has not taken effect yet."""


class StorageUnavailable(StorageError):
    """Azure Storage did not answer in time."""


class FleetError(TranquilityError):
    """Azure Resource Manager refused or did not answer."""


class SetChanged(FleetError):
    """The scale set was changed, or is being changed, by someone else."""


class Throttled(FleetError):
    """Azure Resource Manager asks for fewer requests."""

    def __init__(self, detail: str, retry_after_s: float) -> None:
        super().__init__(detail)
        self.retry_after_s = retry_after_s


class CapacityRefused(FleetError):
    """Azure grants no more VMs now: the quota is used up, or the region has no spot capacity left."""


class NotSignedIn(StorageUnavailable, FleetError):
    """The Azure CLI gave no token: sign in with `az login`, then call this again."""


class FleetDenied(FleetError):
    """Azure Resource Manager denied access: the identity lacks a role, or the role has not taken effect yet."""


class MetadataUnavailable(TranquilityError):
    """The instance metadata service did not answer as it should."""

    def __init__(self, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.status = status
        """HTTP status; 0 where there was no answer."""


class MessageGone(TranquilityError):
    """The message was deleted, or received by another worker."""


class MessageRejected(TranquilityError):
    """The message can never become a job."""


class NewerSchema(TranquilityError):
    """The message was written by a newer release than this one."""


class OwnershipLost(TranquilityError):
    """Another claim owns this job now."""


class CheckpointCorrupt(TranquilityError):
    """A blob of the checkpoint does not hold what the manifest says."""


class Diverged(TranquilityError):
    """Training produced a loss or weights that are not finite."""


class BadConfiguration(TranquilityError):
    """The job's configuration cannot be trained."""


def first_line(error: Exception) -> str:
    """Return the first line of what a library's error says, or its name where it says nothing."""
    lines = str(getattr(error, "message", None) or error).splitlines()
    return next((line for line in lines if line.strip()), type(error).__name__)
