"""The instance metadata service (IMDS): what Azure tells a VM about itself, on Azure and in the emulator."""

import http.client
import json
import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from worker.contract.errors import MetadataUnavailable
from worker.contract.runtime import Event, Runtime

AZURE: Final = "http://169.254.169.254"
REDIRECT: Final = "AZURE_POD_IDENTITY_AUTHORITY_HOST"
"""azure-identity's name for another metadata service; the emulator has one for each instance."""
_ANSWER_S: Final = 5.0
_MAX_BYTES: Final = 1_000_000


class InstanceMetadata(BaseModel):
    """What we want to know of `compute`; Azure tells more."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    name: str = Field(min_length=1)
    """The VM's name: in a Flexible set that is also its instance id."""
    vm_id: str = Field(default="", alias="vmId")
    resource_id: str = Field(default="", alias="resourceId")
    scale_set: str = Field(default="", alias="vmScaleSetName")
    resource_group: str = Field(default="", alias="resourceGroupName")
    subscription_id: str = Field(default="", alias="subscriptionId")
    location: str = ""
    size: str = Field(default="", alias="vmSize")
    priority: str = ""


class Imds:
    """A client of the metadata service. It takes no proxy and follows no redirect: the service is on this machine."""

    def __init__(self, base_url: str) -> None:
        address = urlsplit(base_url)
        self._host, self._port = address.hostname or "", address.port or 80

    def get(self, path: str, api_version: str, timeout_s: float = _ANSWER_S) -> Any:
        """GET a JSON document. Raises MetadataUnavailable for anything else than 200 and JSON."""
        connection = http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        query = urlencode({"api-version": api_version})
        try:
            connection.request("GET", f"{path}?{query}", headers={"Metadata": "true"})
            answer = connection.getresponse()
            body = answer.read(_MAX_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise MetadataUnavailable(f"GET {path}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise MetadataUnavailable(f"GET {path}: HTTP {answer.status}", answer.status)
        try:
            return json.loads(body)
        except ValueError as error:
            raise MetadataUnavailable(f"GET {path}: not JSON", answer.status) from error

    def instance(self, timeout_s: float = _ANSWER_S) -> InstanceMetadata:
        """Return what this VM is. Raises MetadataUnavailable."""
        document = self.get("/metadata/instance", "2021-02-01", timeout_s)
        try:
            return InstanceMetadata.model_validate(document.get("compute") if isinstance(document, dict) else None)
        except ValidationError as error:
            raise MetadataUnavailable(f"GET /metadata/instance: {error}") from error


def imds(environment: Mapping[str, str] = os.environ) -> Imds:
    """Return the metadata service of this VM, or the emulator's for this instance."""
    return Imds(environment.get(REDIRECT) or AZURE)


def own_name(service: Imds, runtime: Runtime, stop: Event) -> str:
    """Ask for this VM's name until there is an answer: at boot the service may be late. Empty if `stop` came first."""
    while not stop.is_set():
        try:
            return service.instance().name
        except MetadataUnavailable:
            runtime.wait(stop, _ANSWER_S)
    return ""
