"""Claims about listings, against answers recorded from Azurite and given again by a server on this machine."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.storage.blob import BlobServiceClient

from worker.contract.errors import AccessDenied, StorageUnavailable
from worker.contract.listing import parse
from worker.contract.records import AzureBlobs

DATE = "Mon, 23 Nov 2026 00:44:22 GMT"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8" standalone="yes"?><EnumerationResults ServiceEndpoint="http://127.0.0.1/a" '
    'ContainerName="sweeps"><Prefix>lunar/</Prefix><Marker/><MaxResults>1</MaxResults><Blobs>'
)
FIRST = (
    HEAD + "<Blob><Name>lunar/a&amp;b &lt;c&gt;</Name><Properties><Creation-Time>Mon, 23 Nov 2026 00:43:22 GMT"
    "</Creation-Time><Last-Modified>Mon, 23 Nov 2026 00:43:22 GMT</Last-Modified><Etag>0x267AFDA96E37540</Etag>"
    "<Content-Length>5</Content-Length><Content-Type>application/octet-stream</Content-Type><BlobType>BlockBlob"
    "</BlobType></Properties><Metadata><status>running</status><reason>a &lt; b &amp; "
    '"c"</reason></Metadata></Blob></Blobs><NextMarker>lunar/a&amp;b &lt;c&gt;</NextMarker></EnumerationResults>'
)
SECOND = (
    HEAD + "<Blob><Name>lunar/plain</Name><Properties><Last-Modified>Mon, 23 Nov 2026 00:44:22 GMT</Last-Modified>"
    "<Etag>0x2244C3EDA39FAC0</Etag><Content-Length>0</Content-Length></Properties></Blob></Blobs><NextMarker/>"
    "</EnumerationResults>"
)


@contextmanager
def served(status: int = 200, error_code: str = "") -> Iterator[tuple[AzureBlobs, list[dict[str, list[str]]]]]:
    """Yield a store whose service gives the two recorded pages, or an error, and the queries that it got."""
    queries: list[dict[str, list[str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            queries.append(query | {"x-ms-version": [self.headers["x-ms-version"]]})
            body = (SECOND if "marker" in query else FIRST).encode() if status == 200 else b""
            self.send_response_only(status)
            self.send_header("Date", DATE)
            self.send_header("Content-Length", str(len(body)))
            if error_code:
                self.send_header("x-ms-error-code", error_code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/account"
        with BlobServiceClient(url, credential="a2V5", retry_total=0) as service:
            yield AzureBlobs(service), queries
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_listing_goes_on_to_the_last_page_and_brings_metadata_and_ages() -> None:
    with served() as (blobs, queries):
        first, second = blobs.list("sweeps", "lunar/")
    assert (first.name, first.etag, first.length, first.age_s) == ("lunar/a&b <c>", '"0x267AFDA96E37540"', 5, 60.0)
    assert first.metadata == {"status": "running", "reason": 'a < b & "c"'}
    assert (second.name, second.age_s, second.metadata) == ("lunar/plain", 0.0, {})
    assert [query.get("marker") for query in queries] == [None, ["lunar/a&b <c>"]]
    assert queries[0]["include"] == ["metadata"]
    assert queries[0]["prefix"] == ["lunar/"]
    assert queries[0]["maxresults"] == ["5000"]
    assert queries[0]["x-ms-version"][0] >= "2021-02-12"


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(403, "AuthorizationPermissionMismatch", AccessDenied), (404, "ContainerNotFound", StorageUnavailable)],
)
def test_a_refused_listing_is_an_error_with_the_services_code(status: int, code: str, error: type[Exception]) -> None:
    with served(status, code) as (blobs, _), pytest.raises(error, match=f"{status} {code}"):
        list(blobs.list("sweeps", "lunar/"))


@pytest.mark.parametrize(
    ("code", "way_in"),
    [
        (
            "AuthorizationPermissionMismatch",
            r"It takes \S+/blobs/read on \S+/storageAccounts/account/blobServices/default/containers/sweeps\.",
        ),
        ("AuthorizationFailure", "network rules of the storage account"),
        ("InsufficientAccountPermissions", r"InsufficientAccountPermissions[^.]*$"),
    ],
)
def test_a_denied_listing_says_what_it_takes(code: str, way_in: str) -> None:
    with served(403, code) as (blobs, _), pytest.raises(AccessDenied, match=way_in):
        list(blobs.list("sweeps", "lunar/"))


def test_a_name_that_xml_cannot_hold_comes_encoded() -> None:
    body = SECOND.replace("<Name>lunar/plain", '<Name Encoded="true">lunar/%01plain').encode()
    assert next(parse(body, datetime.now(UTC)).entries).name == "lunar/\x01plain"


def test_an_empty_listing_has_no_entries() -> None:
    body = (HEAD + "</Blobs><NextMarker/></EnumerationResults>").encode()
    assert not list(parse(body, datetime.now(UTC)).entries)


def test_a_listing_that_is_none_is_no_empty_one() -> None:
    with pytest.raises(ValueError, match="without name"):
        list(parse((HEAD + "<Blob/></Blobs></EnumerationResults>").encode(), datetime.now(UTC)).entries)
