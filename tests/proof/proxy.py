"""A proxy in front of Azurite that makes the network bad: late, torn, refusing, gone, and silent after the fact.

It speaks HTTP over TLS with the certificates of the tests. Whoever uses it decides, request by request, what happens.
"""

import asyncio
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from producer.emulator.certificates import Certificates
from worker.contract.settings import Target

Kind = Literal["pass", "reset", "busy", "drop"]
_BUSY_BODY = b"<Error><Code>ServerBusy</Code><Message>Busy.</Message></Error>"
BUSY = (
    b"HTTP/1.1 503 Server Busy\r\nx-ms-error-code: ServerBusy\r\nContent-Type: application/xml\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_BUSY_BODY), _BUSY_BODY)
)
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Request:
    """A request as it came in."""

    method: str
    path: str
    """With its query."""
    length: int

    @property
    def operation(self) -> str:
        """Return what it asks for, in our words."""
        path = urlsplit(self.path).path
        _, _, place, *rest = path.split("/")
        if "messages" in rest:
            one = rest[-1] != "messages"
            return {"POST": "send", "GET": "receive", "PUT": "update", "DELETE": "delete" if one else "clear"}[
                self.method
            ]
        if self.method != "PUT":
            return f"{self.method.lower()} {place}"
        if place == "sweeps" and "manifests" in rest:
            return "put manifest"
        return f"put {rest[-1].partition('-')[0] if place == 'checkpoints' else place}"


@dataclass(frozen=True)
class Fault:
    """What becomes of a request.

    `reset` tears the connection before the request is passed on, `busy` answers 503 to it, `drop` passes it on and
    tears the connection in place of the answer.
    """

    kind: Kind = "pass"
    latency_s: float = 0.0


Decide = Callable[[Request], Fault]


def no_fault(_: Request) -> Fault:
    """Let everything pass."""
    return Fault()


class FaultProxy:
    """Ports of this machine behind which Azurite's are. Use it as a context manager."""

    def __init__(self, certificates: Certificates, target: Target) -> None:
        """`target` is any account of the Azurite. `decide` is called in the proxy's thread, and may be replaced."""
        self.decide: Decide = no_fault
        self.down = False
        """A blackout: connections are torn, and no new one is taken."""
        self.counts: Counter[tuple[str, Kind]] = Counter()
        """(operation, what became of it) → how often."""
        self._server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._server_tls.load_cert_chain(certificates.certificate_file, certificates.key_file)
        self._client_tls = ssl.create_default_context(cafile=str(certificates.ca_file))
        self._upstream = {"blob": _port(target.blob_endpoint), "queue": _port(target.queue_endpoint)}
        self._ports: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def behind(self, target: Target) -> Target:
        """Return an account of the Azurite as it is seen through the proxy."""
        return target.model_copy(
            update={
                "blob_endpoint": _with_port(target.blob_endpoint, self._ports["blob"]),
                "queue_endpoint": _with_port(target.queue_endpoint, self._ports["queue"]),
            }
        )

    def black_out(self) -> None:
        """Tear every connection, and take no new one until `light`."""
        self.down = True
        self._do(self._tear())

    def light(self) -> None:
        """End the blackout."""
        self.down = False

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _listen(self) -> None:
        self._servers = []
        for service, port in self._upstream.items():

            def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int = port) -> Any:
                return self._serve(reader, writer, port)

            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self._server_tls)
            self._servers.append(server)
            self._ports[service] = server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await self._tear()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    async def _tear(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        """Answer the requests of one connection, one after the other, over one connection of our own."""
        self._open.add(writer)
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        try:
            while not self.down:
                head, body = await _read_message(reader)
                request = _request(head, body)
                fault = self.decide(request)
                self.counts[request.operation, fault.kind] += 1
                await asyncio.sleep(fault.latency_s)
                if fault.kind == "reset" or self.down:
                    break
                if fault.kind == "busy":
                    writer.write(BUSY)
                    continue
                if upstream is None or upstream[0].at_eof():  # Azurite closes what was quiet for 5 s
                    upstream = await asyncio.open_connection("127.0.0.1", port, ssl=self._client_tls)
                    self._open.add(upstream[1])
                answer = await _exchange(upstream, head + body, bodiless=request.method == "HEAD")
                if fault.kind == "drop":
                    break
                writer.write(answer)
                await writer.drain()
        except (OSError, EOFError, asyncio.IncompleteReadError):
            pass  # one side has gone, and that is the other's trouble
        finally:
            for one in (writer, *(upstream or ())[1:]):
                self._open.discard(one)
                one.transport.abort()


async def _exchange(
    upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter], message: bytes, *, bodiless: bool
) -> bytes:
    reader, writer = upstream
    writer.write(message)
    await writer.drain()
    head, body = await _read_message(reader, bodiless=bodiless)
    return head + body


async def _read_message(reader: asyncio.StreamReader, *, bodiless: bool = False) -> tuple[bytes, bytes]:
    """Read a request or an answer; return it as it came, head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if bodiless or lines[0].split(" ")[1] in {"204", "304"}:
        return head, b""
    if headers.get("transfer-encoding") == "chunked":
        return head, await _read_chunks(reader)
    return head, await reader.readexactly(int(headers.get("content-length", "0")))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    whole = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        whole += line + await reader.readexactly(size + 2)
        if size == 0:
            return whole


def _request(head: bytes, body: bytes) -> Request:
    method, path, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
    return Request(method, path, len(body))


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def _with_port(url: str, port: int) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.hostname}:{port}"))
