"""Telling systemd how we are: sd_notify(3), a datagram to $NOTIFY_SOCKET. The emulator's supervisor listens too."""

import os
import socket
from collections.abc import Mapping

from worker.contract.log import Logger


class Supervisor:
    """Whoever started this process and watches it; nobody, where $NOTIFY_SOCKET is not set.

    It may be deaf for a while, as systemd is while it executes itself anew: that is logged, and ends nothing.
    """

    def __init__(self, log: Logger, environment: Mapping[str, str] = os.environ) -> None:
        self._log = log
        self._deaf = False
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """Say that the process has started up."""
        self._say("READY=1")

    def alive(self) -> None:
        """Feed the watchdog."""
        self._say("WATCHDOG=1")

    def stopping(self) -> None:
        """Say that the process ends."""
        self._say("STOPPING=1")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.connect(self._address)
                channel.sendall(message.encode())
        except OSError as error:
            if not self._deaf:  # once: the watchdog is fed twice a second
                self._log.warning(
                    "supervisor.deaf", message=message, error=str(error), next="goes on, and says the next"
                )
            self._deaf = True
        else:
            self._deaf = False
