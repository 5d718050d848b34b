"""Queue and blobs in memory, on an injected clock. They pass the same contract tests as Azurite."""

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from worker.contract.errors import ConditionFailed, MessageGone, StorageUnavailable
from worker.contract.queue import Message, Receipt
from worker.contract.records import Absent, Condition, Listed, Stored, Unchanged


@dataclass(frozen=True)
class _Blob:
    body: bytes
    etag: str
    written_s: float
    metadata: Mapping[str, str]


class MemoryBlobs:
    """A BlobStore in memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._blobs: dict[tuple[str, str], _Blob] = {}
        self._etags = itertools.count(1)
        self._lock = threading.RLock()

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        with self._lock:
            blob = self._blobs.get((container, name))
        if blob is None:
            return None
        beat()
        return Stored(blob.body, blob.etag, self._clock() - blob.written_s, dict(blob.metadata))

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        with self._lock:
            self._check(container, name, condition)
            etag = f'"{next(self._etags):#x}"'
            self._blobs[container, name] = _Blob(bytes(body), etag, self._clock(), dict(metadata or {}))
        return etag

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        with self._lock:
            if (container, name) not in self._blobs:
                return
            self._check(container, name, condition)
            del self._blobs[container, name]

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        with self._lock:
            found = sorted(
                (name, blob)
                for (place, name), blob in self._blobs.items()
                if place == container and name.startswith(prefix)
            )
        for name, blob in found:
            age_s = self._clock() - blob.written_s
            yield Listed(name, blob.etag, len(blob.body), age_s, dict(blob.metadata))

    def folders(self, container: str) -> Iterator[str]:
        with self._lock:
            names = {name for place, name in self._blobs if place == container and "/" in name}
        yield from sorted({name.split("/", 1)[0] for name in names})

    def _check(self, container: str, name: str, condition: Condition) -> None:
        blob = self._blobs.get((container, name))
        if isinstance(condition, Absent) and blob is not None:
            raise ConditionFailed(f"{container}/{name}.")
        if isinstance(condition, Unchanged) and (blob is None or blob.etag != condition.etag):
            raise ConditionFailed(f"{container}/{name}.")


@dataclass(frozen=True)
class _Entry:
    id: str
    text: str
    visible_s: float
    pop_receipt: str
    dequeue_count: int = 0


LARGEST_MESSAGE = 65_536
"""Bytes of a text in UTF-8 that the service takes."""


class MemoryQueue:
    """A MessageQueue in memory."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._ids = itertools.count(1)
        self._lock = threading.RLock()

    def send(self, text: str) -> Receipt:
        if len(text.encode()) > LARGEST_MESSAGE:
            raise StorageUnavailable("413 RequestBodyTooLarge")
        with self._lock:
            entry = _Entry(f"m{next(self._ids)}", text, self._clock(), f"r{next(self._ids)}")
            self._entries[entry.id] = entry
        return Receipt(entry.id, entry.pop_receipt)

    def receive(self, visibility_timeout_s: float) -> Message | None:
        with self._lock:
            now = self._clock()
            visible = [entry for entry in self._entries.values() if entry.visible_s <= now]
            if not visible:
                return None
            entry = min(visible, key=lambda candidate: candidate.visible_s)
            taken = replace(
                entry,
                visible_s=now + visibility_timeout_s,
                pop_receipt=f"r{next(self._ids)}",
                dequeue_count=entry.dequeue_count + 1,
            )
            self._entries[entry.id] = taken
        return Message(Receipt(taken.id, taken.pop_receipt), taken.text, taken.dequeue_count)

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        with self._lock:
            entry = self._held(receipt)
            renewed = replace(entry, visible_s=self._clock() + visibility_timeout_s, pop_receipt=f"r{next(self._ids)}")
            self._entries[entry.id] = renewed
        return Receipt(renewed.id, renewed.pop_receipt)

    def delete(self, receipt: Receipt) -> None:
        with self._lock:
            del self._entries[self._held(receipt).id]

    def count(self) -> int:
        with self._lock:
            return len(self._entries)

    def show(self, message_id: str) -> None:
        """A hidden message comes back before its time: the service promises to deliver at least once."""
        with self._lock:
            self._entries[message_id] = replace(self._entries[message_id], visible_s=self._clock())

    def drop(self, message_id: str) -> None:
        """A message is gone, if it was there."""
        with self._lock:
            self._entries.pop(message_id, None)

    def _held(self, receipt: Receipt) -> _Entry:
        entry = self._entries.get(receipt.message_id)
        if entry is None or entry.pop_receipt != receipt.pop_receipt:
            raise MessageGone(f"Message {receipt.message_id}.")
        return entry
