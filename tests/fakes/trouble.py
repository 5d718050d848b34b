"""Storage in trouble: a queue and blobs that refuse every request while the test says so."""

import threading
from collections.abc import Callable, Iterator, Mapping

from worker.contract.errors import StorageError, StorageUnavailable
from worker.contract.queue import Message, MessageQueue, Receipt
from worker.contract.records import BlobStore, Condition, Listed, Stored


class Trouble:
    """What all stores of a test suffer from at once."""

    def __init__(self, error: StorageError | None = None) -> None:
        self._error = error or StorageUnavailable("An outage.")
        self._changed = threading.Condition()
        self.down = False
        self.refused = 0

    def check(self) -> None:
        with self._changed:
            if self.down:
                self.refused += 1
                self._changed.notify_all()
                raise self._error

    def await_refusals(self, more: int = 1) -> None:
        """Wait until so many more requests were refused."""
        with self._changed:
            enough = self.refused + more
            assert self._changed.wait_for(lambda: self.refused >= enough, 60), "nobody asks the storage"


class TroubledBlobs:
    """A BlobStore that may be down."""

    def __init__(self, blobs: BlobStore, trouble: Trouble) -> None:
        self._blobs, self._trouble = blobs, trouble

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        self._trouble.check()
        return self._blobs.get(container, name, beat)

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        self._trouble.check()
        return self._blobs.put(container, name, body, condition, metadata)

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        self._trouble.check()
        self._blobs.delete(container, name, condition)

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        self._trouble.check()
        return self._blobs.list(container, prefix)

    def folders(self, container: str) -> Iterator[str]:
        self._trouble.check()
        return self._blobs.folders(container)


class TroubledQueue:
    """A MessageQueue that may be down."""

    def __init__(self, queue: MessageQueue, trouble: Trouble) -> None:
        self._queue, self._trouble = queue, trouble

    def send(self, text: str) -> Receipt:
        self._trouble.check()
        return self._queue.send(text)

    def receive(self, visibility_timeout_s: float) -> Message | None:
        self._trouble.check()
        return self._queue.receive(visibility_timeout_s)

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        self._trouble.check()
        return self._queue.renew(receipt, visibility_timeout_s)

    def delete(self, receipt: Receipt) -> None:
        self._trouble.check()
        self._queue.delete(receipt)

    def count(self) -> int:
        self._trouble.check()
        return self._queue.count()
