"""What can be said of the emulated scale set at one moment: values that its model makes and others show."""

import zlib
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Provisioning(StrEnum):
    """`provisioningState` of a VM, or of the set."""

    CREATING = "Creating"
    UPDATING = "Updating"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    DELETING = "Deleting"


class Power(StrEnum):
    """`PowerState/…` of a VM."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Status(StrEnum):
    """Status of a long-running operation."""

    IN_PROGRESS = "InProgress"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


@dataclass(frozen=True)
class Problem:
    """Why something failed, as Azure words it."""

    code: str
    message: str


class Refused(Exception):
    """The set does not do what was asked. `problem.code` says why in Azure's terms."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.problem = Problem(code, message)


@dataclass(frozen=True)
class Vm:
    """A VM of the set at one moment."""

    name: str
    vm_id: str
    created: datetime
    provisioning: Provisioning = Provisioning.CREATING
    power: Power | None = None
    problem: Problem | None = None

    @property
    def etag(self) -> str:
        """Another one with every state that clients see."""
        return f"{zlib.crc32(repr(self).encode()):08x}"


class Kind(StrEnum):
    """What a VM consists of besides itself, by the names of the resource types."""

    DISK = "disks"
    INTERFACE = "networkInterfaces"
    ADDRESS = "publicIPAddresses"


@dataclass(frozen=True)
class Part:
    """One part of a VM. It should go with its VM, and is orphaned where it did not."""

    kind: Kind
    vm: Vm
    orphaned: bool = False


@dataclass(frozen=True)
class Operation:
    """A long-running operation at one moment."""

    operation_id: str
    started: datetime
    ended: datetime | None = None
    status: Status = Status.IN_PROGRESS
    problem: Problem | None = None
    updates_set: bool = False
    """Whether the set itself is what it results in."""


@dataclass(frozen=True)
class Boot:
    """The world has to start this VM."""

    vm: Vm


@dataclass(frozen=True)
class Kill:
    """The world has to cut this VM's power."""

    name: str


Effect = Boot | Kill


@dataclass(frozen=True)
class Latencies:
    """How long Azure takes, in seconds: from the request to a running VM, to a VM that is gone, and the notice before
    an eviction."""

    boot_s: float
    delete_s: float
    notice_s: float = 30.0
