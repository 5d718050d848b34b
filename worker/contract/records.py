"""Blobs: what tranquility asks of them, and Azure Blob Storage as the answer."""

import mimetypes
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Protocol

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.core.pipeline import PipelineResponse
from azure.storage.blob import BlobPrefix, BlobProperties, BlobServiceClient, ContentSettings

from worker.contract.azure import storage_errors, time_to_send
from worker.contract.errors import ConditionFailed, StorageUnavailable
from worker.contract.listing import pages

UNDATED_READS = 5
"""So often a read is asked for again whose answer does not say when it was given."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob as read."""

    body: bytes
    etag: str
    age_s: float
    """Seconds since it was written, both by the service's clock: Date − Last-Modified of one answer."""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """A blob as listed."""

    name: str
    etag: str
    length: int
    age_s: float
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Absent:
    """Write only where there is no blob (If-None-Match: *)."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Write or delete only while the blob has this ETag (If-Match)."""

    etag: str


Condition = Absent | Unchanged | None


def _ignore() -> None:
    return


class BlobStore(Protocol):
    """Blobs with conditional writes. All methods raise StorageUnavailable or AccessDenied."""

    def get(self, container: str, name: str, beat: Callable[[], None] = _ignore) -> Stored | None:
        """Read a blob, calling `beat` for every block that came; None where there is none."""

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write a blob whole and return its ETag. Raises ConditionFailed.

        A lost answer is asked for again, so ConditionFailed may follow a write that succeeded: read it again.
        """

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        """Delete a blob; one that is gone already is no error. Raises ConditionFailed."""

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        """Yield the blobs whose names begin with `prefix`, in the order of their names."""

    def folders(self, container: str) -> Iterator[str]:
        """Yield what stands before the first `/` in the names of blobs, each once, in order."""


class AzureBlobs:
    """Azure Blob Storage."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service
        self._errors = partial(storage_errors, "blob", service.url)

    def get(self, container: str, name: str, beat: Callable[[], None] = _ignore) -> Stored | None:
        """Read a blob in blocks.

        The SDK calls a hook with the answer, and forgets the hook where a connection was torn before the first one
        (StorageResponseHook of azure-storage-blob 12): such an answer has no date for us, and is asked for again.
        """
        for _ in range(UNDATED_READS):
            dates: list[str] = []
            found = self._download(container, name, beat, dates)
            if found is None:
                return None
            body, properties = found
            if dates:
                age_s = _age_s(dates[-1], properties.last_modified)
                return Stored(body, _etag(properties.etag), age_s, dict(properties.metadata or {}))
        raise StorageUnavailable(f"{UNDATED_READS} reads of {container}/{name} in a row began with a torn connection.")

    def _download(
        self, container: str, name: str, beat: Callable[[], None], dates: list[str]
    ) -> tuple[bytes, BlobProperties] | None:
        def note_date(response: PipelineResponse[Any, Any]) -> None:
            answer = response.http_response
            if answer.status_code < 300:  # a gateway's 503, which the SDK asks again after, need not have a date
                dates.append(answer.headers["Date"])

        with self._errors():
            try:
                stream = self._service.get_blob_client(container, name).download_blob(raw_response_hook=note_date)
                blocks = []
                for block in stream.chunks():
                    blocks.append(block)
                    beat()
            except ResourceNotFoundError:
                return None
        return b"".join(blocks), stream.properties

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write a blob in one Put Blob (the client's single-put size is above any blob of ours)."""
        client = self._service.get_blob_client(container, name)
        with self._errors():
            try:
                answer = client.upload_blob(
                    body,
                    length=len(body),
                    overwrite=not isinstance(condition, Absent),
                    metadata=dict(metadata or {}),
                    # So that a browser shows a report instead of saving it.
                    content_settings=ContentSettings(content_type=mimetypes.guess_type(name)[0]),
                    **time_to_send(len(body)),
                    **_if_match(condition),
                )
            except (ResourceExistsError, ResourceModifiedError, ResourceNotFoundError) as error:
                if condition is None:
                    raise
                raise ConditionFailed(f"{container}/{name}.") from error
        return _etag(answer["etag"])

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        """Delete a blob."""
        with self._errors():
            client = self._service.get_blob_client(container, name)
            try:
                client.delete_blob(**_if_match(condition))
            except ResourceNotFoundError:
                return
            except ResourceModifiedError as error:
                if client.exists():  # Azurite says 412 of a blob that is gone, too
                    raise ConditionFailed(f"{container}/{name}.") from error

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        """Yield blobs with their metadata, 5,000 a request."""
        with self._errors():
            for page in pages(self._service, container, prefix):
                for entry in page.entries:
                    age_s = max(0.0, (page.date - entry.last_modified).total_seconds())
                    yield Listed(entry.name, _etag(entry.etag), entry.length, age_s, entry.metadata)

    def folders(self, container: str) -> Iterator[str]:
        """Yield first parts of names: one request for 5,000 of them, whatever lies below."""
        with self._errors():
            for found in self._service.get_container_client(container).walk_blobs(delimiter="/"):
                if isinstance(found, BlobPrefix):
                    yield str(found.name).removesuffix("/")


def _if_match(condition: Condition) -> dict[str, Any]:
    if isinstance(condition, Unchanged):
        return {"etag": condition.etag, "match_condition": MatchConditions.IfNotModified}
    return {}


def _etag(value: str) -> str:
    """Headers quote ETags, the XML of listings does not."""
    return '"' + value.strip('"') + '"'


def _age_s(date: str, last_modified: datetime) -> float:
    return max(0.0, (parsedate_to_datetime(date) - last_modified).total_seconds())
