"""Makes snapshots durable while the trainer goes on: upload, then the manifest, then what that made garbage."""

import contextlib
import traceback
from collections.abc import Callable, Mapping
from typing import Literal

from worker import decisions
from worker.checkpoint import CheckpointStore, rows_from
from worker.contract.errors import OwnershipLost, StorageError
from worker.contract.log import MEASURED, Logger
from worker.contract.manifest import Generation
from worker.contract.runtime import Runtime
from worker.fence import Fence
from worker.snapshot.curve import Curve
from worker.stop import StopRequest
from worker.training_run import Snapshot

AGAIN_AFTER_FAILURE_S = 5.0
AGAIN_BEFORE_A_STOP_S = 1.0


class Committer:
    """One thread, one snapshot in flight. The trainer only copies memory."""

    def __init__(
        self,
        store: CheckpointStore,
        fence: Fence,
        stop: StopRequest,
        runtime: Runtime,
        log: Logger,
        *,
        base: Generation | None,
        commit_s: float,
        progress: Callable[[], decisions.Progress],
        fingerprint: Mapping[str, str],
        after_commit: Callable[[], None],
    ) -> None:
        self._store, self._fence, self._stop, self._runtime, self._log = store, fence, stop, runtime, log
        self._base = base
        self._commit_s = commit_s
        self._progress = progress
        self._fingerprint = fingerprint
        self._after_commit = after_commit
        self._pending: Snapshot | None = None
        self._closing = False
        self._wake, self._idle = runtime.event(), runtime.event()
        self._idle.set()
        self._next_s = runtime.monotonic() + commit_s
        self._became: Literal["durable", "refused", "lost"] = "durable"
        self._error: BaseException | None = None
        self._told_step = base.step if base else 0
        self._task = runtime.spawn("committer", self._work)

    def due(self) -> bool:
        """Return whether it is time for a snapshot, and none is in flight."""
        return self._idle.is_set() and self._runtime.monotonic() >= self._next_s

    def rows_from(self) -> int:
        """Return from which row on the next snapshot must bring the replay buffer; only while none is in flight."""
        return rows_from(self._base)

    def commit(self, snapshot: Snapshot) -> None:
        """Take a snapshot; only while none is in flight."""
        self._idle.clear()
        self._pending = snapshot
        self._wake.set()

    def commit_before(self, snapshot: Snapshot, left_s: Callable[[], float]) -> bool:
        """Take the last snapshot before a stop, again while storage refuses it and `left_s` is above 0.

        Only while none is in flight. Returns whether it counts.
        """
        while True:
            self.commit(snapshot)
            if not self.settle(left_s()):
                return False
            if self._became != "refused":
                return self._became == "durable"
            if left_s() <= 0:
                return False
            self._runtime.wait(self._runtime.event(), min(AGAIN_BEFORE_A_STOP_S, left_s()))

    def settle(self, timeout_s: float) -> bool:
        """Wait until no snapshot is in flight; return whether that is so."""
        return self._runtime.wait(self._idle, timeout_s)

    def raise_its_error(self) -> None:
        """Raise what the thread could not: a mistake of ours, or a value that cannot be encoded."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """End the thread, after the snapshot in flight."""
        self._closing = True
        self._wake.set()
        self._task.join()

    def _work(self) -> None:
        while not (self._closing and self._pending is None):
            self._runtime.wait(self._wake)
            self._wake.clear()
            if self._pending is not None:
                self._try(self._pending)
                self._pending = None
                self._idle.set()

    def _try(self, snapshot: Snapshot) -> None:
        try:
            self._make_durable(snapshot)
            self._became = "durable"
            self._next_s = self._runtime.monotonic() + self._commit_s
        except StorageError as error:
            self._next_s = self._runtime.monotonic() + min(self._commit_s, AGAIN_AFTER_FAILURE_S)
            self._became = "refused"
            going_on = "trains on, tries again" if self._stop.reason is None else "tries again until it has to stop"
            self._log.warning("checkpoint.failed", step=snapshot.state.step, error=str(error), next=going_on)
        except OwnershipLost as error:
            self._became = "lost"
            self._log.warning("ownership.lost", error=str(error))
            self._stop.ask("lost")
        except BaseException as error:  # noqa: BLE001 - a thread has nobody to raise to: the trainer's thread raises it
            # A trainer that stops meanwhile gives the job back all the same, and raises nothing.
            trace = traceback.format_exc()
            self._log.error("checkpoint.raised", step=snapshot.state.step, error=repr(error), trace=trace)
            self._became, self._error = "lost", error
            self._stop.ask("lost")

    def _make_durable(self, snapshot: Snapshot) -> None:
        started_s = self._runtime.monotonic()
        generation = self._store.upload(snapshot, self._base)
        before, after = self._fence.write(
            lambda manifest: decisions.committed(
                decisions.progressed(manifest, self._progress()), generation, self._base, self._fingerprint
            )
        )
        self._base = generation
        self._log.info(
            "checkpoint.committed",
            step=generation.step,
            segments=len(generation.segments),
            rows=len(snapshot.rows),
            seconds=round(self._runtime.monotonic() - started_s, 3),
        )
        self.tell(snapshot.state.curve)
        with contextlib.suppress(StorageError):  # what is left behind costs cents, and `done` lists it
            self._store.collect(decisions.garbage(before, after))
            self._after_commit()

    def tell(self, curve: Curve) -> None:
        """Log what was measured since the last commit: SB3's keys, which `export --follow` reads, and people too.

        Called by the thread, and after `close` for what came behind the last commit.
        """
        for row in curve.after(self._told_step):
            self._log.info(MEASURED, step=row.step, **{key: float(f"{value:.6g}") for key, value in row.values.items()})
            self._told_step = row.step
