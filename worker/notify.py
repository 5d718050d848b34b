"""Telling systemd how we are: sd_notify(3), a datagram to $NOTIFY_SOCKET. The emulator's supervisor listens too."""

import os
import socket
from collections.abc import Mapping


class Supervisor:
    """Whoever started this process and watches it; nobody, where $NOTIFY_SOCKET is not set."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """Say that the process has started up."""
        self._say("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._say("WATCHDOG=1")

    def status(self, text: str) -> None:
        """Say in a few words what goes on; `systemctl status` shows it."""
        self._say(f"STATUS={text}")

    def stopping(self) -> None:
        """Say that the process ends."""
        self._say("STOPPING=1")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.connect(self._address)
            channel.sendall(message.encode())
