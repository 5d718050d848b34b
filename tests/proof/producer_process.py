"""What a producer's process does that is to be killed at one of its requests (row 3). Runs in a child of the herd."""

import os
import signal
from collections.abc import Callable, Mapping
from typing import Final

from azure.core.credentials import TokenCredential

from producer.fleet.memory import Memory
from producer.fleet.scaler import Scaler
from producer.session import Session
from producer.sweep.audit import audit
from producer.sweep.enqueue import enqueue
from producer.sweep.lifecycle import delete, retry
from tests.fakes.clock import VirtualRuntime
from tests.fakes.producing import Gate
from tests.fakes.scale_set import MemoryScaleSet
from tests.proof.crash_points import PLAN, SWEEP
from worker.contract import names
from worker.contract.azure import blob_service, queue_service
from worker.contract.errors import InputError
from worker.contract.queue import AzureQueue
from worker.contract.records import AzureBlobs
from worker.contract.runtime import RealRuntime, Runtime
from worker.contract.settings import Durations, Target
from worker.contract.through import BlobsThrough, QueueThrough

VMS: Final = ("workers_00000001", "workers_00000002")
"""The instances of the set that `drain` sees: what a MemoryScaleSet calls its first two."""
TICKS: Final = 12


def produce(command: str, target: Target, credential: TokenCredential, at: int, after: bool) -> int:
    """Run a command, and die at its n-th request (0: never). Returns how many requests it made."""
    gate = Gate(at, after, lambda: os.kill(os.getpid(), signal.SIGKILL))
    runtime = VirtualRuntime() if command == "drain" else RealRuntime()
    try:
        COMMANDS[command](_session(target, credential, gate, runtime))
    except InputError:
        return gate.passed  # the one that died had left nothing to do
    return gate.passed


def _session(target: Target, credential: TokenCredential, gate: Gate, runtime: Runtime) -> Session:
    queues = queue_service(target, credential)
    return Session(
        target=target.model_copy(update={"max_instances": len(VMS)}),
        durations=Durations(),
        blobs=BlobsThrough(AzureBlobs(blob_service(target, credential)), gate.through),
        jobs=QueueThrough(AzureQueue(queues.get_queue_client(names.JOBS_QUEUE)), gate.through),
        poison=AzureQueue(queues.get_queue_client(names.POISON_QUEUE)),
        runtime=runtime,
        user="ada",
    )


def _drain(session: Session) -> None:
    """Look at a set of two idle VMs until they are gone, or for so many ticks."""
    runtime = session.runtime
    assert isinstance(runtime, VirtualRuntime)
    scale_set = MemoryScaleSet(runtime.monotonic)
    scale_set.raise_to(len(VMS), scale_set.read().etag)
    runtime.advance(2 * scale_set.boot_s)
    scaler, memory = Scaler(session, scale_set, audit), Memory()
    for _ in range(TICKS):
        report = scaler.tick(memory)
        memory = report.memory
        runtime.advance(report.pause_s)
    if not scale_set.names:
        session.control.committed("all gone")


COMMANDS: Final[Mapping[str, Callable[[Session], object]]] = {
    "enqueue": lambda session: enqueue(session, PLAN, lambda _: True),
    "retry": lambda session: retry(session, SWEEP),
    "delete": lambda session: delete(session, SWEEP),
    "drain": _drain,
}
