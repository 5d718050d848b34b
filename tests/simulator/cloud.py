"""Queue, blobs and scale set in memory, with a witness to all that is carried out, and the clients of all three."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from producer.fleet.look import ScaleSetState
from tests.fakes.scale_set import MemoryScaleSet
from tests.fakes.storage import MemoryBlobs, MemoryQueue
from tests.simulator.network import Client, Network
from tests.simulator.rules import Rules
from tests.simulator.scheduler import Scheduler
from worker.contract.queue import Message, Receipt
from worker.contract.records import Condition, Listed, Stored

T = TypeVar("T")

APPEAR_S: Final = 0.3
BOOT_S: Final = 1.5
DELETE_S: Final = 1.3
"""Azure's times, as all times are shrunk here."""


class Cloud:
    """All that outlives every process."""

    def __init__(self, scheduler: Scheduler, network: Network, rules: Rules, *, lowers_late: bool) -> None:
        def now_s() -> float:
            return scheduler.now_s

        self.scheduler = scheduler
        self.network = network
        self.rules = rules
        self.blobs = MemoryBlobs(now_s)
        self.jobs = MemoryQueue(now_s)
        self.poison = MemoryQueue(now_s)
        self.scale_set = TimedScaleSet(
            now_s, APPEAR_S, BOOT_S, DELETE_S, lowers_late=lowers_late, later=scheduler.after
        )


@dataclass(kw_only=True)
class TimedScaleSet(MemoryScaleSet):
    """The set in memory, in which things happen when their time comes, and not only when somebody looks."""

    later: Callable[[float, Callable[[], None]], None]

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        super()._after(seconds, action)
        self.later(seconds, self.settle)


class Blobs:
    """A BlobStore for one client."""

    def __init__(self, cloud: Cloud, client: Client) -> None:
        self._cloud = cloud
        self._client = client

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        found = self._request(lambda: self._cloud.blobs.get(container, name))
        if found is not None:
            beat()
        return found

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        def put() -> str:
            etag = self._cloud.blobs.put(container, name, body, condition, metadata)
            self._cloud.rules.blob_put(self._client, container, name, body)
            return etag

        return self._request(put)

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        def delete() -> None:
            there = self._cloud.blobs.get(container, name) is not None
            self._cloud.blobs.delete(container, name, condition)
            if there:
                self._cloud.rules.blob_deleted(self._client, container, name)

        self._request(delete)

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        yield from self._request(lambda: [*self._cloud.blobs.list(container, prefix)])

    def folders(self, container: str) -> Iterator[str]:
        yield from self._request(lambda: [*self._cloud.blobs.folders(container)])

    def _request(self, work: Callable[[], T]) -> T:
        return self._cloud.network.request(self._client, "blobs", work)


class Queue:
    """A MessageQueue for one client."""

    def __init__(self, cloud: Cloud, client: Client, queue: MemoryQueue) -> None:
        self._cloud = cloud
        self._client = client
        self._queue = queue
        self._watched = queue is cloud.jobs

    def send(self, text: str) -> Receipt:
        def send() -> Receipt:
            receipt = self._queue.send(text)
            if self._watched:
                self._cloud.rules.message_sent(self._client, receipt.message_id, text)
            return receipt

        return self._request(send)

    def receive(self, visibility_timeout_s: float) -> Message | None:
        def receive() -> Message | None:
            message = self._queue.receive(visibility_timeout_s)
            if message is not None:
                self._cloud.rules.message_received(self._client, message.receipt.message_id)
            return message

        return self._request(receive)

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        def renew() -> Receipt:
            renewed = self._queue.renew(receipt, visibility_timeout_s)
            self._cloud.rules.message_renewed(self._client, receipt.message_id, visibility_timeout_s)
            return renewed

        return self._by_receipt(receipt.message_id, renew)

    def delete(self, receipt: Receipt) -> None:
        def delete() -> None:
            self._queue.delete(receipt)
            if self._watched:
                self._cloud.rules.message_deleted(self._client, receipt.message_id)

        self._by_receipt(receipt.message_id, delete)

    def count(self) -> int:
        return self._request(self._queue.count)

    def _by_receipt(self, message_id: str, work: Callable[[], T]) -> T:
        uses = self._client.uses
        uses[message_id] += 1
        if uses[message_id] > 1:
            self._cloud.rules.breaks(self._client.name, f"uses the pop receipt of {message_id} twice at a time")
        try:
            return self._request(work)
        finally:
            uses[message_id] -= 1

    def _request(self, work: Callable[[], T]) -> T:
        return self._cloud.network.request(self._client, "queue", work)


class ScaleSetClient:
    """A ScaleSet for one client."""

    def __init__(self, cloud: Cloud, client: Client) -> None:
        self._cloud = cloud
        self._client = client

    def read(self) -> ScaleSetState:
        return self._request(self._cloud.scale_set.read)

    def raise_to(self, capacity: int, etag: str) -> None:
        self._request(lambda: self._patch(capacity, etag))

    def clear(self, etag: str) -> None:
        self._request(lambda: self._patch(0, etag))

    def delete(self, names: Sequence[str]) -> None:
        def delete() -> None:
            self._cloud.rules.before_deletion(self._client, names)
            self._cloud.scale_set.delete(names)

        self._request(delete)

    def _patch(self, capacity: int, etag: str) -> None:
        patch(self._cloud, self._client, capacity, etag)

    def _request(self, work: Callable[[], T]) -> T:
        return self._cloud.network.request(self._client, "arm", work)


def patch(cloud: Cloud, client: Client, capacity: int, etag: str) -> None:
    """Set the capacity as Azure does, with a witness."""
    state = cloud.scale_set.read()
    if etag == state.etag:
        cloud.rules.before_patch(client, state, capacity)
    cloud.scale_set.raise_to(capacity, etag) if capacity else cloud.scale_set.clear(etag)
