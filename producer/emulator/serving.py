"""The emulator's HTTP endpoints: one thread with one event loop serves all of them, on loopback only."""

import asyncio
import concurrent.futures
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from producer.emulator.certificates import Certificates
from producer.emulator.errors import EmulatorError


@dataclass(frozen=True)
class Endpoint:
    """A server that answers at `url` until it is closed."""

    url: str
    _server: uvicorn.Server
    _task: "concurrent.futures.Future[None]"

    @property
    def closed(self) -> bool:
        """Whether it serves no more."""
        return self._task.done()

    def begin_close(self) -> None:
        """Stop to accept requests. Safe to repeat."""
        self._server.should_exit = True

    def close(self) -> None:
        """Answer what is being asked and close. Safe to repeat, from any thread but the servers' own."""
        self.begin_close()
        self._task.result()


class _Server(uvicorn.Server):
    """uvicorn with a report when it listens, and without patience for idle connections when it ends."""

    def __init__(self, config: uvicorn.Config, listening: threading.Event) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # An idle client does not answer TLS's goodbye: uvicorn would wait for it until its timeout.
        for connection in list(self.server_state.connections):
            if isinstance(connection, H11Protocol) and (connection.cycle is None or connection.cycle.response_complete):
                connection.transport.abort()
        await super().shutdown(sockets)


class HttpHost:
    """The thread that serves. Start it, let it `serve` any number of applications, stop it: that closes them all."""

    def __init__(self) -> None:
        self._running: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="emulator-http", daemon=True)
        self._endpoints: list[Endpoint] = []
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to serve. It has one life: a stopped one does not start again."""
        self._running = asyncio.new_event_loop()
        self._thread.start()

    def stop(self) -> None:
        """Close every endpoint and end the thread."""
        with self._lock:
            endpoints, self._endpoints = self._endpoints, []
        for endpoint in endpoints:
            endpoint.begin_close()
        for endpoint in endpoints:
            endpoint.close()
        asyncio.run_coroutine_threadsafe(self._abort_connections(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def serve(self, app: ASGIApp, bound: socket.socket, certificates: Certificates | None = None) -> Endpoint:
        """Serve `app` on a bound socket, with TLS where there are certificates; return when it listens."""
        config = uvicorn.Config(
            app,
            loop="none",
            http="h11",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=1,
            ssl_certfile=certificates.certificate_file if certificates else None,
            ssl_keyfile=certificates.key_file if certificates else None,
        )
        listening = threading.Event()
        server = _Server(config, listening)
        task = asyncio.run_coroutine_threadsafe(server.serve(sockets=[bound]), self._loop)
        task.add_done_callback(lambda _: listening.set())
        listening.wait()
        if task.done():
            bound.close()
            raise EmulatorError(f"An endpoint did not start: {task.exception()}")
        scheme = "https" if certificates else "http"
        host, port = bound.getsockname()
        endpoint = Endpoint(f"{scheme}://{host}:{port}", server, task)
        with self._lock:
            self._endpoints = [*(kept for kept in self._endpoints if not kept.closed), endpoint]
        return endpoint

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        if self._running is None:
            raise EmulatorError("The emulator's endpoints are not served: call start() first.")
        return self._running

    async def _abort_connections(self) -> None:
        """End what no server knows any more: TLS connections whose client does not say goodbye, or hello."""
        transports: Mapping[int, asyncio.Transport] = getattr(self._loop, "_transports", {})
        for transport in list(transports.values()):
            transport.abort()
        for _ in range(3):  # an abort is carried out by the loop's next round, through each layer in turn
            await asyncio.sleep(0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
