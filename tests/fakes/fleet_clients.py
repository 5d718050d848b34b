"""Storage and scale set as the clients of a simulated fleet see them: every request takes a while, and may fail."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from producer.fleet.look import ScaleSetState
from tests.fakes.scale_set import MemoryScaleSet
from tests.fakes.storage import MemoryBlobs, MemoryQueue
from worker.contract.queue import Message, Receipt
from worker.contract.records import Condition, Listed, Stored


class SlowBlobs(MemoryBlobs):
    """Storage whose answers take time, and fail during an outage."""

    def __init__(self, clock: Callable[[], float], request: Callable[[str], None]) -> None:
        super().__init__(clock)
        self._request = request

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        self._request(f"get {name}")
        return super().get(container, name, beat)

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        self._request(f"put {name}")
        return super().put(container, name, body, condition, metadata)

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        self._request(f"delete {name}")
        super().delete(container, name, condition)

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        self._request(f"list {prefix}")
        yield from tuple(super().list(container, prefix))


class SlowQueue(MemoryQueue):
    """A queue whose answers take time, and fail during an outage."""

    def __init__(self, clock: Callable[[], float], request: Callable[[str], None]) -> None:
        super().__init__(clock)
        self._request = request

    def receive(self, visibility_timeout_s: float) -> Message | None:
        self._request("receive")
        return super().receive(visibility_timeout_s)

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        self._request("renew")
        return super().renew(receipt, visibility_timeout_s)

    def count(self) -> int:
        self._request("count")
        return super().count()


class CheckedSet:
    """The scale set as clients see it: slow, and with a witness to every deletion."""

    def __init__(self, inner: MemoryScaleSet, request: Callable[[str], None], witness: Callable[[str], None]) -> None:
        self._inner = inner
        self._request = request
        self._witness = witness
        self.weather = Weather()

    def read(self) -> ScaleSetState:
        self.weather.before("read")
        state = self.weather.listed(self._inner.read())
        self._request("read the set")
        return state

    def raise_to(self, capacity: int, etag: str) -> None:
        self._request("raise")
        self.weather.before("raise")
        assert capacity > self._inner.capacity or etag != self._inner.etag, "a PATCH downwards"
        self._inner.raise_to(capacity, etag)
        self.weather.after("raise")

    def clear(self, etag: str) -> None:
        self._request("clear")
        self.weather.before("clear")
        assert not self._inner.names or etag != self._inner.etag, "cleared a set with instances"
        self._inner.clear(etag)
        self.weather.after("clear")

    def delete(self, vms: Sequence[str]) -> None:
        self._request("delete instances")
        self.weather.before("delete")
        for vm in vms:
            self._witness(vm)
        self._inner.delete(vms)
        self.weather.after("delete")


class Weather:
    """How Azure Resource Manager answers. Fair; a storm makes it worse."""

    def before(self, what: str) -> None:
        """A request arrives: raise FleetError instead of doing what it asks."""

    def after(self, what: str) -> None:
        """It was done: raise FleetError instead of saying so."""

    def listed(self, state: ScaleSetState) -> ScaleSetState:
        """Return the set as it is told."""
        return state
