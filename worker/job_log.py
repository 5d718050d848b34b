"""A job's log: the structured lines of one claim, kept in a blob of its own so that they outlive the VM."""

import json
import threading
from collections import deque
from typing import Any, Final

from worker.contract import names
from worker.contract.log import LEFT_OUT
from worker.contract.manifest import Manifest
from worker.contract.records import BlobStore

FIRST_LINES: Final = 1_000
NEWEST_LINES: Final = 4_000


class LogBook:
    """Collects what the logger says; the logger's sink.

    One claim at a time. Of a long one the first and the newest lines are kept: how it began, and how it ended.
    Its blob is written whole each time: it is small, and nothing is ever appended to a blob.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._first: list[str] = []
        self._newest: deque[str] = deque(maxlen=NEWEST_LINES)
        self._said = self._written = 0

    def record(self, event: dict[str, Any]) -> None:
        """Keep one event."""
        line = json.dumps(event, default=str)
        with self._lock:
            (self._first if len(self._first) < FIRST_LINES else self._newest).append(line)
            self._said += 1

    def begin(self) -> None:
        """Forget what was said before this claim."""
        with self._lock:
            self._first.clear()
            self._newest.clear()
            self._said = self._written = 0

    def publish(self, blobs: BlobStore, manifest: Manifest) -> None:
        """Write the log of this claim, if there is anything new. Raises StorageError."""
        with self._lock:
            first, newest, said = list(self._first), list(self._newest), self._said
        if said == self._written:
            return
        left_out = said - len(first) - len(newest)
        between = [json.dumps({"event": LEFT_OUT, "level": "warning", "lines": left_out})] if left_out else []
        name = names.log(manifest.job.sweep, manifest.job.id, manifest.epoch, manifest.nonce)
        blobs.put(names.SWEEPS, name, ("\n".join([*first, *between, *newest]) + "\n").encode())
        self._written = said
