"""Reads of Azure Resource Manager that azure-mgmt-compute has no operation for: interfaces, addresses, disks, the wake.

They go through its client all the same, with its tokens, retries and transport.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest

from worker.contract.arm import fleet_errors
from worker.contract.settings import Target

if TYPE_CHECKING:
    from azure.mgmt.compute import ComputeManagementClient


@dataclass(frozen=True)
class Listing:
    """What a list holds, and when Azure said so, by its own clock."""

    items: tuple[Mapping[str, Any], ...]
    date: datetime


class ArmReader:
    """Reads of one target's resource group. Every method raises what `fleet_errors` raises."""

    def __init__(self, client: "ComputeManagementClient", target: Target) -> None:
        self._client = client
        self._base = target.arm_endpoint.rstrip("/")
        self._providers = (
            f"{self._base}/subscriptions/{target.subscription_id}/resourceGroups/{target.resource_group}/providers"
        )

    def get(self, path: str, api_version: str, query: Mapping[str, str] | None = None) -> Listing:
        """Return the one document at a path below the group's providers."""
        document, date = self._get(f"{self._providers}/{path}", {"api-version": api_version, **(query or {})})
        return Listing((document,), date)

    def list(self, path: str, api_version: str, query: Mapping[str, str] | None = None) -> Listing:
        """Return everything that a list at such a path has, page by page; with `$top`, only the first page."""
        document, date = self._get(f"{self._providers}/{path}", {"api-version": api_version, **(query or {})})
        items = list(document["value"])
        while document.get("nextLink") and "$top" not in (query or {}):
            document, date = self._get(document["nextLink"], {})
            items += document["value"]
        return Listing(tuple(items), date)

    def _get(self, url: str, query: Mapping[str, str]) -> tuple[Mapping[str, Any], datetime]:
        request = HttpRequest("GET", url, params=dict(query), headers={"Accept": "application/json"})
        with fleet_errors():
            response = self._client.send_request(request)
            if response.status_code != 200:
                raise HttpResponseError(response=response)
            document: Mapping[str, Any] = response.json()
        return document, parsedate_to_datetime(response.headers["Date"])
