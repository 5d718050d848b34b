"""The clients: one way to authenticate and to wait, for Azure and for the emulator alike."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from azure.core.credentials import TokenCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import (
    AzureCliCredential,
    ChainedTokenCredential,
    CredentialUnavailableError,
    DefaultAzureCredential,
    ManagedIdentityCredential,
)
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueServiceClient

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient

from worker.contract.errors import AccessDenied, ConditionFailed, MessageGone, StorageUnavailable, first_line
from worker.contract.permissions import Service, UnknownRequest, need_of_storage_url
from worker.contract.settings import Target
from worker.contract.sign_in import SignedIn

# azure-identity would write a page of warnings for each token that it does not get; our errors say what they say.
logging.getLogger("azure").addHandler(logging.NullHandler())

SINGLE_PUT_BYTES = 256 * 1024 * 1024
"""Every blob of ours is written by one atomic Put Blob: the service takes 5,000 MiB."""
BLOCK_BYTES = 4 * 1024 * 1024

# The SDK's defaults (15 s before the first retry, 60 s to read) do not fit into a 30 s eviction notice.
PATIENCE: dict[str, Any] = {
    "connection_timeout": 3,
    "read_timeout": 10,
    "retry_total": 3,
    "initial_backoff": 0.5,
    "increment_base": 2,
    "retry_to_secondary": False,
}


SLOWEST_BYTES_PER_S = 200_000
"""Of an uplink that tranquility works on: a laptop's."""


def time_to_send(length: int) -> dict[str, Any]:
    """Return the time-outs of a request with so large a body, as options of the SDK's calls.

    Both are stretched: while a body is sent the time-out is the one for connecting, and over TLS it holds for the whole
    body and not from one packet to the next; on a slow line the answer comes as much later.
    """
    seconds = length / SLOWEST_BYTES_PER_S
    return {name: max(PATIENCE[name], seconds) for name in ("connection_timeout", "read_timeout")}


CLI_PATIENCE_S = 60
"""The Azure CLI is a large program, and a laptop may be busy or its disk slow."""


class ObservedTransport(RequestsTransport):  # type: ignore[misc]  # azure-core loads it by __getattr__: Any to mypy
    """Calls back for every request that has come back, failed or not: an outage must not look like a hang.

    The clients of Storage take no policies of ours: azure-storage builds its pipeline itself.
    """

    def __init__(self, observed: Callable[[], None], **settings: Any) -> None:
        super().__init__(**settings)
        self._observed = observed

    def send(self, request: Any, **options: Any) -> Any:
        """Send once; the SDK's retries come here each time."""
        try:
            return super().send(request, **options)
        finally:
            self._observed()


def credential(target: Target) -> TokenCredential:
    """Return the identity that this process acts as.

    On a VM, and on an emulated one, that is the managed identity. The emulator answers for the laptop's user too, as a
    managed identity at `target.imds_endpoint`. On a laptop it is who `deploy` acted as, the Azure CLI's account for the
    subscription, and only where that has none whom azure-identity finds: left to itself, it would prefer the identity
    of a development VM, or of an editor. Where `AZURE_TOKEN_CREDENTIALS` is set, it alone decides.
    """
    if target.imds_endpoint:
        os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = target.imds_endpoint  # azure-identity reads nothing else
    if target.imds_endpoint or target.identity_id:
        identity = {"resource_id": target.identity_id} if target.identity_id else None
        return ManagedIdentityCredential(identity_config=identity, transport=_transport(target))
    if os.environ.get("AZURE_TOKEN_CREDENTIALS"):
        return SignedIn(DefaultAzureCredential())
    cli = AzureCliCredential(subscription=target.subscription_id, process_timeout=CLI_PATIENCE_S)
    return SignedIn(ChainedTokenCredential(cli, DefaultAzureCredential(exclude_cli_credential=True)))


def blob_service(
    target: Target, identity: TokenCredential, observed: Callable[[], None] | None = None
) -> BlobServiceClient:
    """Return a client of the storage account's blobs."""
    return BlobServiceClient(
        target.blob_endpoint,
        credential=identity,
        max_single_put_size=SINGLE_PUT_BYTES,
        max_single_get_size=BLOCK_BYTES,
        max_chunk_get_size=BLOCK_BYTES,
        **_common(target, observed),
    )


def queue_service(
    target: Target, identity: TokenCredential, observed: Callable[[], None] | None = None
) -> QueueServiceClient:
    """Return a client of the storage account's queues."""
    return QueueServiceClient(target.queue_endpoint, credential=identity, **_common(target, observed))


def compute_client(target: Target, identity: TokenCredential) -> "ComputeManagementClient":
    """Return a client of Azure Resource Manager's compute provider."""
    from azure.mgmt.compute import ComputeManagementClient  # slow to import, and few processes need it

    return ComputeManagementClient(
        identity,
        target.subscription_id,
        base_url=target.arm_endpoint,
        credential_scopes=["https://management.azure.com/.default"],
        transport=_transport(target),
        retry_total=3,
        retry_backoff_factor=0.5,
    )


def _common(target: Target, observed: Callable[[], None] | None) -> dict[str, Any]:
    return {"transport": _transport(target, observed), **PATIENCE}


def _transport(target: Target, observed: Callable[[], None] | None = None) -> RequestsTransport:
    """Return the HTTP layer. A local target has its own CA, and no proxy variable must come between."""
    settings: dict[str, Any] = {
        "connection_timeout": PATIENCE["connection_timeout"],
        "read_timeout": PATIENCE["read_timeout"],
        "connection_verify": str(target.ca_file) if target.ca_file else True,
        "use_env_settings": target.kind != "local",
    }
    return ObservedTransport(observed, **settings) if observed else RequestsTransport(**settings)


@contextmanager
def storage_errors(service: Service, endpoint: str) -> Iterator[None]:
    """Turn the SDK's errors into ours; what a caller handles itself (404, 409, 412) it catches inside.

    `endpoint` is that of the storage account whose `service` is asked.
    """
    try:
        yield
    except (ConditionFailed, MessageGone):
        raise
    except CredentialUnavailableError as error:
        raise StorageUnavailable(f"No token: {first_line(error)}") from error
    except HttpResponseError as error:
        if error.status_code in {401, 403}:
            raise AccessDenied(f"{_brief(error)}{_way_in(error, service, endpoint)}") from error
        raise StorageUnavailable(_brief(error)) from error
    except AzureError as error:
        raise StorageUnavailable(first_line(error)) from error


def _brief(error: HttpResponseError) -> str:
    code = getattr(error, "error_code", None) or (error.error.code if error.error else "")
    said = (str(error.status_code or ""), code, first_line(error) if error.message else "")
    return " ".join(part for part in said if part)


def _way_in(error: HttpResponseError, service: Service, endpoint: str) -> str:
    """Say what a denied request lacked: Azure names neither the action nor, among many requests, which one it was."""
    code, request = getattr(error, "error_code", None), getattr(error.response, "request", None)
    if code == "AuthorizationFailure":
        return " That is what the network rules of the storage account answer: they do not let this address in."
    if code != "AuthorizationPermissionMismatch" or request is None:
        return ""
    try:
        need = need_of_storage_url(service, endpoint, request.method, request.url)
    except UnknownRequest:
        return ""
    return f" It takes {need}."
