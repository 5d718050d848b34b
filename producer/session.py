"""What every command works with: the target and its clients."""

import getpass
import os
import socket
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import ValidationError

from worker.contract import azure, names
from worker.contract.control import Control
from worker.contract.errors import InputError, NoTarget
from worker.contract.queue import AzureQueue, MessageQueue
from worker.contract.records import AzureBlobs, BlobStore
from worker.contract.runtime import RealRuntime, Runtime
from worker.contract.settings import Durations, Target

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient

TARGET_VARIABLE = "TRANQUILITY_TARGET"
HOME = Path(".tranquility")
"""In the folder where commands are called: target files, and the data of a local fleet."""
LOCAL_TARGET = HOME / "local.json"
AZURE_TARGET = HOME / "azure.json"


@dataclass(frozen=True)
class Session:
    """A target, and how to talk to it."""

    target: Target
    durations: Durations
    blobs: BlobStore
    jobs: MessageQueue
    poison: MessageQueue
    runtime: Runtime
    user: str
    """Who enqueues: for people, not a proof of identity."""

    @cached_property
    def control(self) -> Control:
        """Return the container `control`."""
        return Control(self.blobs)

    @cached_property
    def compute(self) -> "ComputeManagementClient":
        """Return the client of the scale set."""
        return azure.compute_client(self.target, azure.credential(self.target))


def open_session(target_file: Path | None = None) -> Session:
    """Connect to the target: the file given, or $TRANQUILITY_TARGET, or a running local fleet, or the Azure target.

    Raises InputError, and NoTarget where there is none, or where it is a fleet of this machine that runs no more.
    """
    file = target_file or find_target()
    target = read_target(file)
    if target.kind == "local" and not _runs(target):
        raise NoTarget(
            f"{file} names a fleet on this machine that ended without clearing up: tranquility local up, in its "
            f"folder, starts it again. To work on another target, remove {file}."
        )
    identity = azure.credential(target)
    queues = azure.queue_service(target, identity)
    return Session(
        target=target,
        durations=Durations().scaled(target.time_scale),
        blobs=AzureBlobs(azure.blob_service(target, identity)),
        jobs=AzureQueue(queues.get_queue_client(names.JOBS_QUEUE)),
        poison=AzureQueue(queues.get_queue_client(names.POISON_QUEUE)),
        runtime=RealRuntime(),
        user=user_name(),
    )


def user_name() -> str:
    """Return who calls this, for people; a container may run as a number that no account stands for."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # OSError from Python 3.13 on
        return f"user {os.getuid()}"


def find_target() -> Path:
    """Return the target file that commands called in this folder are about. Raises NoTarget."""
    named = os.environ.get(TARGET_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise NoTarget(f"{TARGET_VARIABLE} names {named}, and there is no such file.")
        return Path(named)
    for candidate in (LOCAL_TARGET, AZURE_TARGET):
        if candidate.is_file():
            return candidate
    raise NoTarget(
        "No target is configured here. Either start a fleet on this machine in another terminal of this folder "
        "(tranquility local up), or name the settings of a deployed one "
        f"({TARGET_VARIABLE}=FILE, or {AZURE_TARGET} as tranquility deploy writes it)."
    )


def read_target(path: Path) -> Target:
    """Read a target file. Raises InputError with what is wrong in it."""
    try:
        return Target.read(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read as a target: {error.strerror}. tranquility local up writes {LOCAL_TARGET}, "
            f"tranquility deploy {AZURE_TARGET}."
        ) from error
    except (ValidationError, ValueError) as error:
        raise InputError(f"{path} is not a target file: {error}") from error


def _runs(target: Target) -> bool:
    """Return whether something listens where a local fleet gives tokens: without one the SDK tries for a minute."""
    address = urlsplit(target.imds_endpoint)
    try:
        with socket.create_connection((address.hostname or "", address.port or 80), timeout=3):
            return True
    except TimeoutError:
        return True  # a machine that is too busy to answer is not one where nobody listens
    except OSError:
        return False
