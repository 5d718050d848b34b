"""A job's log: the structured lines of one claim, kept in a blob of its own so that they outlive the VM."""

import json
from typing import Any, Final

from worker.contract import names
from worker.contract.manifest import Manifest
from worker.contract.records import BlobStore

KEPT_LINES: Final = 5_000


class LogBook:
    """Collects what the logger says; the logger's sink.

    One claim at a time. Its blob is written whole each time: it is small, and nothing is ever appended to a blob.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._written = 0

    def record(self, event: dict[str, Any]) -> None:
        """Keep one event."""
        if len(self._lines) < KEPT_LINES:
            self._lines.append(json.dumps(event, default=str))

    def begin(self) -> None:
        """Forget what was said before this claim."""
        self._lines.clear()
        self._written = 0

    def publish(self, blobs: BlobStore, manifest: Manifest) -> None:
        """Write the log of this claim, if there is anything new. Raises StorageError."""
        lines = list(self._lines)
        if len(lines) == self._written:
            return
        name = names.log(manifest.job.sweep, manifest.job.id, manifest.epoch, manifest.nonce)
        blobs.put(names.SWEEPS, name, ("\n".join(lines) + "\n").encode())
        self._written = len(lines)
