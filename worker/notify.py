"""Telling systemd how we are: sd_notify(3), a datagram to $NOTIFY_SOCKET. The emulator's supervisor listens too."""

import os
import socket
from collections.abc import Mapping
from typing import Final

from worker.contract.log import Logger

START_EXTENSION_S: Final = 120.0
"""How long a start may go on after each sign of life; as patient as WatchdogSec, which counts from READY=1 on."""


class Supervisor:
    """Whoever started this process and watches it; nobody, where $NOTIFY_SOCKET is not set.

    It may be deaf for a while, as systemd is while it executes itself anew: that is logged, and ends nothing.
    """

    def __init__(self, log: Logger, environment: Mapping[str, str] = os.environ) -> None:
        self._log = log
        self._deaf = False
        self._is_ready = self._is_told = False
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def ready(self) -> None:
        """Say that the process can do its work: until it was heard, and then no more."""
        self._is_ready = True
        if not self._is_told:
            self._is_told = self._say("READY=1")

    def alive(self) -> None:
        """Feed the watchdog; before `ready`, ask for more time to start, however much has gone by."""
        if self._is_ready:
            self.ready()
        self._say("WATCHDOG=1" if self._is_told else f"EXTEND_TIMEOUT_USEC={START_EXTENSION_S * 1e6:.0f}")

    def stopping(self) -> None:
        """Say that the process ends."""
        self._say("STOPPING=1")

    def _say(self, message: str) -> bool:
        """Return whether it was heard; where nobody listens, there is nobody to miss it."""
        if not self._address:
            return True
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
            return False
        self._deaf = False
        return True
