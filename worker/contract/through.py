"""Storage whose every request goes through one function: to be tried again, counted, or refused."""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from worker.contract.queue import Message, MessageQueue, Receipt
from worker.contract.records import BlobStore, Condition, Listed, Stored

T = TypeVar("T")


class Carry(Protocol):
    """Carries a request out, or not, or again."""

    def __call__(self, request: Callable[[], T], /) -> T:
        """Return what the request returned."""


class BlobsThrough:
    """A BlobStore whose requests go through `carry`."""

    def __init__(self, blobs: BlobStore, carry: Carry) -> None:
        self._blobs = blobs
        self._carry = carry

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        """Read a blob."""
        return self._carry(lambda: self._blobs.get(container, name, beat))

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write a blob."""
        return self._carry(lambda: self._blobs.put(container, name, body, condition, metadata))

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        """Delete a blob."""
        self._carry(lambda: self._blobs.delete(container, name, condition))

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        """List blobs; whole, since a refusal comes with the first page."""
        yield from self._carry(lambda: [*self._blobs.list(container, prefix)])

    def folders(self, container: str) -> Iterator[str]:
        """List folders, whole."""
        yield from self._carry(lambda: [*self._blobs.folders(container)])


class QueueThrough:
    """A MessageQueue whose requests go through `carry`."""

    def __init__(self, queue: MessageQueue, carry: Carry) -> None:
        self._queue = queue
        self._carry = carry

    def send(self, text: str) -> Receipt:
        """Put a message."""
        return self._carry(lambda: self._queue.send(text))

    def receive(self, visibility_timeout_s: float) -> Message | None:
        """Take a message."""
        return self._carry(lambda: self._queue.receive(visibility_timeout_s))

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        """Hide a message for longer."""
        return self._carry(lambda: self._queue.renew(receipt, visibility_timeout_s))

    def delete(self, receipt: Receipt) -> None:
        """Delete a message."""
        self._carry(lambda: self._queue.delete(receipt))

    def count(self) -> int:
        """Count the messages."""
        return self._carry(self._queue.count)
