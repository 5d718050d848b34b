"""A worker's process that ends itself where a test wants it to: the real slot, over real storage.

Called with a file of JSON: target, identity, key, vm, and where to die.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from producer.emulator.tokens import DirectCredential, Identity, TokenAuthority
from tests.system.watched import Beat, Look, hold, watched
from worker.contract.records import BlobStore, Condition, Listed, Stored
from worker.contract.result import RESULT
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations, Target, WorkerSettings
from worker.notify import Supervisor
from worker.run import assemble, run_assembled
from worker.slot import Slot
from worker.stop import StopRequest
from worker.training_run import Boundary, TrainingRun
from worker.vm.files import Notice, notice_file, write_file


def die() -> None:
    """Go as a VM does whose power is cut."""
    os.kill(os.getpid(), signal.SIGKILL)


class KillingBlobs:
    """Blobs; the process dies before or after the n-th write of a name with this part in it."""

    def __init__(self, blobs: BlobStore, part: str, count: int, *, after: bool) -> None:
        self._blobs, self._part, self.left, self._after = blobs, part, count, after

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        self.left -= self._part in name
        if self._part in name and self.left == 0 and not self._after:
            die()
        etag = self._blobs.put(container, name, body, condition, metadata)
        if self._part in name and self.left == 0:
            die()
        return etag

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        return self._blobs.get(container, name, beat)

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        self._blobs.delete(container, name, condition)

    def folders(self, container: str) -> Any:
        return self._blobs.folders(container)

    def list(self, container: str, prefix: str) -> Any:
        found: Any = self._blobs.list(container, prefix)
        listed: list[Listed] = list(found)
        return iter(listed)


def wanted(slot: Slot, end: Mapping[str, Any]) -> Slot:
    """Return the slot that ends where `end` says."""
    if end["how"] == "write":
        blobs = KillingBlobs(slot.blobs, end["part"], end["count"], after=end["after"])
        in_training = end["part"] != RESULT
        trainers = watched(slot.trainers, a_boundary_a_write(blobs)) if in_training else slot.trainers
        return replace(slot, blobs=blobs, trainers=trainers)

    def look(run: TrainingRun, boundary: Boundary, beat: Beat) -> None:
        flown = len(run.partial_evaluation.returns) if run.partial_evaluation else -1
        if end["how"] == "step" and run.step >= end["at"]:
            die()
        if end["how"] == "evaluation" and flown >= end["at"]:
            die()
        if end["how"] == "notice" and run.step >= end["at"]:
            write_file(notice_file(slot.runtime_directory), Notice(type="Preempt"))
            hold(run, boundary, beat, lambda: False)  # the boundary ends it, once the notice is read

    return replace(slot, trainers=watched(slot.trainers, look))


def a_boundary_a_write(blobs: KillingBlobs) -> Look:
    """Let a run go on by one boundary for each write that counts: all come, however soon the job could be done."""

    def look(run: TrainingRun, boundary: Boundary, beat: Beat) -> None:
        left = blobs.left
        hold(run, boundary, beat, lambda: blobs.left < left)

    return look


def main() -> int:
    """Run the slot."""
    told = json.loads(Path(sys.argv[1]).read_text())
    target = Target.model_validate(told["target"])
    identity = DirectCredential(
        TokenAuthority(told["key"].encode(), lambda: datetime.now(UTC)), Identity(**told["identity"])
    )
    settings = WorkerSettings(target=Path(), vm=told["vm"], durations=Durations.model_validate(told["durations"]))
    runtime = RealRuntime()
    slot = assemble(settings, target, identity, 0, runtime, StopRequest(runtime))
    if told["end"]["how"] == "done":
        # The process is done when its job is: a test has nothing else for it to do.
        runtime.spawn("when done", lambda: _stop_when_empty(slot))
    return run_assembled(wanted(slot, told["end"]), Supervisor(slot.log, {}), booted_s=0.0)


def _stop_when_empty(slot: Slot) -> None:
    while not slot.runtime.wait(slot.stop.event, 0.2):
        if slot.jobs.count() == 0:
            slot.stop.ask("stopped")


if __name__ == "__main__":
    sys.exit(main())
