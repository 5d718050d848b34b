"""What a worker's process does that is to be killed at one of its requests (row 5). Runs in a child of the herd."""

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from azure.core.credentials import TokenCredential

from tests.fakes.producing import Gate
from tests.fakes.trainer import TinyRun
from tests.proof.real_slots import Heard, real_slot
from tests.proof.steady import DURATIONS, Clock, SteadyRuntime, work
from worker.contract.job import Job
from worker.contract.settings import Target
from worker.contract.through import BlobsThrough, QueueThrough
from worker.liveness import Liveness
from worker.signs import Signs
from worker.slot import Slot, Trainers
from worker.stop import StopRequest

VISIBILITY_S: Final = 3.0
"""By Azurite's clock; all else that this worker times goes by its own, on which a step is a second."""
EVICTED_AT: Final = 6


def serve(scenario: str, target: Target, credential: TokenCredential, at: int, after: bool) -> int:
    """Work until there is no message, and die at the n-th request (0: never). Returns how many requests it made."""
    gate = Gate(at, after, lambda: os.kill(os.getpid(), signal.SIGKILL))
    runtime = SteadyRuntime(Clock(), process=os.getpid())

    def build(job: Job) -> TinyRun:
        run = TinyRun(job, lambda: step(run))
        return run

    def step(run: TinyRun) -> None:
        runtime.step()
        AT_STEP[scenario](slot, run)

    trainers = Trainers(build=build, fingerprint={"cpu": "tiny"})
    plain = real_slot(
        target,
        credential,
        "vm-a",
        Heard(),
        durations=DURATIONS.model_copy(update={"visibility_timeout_s": VISIBILITY_S}),
        trainers=trainers,
        carried=lambda blobs, jobs, poison: (
            BlobsThrough(blobs, gate.through),
            QueueThrough(jobs, gate.through),
            QueueThrough(poison, gate.through),
        ),
    )
    slot = replace(
        plain,
        runtime=runtime,
        liveness=Liveness(runtime),
        stop=StopRequest(runtime),
        signs=Signs("vm-a", 0, "test", trainers.fingerprint, runtime),
    )
    work(slot)
    return gate.passed


def _evict(slot: Slot, run: TinyRun) -> None:
    if run.step >= EVICTED_AT:
        slot.stop.ask("evicted")


AT_STEP: Final[Mapping[str, Callable[[Slot, TinyRun], None]]] = {
    "a job from claim to deletion": lambda slot, run: None,
    "an eviction": _evict,
}
