"""What goes wrong on request: the odd behaviour of Azure that tests switch on, one fault at a time or by campaign."""

import re
import threading
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from producer.emulator.states import Kind, Refused


class Allocation(StrEnum):
    """What becomes of a VM that was asked for."""

    SUCCEEDS = "succeeds"
    FAILS = "fails"
    """The operation ends with AllocationFailed; the VM stays, Failed, and counts as capacity."""
    VANISHES = "vanishes"
    """It was accepted and is gone before it ever ran."""


@dataclass(frozen=True)
class RequestFault:
    """A wrong answer to requests that match. `applied`: the request is carried out, and only its answer is wrong."""

    status: int
    code: str
    message: str = "This answer was injected."
    method: str = ".*"
    path: str = ".*"
    retry_after_s: float | None = None
    applied: bool = False

    def matches(self, method: str, path: str) -> bool:
        """Whether a request is met. Both are regular expressions; that of the path may match anywhere in it."""
        return re.fullmatch(self.method, method) is not None and re.search(self.path, path, re.IGNORECASE) is not None

    @classmethod
    def throttled(cls, retry_after_s: float | None, method: str = ".*", path: str = ".*") -> Self:
        """429, as Compute words it; without Retry-After the SDK retries no write."""
        text = "The server rejected the request because too many requests have been received for this subscription."
        return cls(429, "OperationNotAllowed", text, method, path, retry_after_s)

    @classmethod
    def conflict(cls, method: str = "PATCH|POST|DELETE", path: str = ".*") -> Self:
        """409: another write on the same resource is going on."""
        return cls(409, "ConflictingConcurrentWriteNotAllowed", "A concurrent write is going on.", method, path)

    @classmethod
    def sku_not_available(cls) -> Self:
        """409 at once: the region sells no such spot VM now."""
        text = "The requested VM size is currently not available in the location. Please try another size or location."
        return cls(409, "SkuNotAvailable", text, "PATCH")

    @classmethod
    def unavailable(cls, method: str = ".*", path: str = ".*", *, applied: bool = False) -> Self:
        """503, with the request carried out or not."""
        return cls(503, "ServiceUnavailable", "The service is unavailable.", method, path, applied=applied)


@dataclass
class Faults:
    """Everything that is wrong now. The emulator reads it at each request and each decision; all is well at first."""

    quota: int | None = None
    """More VMs than this are refused at once, as a spot quota does."""
    evictions_leave_stopped: bool = False
    """An evicted VM stays, stopped, and counts as capacity, as seen in spite of the Delete policy (AKS #4400)."""
    stale_lists_s: float = 0.0
    """Lists go on to show a deleted VM for so long (azure-sdk-for-net #36946)."""
    deletions_leave: frozenset[Kind] = frozenset()
    """Parts that stay behind when a VM goes, and are billed on, as after a deletion that was cut short."""
    wake_disabled: bool = False
    """Somebody has disabled the wake in the portal: it does not run."""
    scheduled_events_delay_s: float = 0.0
    """The first call of a VM to scheduled events takes so long, as it enables the service (up to two minutes)."""
    _requests: list[RequestFault] = field(default_factory=list)
    _allocations: deque[Allocation] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, fault: RequestFault, times: int = 1) -> None:
        """The next `times` requests that match get this answer."""
        with self._lock:
            self._requests.extend([fault] * times)

    def allocate(self, *outcomes: Allocation) -> None:
        """The next VMs end like this, in this order; those after them succeed."""
        with self._lock:
            self._allocations.extend(outcomes)

    def check_quota(self, capacity: int, now: int) -> None:
        """Refuse more VMs than the quota has. Raises Refused (OperationNotAllowed), in Azure's words."""
        if self.quota is not None and capacity > max(self.quota, now):
            text = (
                "Operation could not be completed as it results in exceeding approved LowPriorityCores quota. "
                f"Current Limit: {self.quota}, Current Usage: {now}, Additional Required: {capacity - now}."
            )
            raise Refused("OperationNotAllowed", text)

    def take_answer(self, method: str, path: str) -> RequestFault | None:
        """The fault for this request, used up by it."""
        with self._lock:
            for index, fault in enumerate(self._requests):
                if fault.matches(method, path):
                    return self._requests.pop(index)
        return None

    def take_allocation(self) -> Allocation:
        """What becomes of the next VM."""
        with self._lock:
            return self._allocations.popleft() if self._allocations else Allocation.SUCCEEDS
