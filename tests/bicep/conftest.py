"""A small Azure on loopback for the programs of cloud-init: IMDS, blobs and the deletion of a VM, over plain HTTP."""

import importlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

PROGRAMS = Path(__file__).parents[2] / "bicep" / "cloud-init"
IDENTITY = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ManagedIdentity/userAssignedIdentities/tranq-vm"
SET = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/tranq-set"


class Azure:
    """What the programs find, and what they did. `refusals` answers a method and path with a status instead."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.deleted: list[str] = []
        self.refusals: dict[str, int] = {}
        self.url = ""

    def target(self) -> dict[str, Any]:
        """The content of target.json."""
        return {
            "kind": "azure",
            "subscription_id": "s",
            "resource_group": "rg",
            "scale_set": "tranq-set",
            "blob_endpoint": f"{self.url}/blob/",
            "arm_endpoint": self.url,
            "identity_id": IDENTITY,
        }

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        """Answer one request as Azure does."""
        url = urlsplit(unquote(path))
        self.requests.append(f"{method} {url.path}")
        if status := self.refusals.get(f"{method} {url.path}"):
            return status, b"<Error><Code>AuthorizationPermissionMismatch</Code></Error>"
        if url.path.startswith("/metadata/"):
            return self._imds(url.path, {key: value[0] for key, value in parse_qs(url.query).items()}, headers)
        audience = "https://storage.azure.com/" if url.path.startswith("/blob/") else f"{self.url}/"
        if headers["Authorization"] != f"Bearer token for {audience}":
            return 401, b""
        if url.path == f"{SET}/delete":
            self.deleted += json.loads(body)["instanceIds"]
            return 202, b""
        return self._blob(method, url.path.removeprefix("/blob/"), headers, body)

    def _imds(self, path: str, query: dict[str, str], headers: Any) -> tuple[int, bytes]:
        if headers["Metadata"] != "true":
            return 400, b""
        if path == "/metadata/instance/compute":
            return 200, b'{"name": "tranq-set_1a2b3c4d", "vmScaleSetName": "tranq-set"}'
        if query["msi_res_id"] != IDENTITY:
            return 400, b'{"error": "invalid_request", "error_description": "Identity not found"}'
        return 200, json.dumps({"access_token": f"token for {query['resource']}", "expires_in": "86400"}).encode()

    def _blob(self, method: str, name: str, headers: Any, body: bytes) -> tuple[int, bytes]:
        if not headers["x-ms-version"]:
            return 400, b""
        if method == "PUT":
            assert headers["x-ms-blob-type"] == "BlockBlob"
            self.blobs[name] = body
            return 201, b""
        if name not in self.blobs:
            return 404, b"<Error><Code>BlobNotFound</Code></Error>"
        return 200, self.blobs[name]


@pytest.fixture
def azure() -> Iterator[Azure]:
    """The running server."""
    state = Azure()

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = state.answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_PUT = do_POST = _any  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a program of cloud-init as the module that it is on a VM."""
    monkeypatch.syspath_prepend(str(PROGRAMS))

    def import_program(name: str) -> ModuleType:
        for program in ("azure_rest", "bootstrap", "deadman"):
            monkeypatch.delitem(sys.modules, program, raising=False)
        return importlib.import_module(name)

    return import_program


@pytest.fixture
def target_file(azure: Azure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The target.json of a VM of that Azure, whose IMDS is on loopback too."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", azure.url)
    path = tmp_path / "target.json"
    path.write_text(json.dumps(azure.target()))
    return path
