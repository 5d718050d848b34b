"""Storage account, queue and scale set as the wake sees them, with answers recorded from Azure's documentation."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from producer.emulator.wake import HttpAnswer, HttpCall, Run, Wake

SNAPSHOTS = Path(__file__).parents[2] / "bicep" / "snapshots"
JSON = {"Content-Type": "application/json; charset=utf-8"}
# As Azure answers, shortened.
FORBIDDEN = HttpAnswer(403, {"Content-Type": "application/xml"}, b"<Error><Code>AuthorizationFailure</Code></Error>")
NO_BLOB = HttpAnswer(404, {"Content-Type": "application/xml"}, b"<Error><Code>BlobNotFound</Code></Error>")
BUSY = HttpAnswer(503, {"Content-Type": "application/xml"}, b"<Error><Code>ServerBusy</Code></Error>")
PRECONDITION = HttpAnswer(412, JSON, b'{"error":{"code":"ConditionNotMet","message":"The etag does not match."}}')
QUOTA = HttpAnswer(
    409,
    JSON,
    b'{"error":{"code":"OperationNotAllowed","message":"Operation could not be completed as it results in exceeding '
    b'approved LowPriorityCores quota."}}',
)
ADDRESSES = HttpAnswer(400, JSON, b'{"error":{"code":"PublicIPCountLimitReached","message":"Cannot create more."}}')
THROTTLED = HttpAnswer(429, {**JSON, "Retry-After": "60"}, b'{"error":{"code":"OperationNotAllowed"}}')
Answer = HttpAnswer | OSError | Callable[[HttpCall], HttpAnswer]


class Blob:
    """A blob as the storage account keeps it."""

    def __init__(self, etag: str, modified: datetime, metadata: dict[str, str]) -> None:
        self.etag, self.modified, self.metadata = etag, modified, metadata


class Cloud:
    """Storage account, queue and scale set as the wake sees them; `answers` replaces single answers by others."""

    def __init__(self, *, capacity: int = 0, count: int = 0) -> None:
        self.time = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)
        self.capacity, self.count = capacity, count
        self.provisioning_state = "Succeeded"
        self.version = 7
        self.blobs: dict[str, Blob] = {}
        self.answers: dict[str, list[Answer | None]] = {}
        self.calls: list[HttpCall] = []
        self.delays: dict[str, float] = {}
        self.waited: list[float] = []
        self.while_waiting: Callable[[], None] = lambda: None

    # ---- what the engine asks ----
    def now(self) -> datetime:
        return self.time

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.time += timedelta(seconds=seconds)
        self.while_waiting()

    def send(self, call: HttpCall) -> HttpAnswer:
        self.calls.append(call)
        what = f"{call.method} {self.name(call)}"
        self.time += timedelta(seconds=self.delays.get(what, 0.2))
        scripted = self.answers.get(what)
        answer = scripted.pop(0) if scripted else None
        if isinstance(answer, OSError):
            raise answer
        if callable(answer):
            return answer(call)
        return answer or self.respond(call)

    # ---- what there is ----
    @staticmethod
    def name(call: HttpCall) -> str:
        path = call.uri.partition("?")[0]
        return "set" if "virtualMachineScaleSets" in path else path.rpartition("/")[2]

    def respond(self, call: HttpCall) -> HttpAnswer:
        date = {"Date": format_datetime(self.time, usegmt=True)}
        name = self.name(call)
        if name == "set":
            return self.respond_set(call)
        if name == "jobs":
            return HttpAnswer(200, {**date, "x-ms-approximate-messages-count": str(self.count)})
        if call.method == "PUT":
            self.write(name, {key: text for key, text in call.headers.items() if key.startswith("x-ms-meta-")})
            return HttpAnswer(201, {**date, "ETag": self.blobs[name].etag})
        if name not in self.blobs:
            return HttpAnswer(NO_BLOB.status, {**NO_BLOB.headers, **date}, NO_BLOB.body)
        blob = self.blobs[name]
        modified = {"ETag": blob.etag, "Last-Modified": format_datetime(blob.modified, usegmt=True)}
        return HttpAnswer(
            200, {**date, **modified, **blob.metadata, "Content-Type": "application/octet-stream"}, b"vm0"
        )

    def respond_set(self, call: HttpCall) -> HttpAnswer:
        if call.method == "PATCH":
            if call.headers["If-Match"] != self.etag:
                return PRECONDITION
            self.capacity = json.loads(call.body or b"")["sku"]["capacity"]
            self.version += 1
        return HttpAnswer(200, JSON, json.dumps(self.document()).encode())

    @property
    def etag(self) -> str:
        return f'"{self.version}"'

    def document(self) -> dict[str, Any]:
        properties = {"provisioningState": self.provisioning_state, "orchestrationMode": "Flexible"}
        sku = {"name": "Standard_F8als_v6", "capacity": self.capacity}
        return {"name": "tranq-set", "etag": self.etag, "sku": sku, "properties": properties}

    def write(self, name: str, metadata: dict[str, str] | None = None) -> None:
        etag = f'"0x{len(self.calls)}{self.time.timestamp():.0f}"'
        self.blobs[name] = Blob(etag, self.time.replace(microsecond=0), metadata or {})

    def age(self, name: str, seconds: float) -> None:
        self.write(name)
        self.blobs[name].modified -= timedelta(seconds=seconds)

    def did(self) -> list[str]:
        return [f"{call.method} {self.name(call)}" for call in self.calls]

    def patches(self) -> list[int]:
        return [json.loads(call.body or b"")["sku"]["capacity"] for call in self.calls if call.method == "PATCH"]


def deployed_wake(snapshot: str = "first") -> Wake | None:
    """The wake of a snapshot: 8 slots per VM and at most 10 VMs, where it is the first."""
    return Wake.from_snapshot(json.loads((SNAPSHOTS / f"{snapshot}.snapshot.json").read_text()))


def remembered(cloud: Cloud) -> tuple[int, str]:
    metadata = cloud.blobs["wake"].metadata
    return int(metadata["x-ms-meta-raises"]), metadata["x-ms-meta-commit"]


def evict_and_run(wake: Wake, cloud: Cloud, after_s: float = 600) -> Run:
    """Every VM is evicted; the next run of the wake finds an empty set."""
    cloud.capacity = 0
    cloud.time += timedelta(seconds=after_s)
    cloud.calls.clear()
    return wake.run(cloud)
