"""A network of a machine's own, with nothing in it but addresses that lead to the emulator."""

import asyncio
import contextlib
import ctypes
import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from producer.emulator.errors import EmulatorError

_CLONE_NEWNET = 0x40000000
_PIECE = 65536
_BACKLOG = 256


@dataclass(frozen=True)
class Network:
    """A network namespace, and sockets that listen in it; whoever connects there is led out of it."""

    namespace: int
    """A file descriptor of it."""
    listening: Mapping[str, list[socket.socket]]
    """By the address on this machine, HOST:PORT, to which they lead."""

    @property
    def path(self) -> str:
        """Where the namespace is, for processes of this user."""
        return f"/proc/{os.getpid()}/fd/{self.namespace}"

    def serve(self) -> None:
        """Carry bytes in and out from now on, in a thread that ends with this process."""
        threading.Thread(target=lambda: asyncio.run(self._serve()), name="network", daemon=True).start()

    async def _serve(self) -> None:
        for here, sockets in self.listening.items():
            host, _, port = here.rpartition(":")

            async def lead(
                reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str = host, port: int = int(port)
            ) -> None:
                await _lead(reader, writer, host, port)

            for listening in sockets:
                await asyncio.start_server(lead, sock=listening)
        await asyncio.Event().wait()


@contextlib.contextmanager
def network(leads: Mapping[str, str]) -> Iterator[Network | None]:
    """Make a network with these ADDRESS:PORT, each leading to a HOST:PORT of this machine; none where there are none.

    Call it while the process has one thread: for a moment, the thread is in the new namespace.
    """
    if not leads:
        yield None
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.ExitStack() as undo:
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        undo.callback(os.close, home)
        _check(libc.unshare(_CLONE_NEWNET), "unshare")
        try:
            namespace = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            undo.callback(os.close, namespace)
            made = Network(namespace, _listen(leads))
        finally:
            _check(libc.setns(home, _CLONE_NEWNET), "setns")
        yield made


def _listen(leads: Mapping[str, str]) -> dict[str, list[socket.socket]]:
    """Give the namespace its addresses, and listen at all of them."""
    addresses = sorted({address.rpartition(":")[0] for address in leads})
    commands = [["ip", "link", "set", "lo", "up"]]
    commands += [["ip", "address", "add", f"{each}/32", "dev", "lo"] for each in addresses]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EmulatorError(f"{' '.join(command)}: {done.stderr.strip()}")
    listening: dict[str, list[socket.socket]] = {}
    for address, here in leads.items():
        host, _, port = address.rpartition(":")
        one = socket.create_server((host, int(port)), backlog=_BACKLOG)
        listening.setdefault(here, []).append(one)
    return listening


async def _lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    """Carry one connection, both ways, until both have ended."""
    try:
        there, back = await asyncio.open_connection(host, port)
    except OSError:
        writer.transport.abort()
        return
    await asyncio.gather(_carry(reader, back), _carry(there, writer))


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await source.read(_PIECE):
            sink.write(piece)
            await sink.drain()
        if sink.can_write_eof():
            sink.write_eof()
            return
    sink.transport.abort()


def _check(result: int, what: str) -> None:
    if result != 0:
        raise EmulatorError(f"{what}: {os.strerror(ctypes.get_errno())}")
