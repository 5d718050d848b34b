"""The deployed wake in a simulated fleet: its definition as it is, and a fleet that answers like Azure."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from typing import Protocol

from producer.emulator.wake import HttpAnswer, HttpCall, Wake
from tests.fakes.scale_set import MemoryScaleSet
from tests.fakes.storage import MemoryBlobs
from tests.fakes.wake_cloud import JSON, NO_BLOB, PRECONDITION, QUOTA, THROTTLED, Cloud, deployed_wake
from worker.contract import names
from worker.contract.errors import CapacityRefused, FleetError, SetChanged, StorageError, Throttled
from worker.contract.queue import MessageQueue

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def fleet_wake(max_instances: int, slots: int) -> Wake:
    """Return the wake of the first deployment, for a set of this size."""
    wake = deployed_wake()
    assert wake is not None
    return wake.with_parameters(maxInstances=max_instances, slotsPerInstance=slots)


class Clocked(Protocol):
    """A clock that waits."""

    now_s: float

    def advance(self, seconds: float) -> None:
        """Let time pass."""


class WakeWorld:
    """A fleet as the wake sees it (`Surroundings`)."""

    def __init__(
        self,
        runtime: Clocked,
        scale_set: MemoryScaleSet,
        blobs: MemoryBlobs,
        jobs: MessageQueue,
        kills: Callable[[], list[str]],
    ) -> None:
        """`kills`: the VMs that work now, and so must not be cleared away."""
        self._runtime, self._set, self._blobs, self._jobs, self._kills = runtime, scale_set, blobs, jobs, kills

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._runtime.now_s)

    def wait(self, seconds: float) -> None:
        self._runtime.advance(seconds)

    def send(self, call: HttpCall) -> HttpAnswer:
        try:
            return self._answer(call, Cloud.name(call))
        except StorageError as error:
            raise OSError(str(error)) from error

    def _answer(self, call: HttpCall, name: str) -> HttpAnswer:
        if name == "set":
            return self._patch(call) if call.method == "PATCH" else self._read_set()
        if name == "jobs":
            count = self._jobs.count()
            return HttpAnswer(200, {"Date": self._date(), "x-ms-approximate-messages-count": str(count)})
        if call.method == "PUT":
            metadata = {key: text for key, text in call.headers.items() if key.startswith("x-ms-meta-")}
            etag = self._blobs.put(names.CONTROL, name, call.body or b"", metadata=metadata)
            return HttpAnswer(201, {"Date": self._date(), "ETag": etag})
        found = self._blobs.get(names.CONTROL, name)
        if found is None:
            return HttpAnswer(NO_BLOB.status, {**NO_BLOB.headers, "Date": self._date()}, NO_BLOB.body)
        headers = {"Date": self._date(), "Last-Modified": self._date(found.age_s), "ETag": found.etag}
        return HttpAnswer(200, {**headers, **found.metadata, "Content-Type": "application/octet-stream"}, found.body)

    def _read_set(self) -> HttpAnswer:
        self._runtime.advance(0.2)
        document = {"etag": self._set.etag, "sku": {"capacity": self._set.capacity}, "properties": {}}
        return HttpAnswer(200, JSON, json.dumps(document).encode())

    def _patch(self, call: HttpCall) -> HttpAnswer:
        self._runtime.advance(0.2)
        capacity, etag = json.loads(call.body or b"")["sku"]["capacity"], call.headers["If-Match"]
        if not capacity and etag == self._set.etag:
            assert not self._kills(), f"the wake cleared {', '.join(self._kills())}, which worked"
        try:
            if capacity:
                assert capacity > self._set.capacity or etag != self._set.etag, "a PATCH downwards"
                self._set.raise_to(capacity, etag)
            else:
                self._set.clear(etag)
        except SetChanged:
            return PRECONDITION
        except CapacityRefused:
            return QUOTA
        except Throttled:
            return THROTTLED
        except FleetError:
            return HttpAnswer(500, JSON, b"{}")
        return self._read_set()

    def _date(self, ago_s: float = 0.0) -> str:
        return format_datetime(self.now() - timedelta(seconds=ago_s), usegmt=True)
