"""List Blobs with metadata, read without the SDK's models.

The SDK spends about a millisecond on each blob (azure-sdk-for-python#19755; its fast way out of that lists names only):
10,000 manifests would take longer than a person looks at `status`. Here its pipeline makes the requests, with
authentication, retries and time-outs as everywhere, and only the answer is read by hand.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache, partial
from urllib.parse import quote, unquote, urlencode
from xml.etree import ElementTree as ET

from azure.core.exceptions import HttpResponseError
from azure.core.rest import HttpRequest
from azure.storage.blob import BlobServiceClient

from worker.contract.beside import beside

PAGE = 5_000
"""Blobs in an answer: the most that the service gives."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A blob in a listing."""

    name: str
    etag: str
    length: int
    last_modified: datetime
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """One answer."""

    date: datetime
    """When the service gave it, by its clock."""
    entries: Iterator[Entry]
    """Read while they are asked for. Raises ValueError for a blob without name or properties."""
    next_marker: str
    """Where the next page begins; empty after the last."""


def pages(service: BlobServiceClient, container: str, prefix: str) -> Iterator[Page]:
    """Yield the pages of a listing, the next one being asked for while this one is read. Raises AzureError."""
    page = _page(service, container, prefix, "")
    while page.next_marker:
        coming = beside("listing", partial(_page, service, container, prefix, page.next_marker))
        yield page
        page = coming.result()
    yield page


def _page(service: BlobServiceClient, container: str, prefix: str, marker: str) -> Page:
    query = {"restype": "container", "comp": "list", "include": "metadata", "maxresults": str(PAGE)}
    query |= {name: value for name, value in (("prefix", prefix), ("marker", marker)) if value}
    request = HttpRequest(
        "GET",
        f"{service.url.rstrip('/')}/{container}?{urlencode(query, quote_via=quote)}",
        headers={"x-ms-version": service.api_version, "Accept": "application/xml"},
    )
    # The one private name: a pipeline of our own would need a second set of policies.
    response = service._pipeline.run(request).http_response  # noqa: SLF001
    if response.status_code != 200:
        error = HttpResponseError(response=response)
        error.error_code = response.headers.get("x-ms-error-code", "")  # type: ignore[attr-defined] # as the SDK does
        raise error
    return parse(response.body(), parsedate_to_datetime(response.headers["Date"]))


def parse(body: bytes, date: datetime) -> Page:
    """Return what an answer says."""
    root = ET.fromstring(body)  # noqa: S314 - from our own storage account, by TLS
    return Page(date, map(_entry, root.iterfind("Blobs/Blob")), root.findtext("NextMarker") or "")


@lru_cache(maxsize=4096)
def _moment(text: str) -> datetime:
    return parsedate_to_datetime(text)  # a fleet writes many manifests in one second


def _entry(blob: ET.Element) -> Entry:
    name, properties, metadata = blob.find("Name"), blob.find("Properties"), blob.find("Metadata")
    if name is None or name.text is None or properties is None:
        raise ValueError("a listing names a blob without name or properties")
    return Entry(
        name=unquote(name.text) if name.get("Encoded") == "true" else name.text,
        etag=properties.findtext("Etag", ""),
        length=int(properties.findtext("Content-Length", "0")),
        last_modified=_moment(properties.findtext("Last-Modified", "")),
        metadata={entry.tag: entry.text or "" for entry in metadata} if metadata is not None else {},
    )
