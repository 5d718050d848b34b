"""Loopback ports that stay the same for a data folder, so that what was configured yesterday still works."""

import json
import os
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"


class RememberedPorts:
    """The port that each named endpoint of a data folder had last time, kept in `ports.json` of that folder."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ports.json"

    def last(self, name: str) -> int:
        """The port that `name` had last time, or 0 (the system chooses) when there is none."""
        port = self._read().get(name, 0)
        return port if isinstance(port, int) and 0 < port < 65536 else 0

    def remember(self, name: str, port: int) -> None:
        """Keep `port` for `name`; the file is replaced in one step."""
        ports = self._read() | {name: port}
        written = self._file.with_suffix(f".{os.getpid()}")
        written.write_text(json.dumps(ports, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        written.replace(self._file)

    def bind(self, name: str) -> socket.socket:
        """A socket bound to the remembered port, or to a free one when another program took it meanwhile."""
        try:
            bound = bind_loopback(self.last(name))
        except OSError:
            bound = bind_loopback(0)
        self.remember(name, bound.getsockname()[1])
        return bound

    def _read(self) -> dict[str, object]:
        try:
            ports = json.loads(self._file.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}  # a lost file costs new port numbers and nothing else
        return ports if isinstance(ports, dict) else {}


def bind_loopback(port: int = 0) -> socket.socket:
    """A TCP socket bound to `port` of 127.0.0.1, not yet listening. OSError when the port is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((LOOPBACK, port))
    except OSError:
        bound.close()
        raise
    return bound
