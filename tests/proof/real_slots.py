"""Slots with the tiny trainer and everything else real: threads, clocks, the SDK's clients, and Azurite behind them."""

import tempfile
import threading
from collections import Counter
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from azure.core.credentials import TokenCredential

from tests.fakes.trainer import tiny_trainers
from worker.contract import names
from worker.contract.azure import blob_service, queue_service
from worker.contract.log import Logger
from worker.contract.queue import AzureQueue, MessageQueue
from worker.contract.records import AzureBlobs, BlobStore
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations, Target
from worker.job_log import LogBook
from worker.liveness import Liveness
from worker.loop import Loop
from worker.signs import Signs
from worker.slot import Slot, Trainers
from worker.stop import StopRequest

Carried = Callable[[BlobStore, MessageQueue, MessageQueue], tuple[BlobStore, MessageQueue, MessageQueue]]


@dataclass
class Heard:
    """What the workers of a trial logged."""

    events: Counter[str] = field(default_factory=Counter)
    lines: list[dict[str, Any]] = field(default_factory=list)

    def logger(self, vm: str) -> Logger:
        """Return a logger that only counts and keeps."""

        def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
            self.events[event["event"]] += 1
            self.lines.append({"vm": vm, **event})
            raise structlog.DropEvent

        logger: Logger = structlog.wrap_logger(None, processors=[keep])
        return logger


def real_slot(
    target: Target,
    credential: TokenCredential,
    vm: str,
    heard: Heard,
    *,
    durations: Durations,
    trainers: Trainers | None = None,
    carried: Carried = lambda blobs, jobs, poison: (blobs, jobs, poison),
) -> Slot:
    """Return the slot of `vm`, a new process as far as storage can tell; `carried` may put something in between."""
    runtime = RealRuntime()
    liveness = Liveness(runtime)
    trainers = trainers or tiny_trainers()
    queues = queue_service(target, credential, liveness.request_returned)
    blobs, jobs, poison = carried(
        AzureBlobs(blob_service(target, credential, liveness.request_returned)),
        AzureQueue(queues.get_queue_client(names.JOBS_QUEUE)),
        AzureQueue(queues.get_queue_client(names.POISON_QUEUE)),
    )
    return Slot(
        vm=vm,
        number=0,
        release="test",
        blobs=blobs,
        presence_blobs=blobs,
        jobs=jobs,
        poison=poison,
        trainers=trainers,
        runtime=runtime,
        durations=durations,
        runtime_directory=Path(tempfile.mkdtemp()),
        liveness=liveness,
        stop=StopRequest(runtime),
        log=heard.logger(vm),
        book=LogBook(),
        signs=Signs(vm, 0, "test", trainers.fingerprint, runtime),
    )


@dataclass
class Running:
    """A slot's loop in a thread."""

    slot: Slot
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self.slot.vm)
        self._thread.start()

    def end(self) -> None:
        """Stop it in order, and raise what ended its loop, if anything did."""
        self.slot.stop.ask("stopped")
        self._thread.join()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            Loop(self.slot).run()
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: `end` raises it
            self.error = error
