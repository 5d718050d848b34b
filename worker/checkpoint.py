"""Checkpoints in Blob: a state blob, and the replay buffer as append-only segments. The manifest names both, last.

A segment holds the rows up to the next multiple of SEGMENT_ROWS, so that whole segments are uploaded once and only the
open tail is written again: a commit costs the state plus the new rows, however old the run is.
"""

from collections.abc import Callable, Iterable, Iterator

from worker.contract import names
from worker.contract.base import sha256_hex
from worker.contract.errors import CheckpointCorrupt, OwnershipLost
from worker.contract.job import Job
from worker.contract.manifest import BlobRef, Generation, SegmentRef
from worker.contract.records import BlobStore
from worker.fence import Fence
from worker.snapshot.replay_rows import ReplayRows
from worker.snapshot.training_state import TrainingState
from worker.training_run import Snapshot

SEGMENT_ROWS = 8192
"""A million transitions are 123 segments; a tail has at most 8,191 rows, 370 kB at LunarLander's sizes."""


class CheckpointStore:
    """The checkpoints of one claim."""

    def __init__(self, blobs: BlobStore, fence: Fence) -> None:
        self._blobs = blobs
        self._fence = fence
        self._job: Job = fence.job
        self._serial = 0

    def upload(self, snapshot: Snapshot, base: Generation | None) -> Generation:
        """Upload what `base` does not hold yet, and return the generation to commit.

        `snapshot` holds the rows from `rows_from(base)` on. Every name carries this claim's nonce, so two claims never
        touch the same blob.
        """
        stop_row = snapshot.state.counters.rows
        oldest_row = max(0, stop_row - self._job.configuration.hyperparameters.buffer_size)
        kept = tuple(segment for segment in _whole(base) if _stop(segment) > oldest_row)
        new = tuple(self._upload_segment(part) for part in _cut(snapshot.rows))
        self._serial += 1
        nonce = self._fence.manifest.nonce
        name = names.state(self._job.sweep, self._job.id, nonce, snapshot.state.step, self._serial)
        state = self._put(name, snapshot.state.encode())
        return Generation(step=snapshot.state.step, state=state, segments=(*kept, *new))

    def load_state(self, generation: Generation, beat: Callable[[], None]) -> TrainingState:
        """Return a generation's state. Raises CheckpointCorrupt or OwnershipLost."""
        body = self._get(generation.state, beat)
        state = TrainingState.decode(body, self._job.configuration)
        if state.step != generation.step:
            raise CheckpointCorrupt(f"{generation.state.name} is of step {state.step}, not {generation.step}.")
        return state

    def load_rows(self, generation: Generation, beat: Callable[[], None]) -> Iterator[ReplayRows]:
        """Yield a generation's segments in order. Raises CheckpointCorrupt or OwnershipLost."""
        sizes = self._job.configuration.environment.sizes
        for segment in generation.segments:
            rows = ReplayRows.decode(self._get(segment, beat), sizes)
            if (rows.first_row, len(rows)) != (segment.first_row, segment.rows):
                raise CheckpointCorrupt(f"{segment.name} holds other rows than the manifest says.")
            yield rows

    def collect(self, garbage: Iterable[str]) -> None:
        """Delete blobs by name, after a confirmed commit that names them no more (rule 9)."""
        for name in sorted(garbage):  # a set of names has another order in each process
            self._blobs.delete(names.CHECKPOINTS, name)

    def collect_all(self) -> None:
        """Delete the whole checkpoint: only once the job is done."""
        for blob in self._blobs.list(names.CHECKPOINTS, names.checkpoint(self._job.sweep, self._job.id)):
            self._blobs.delete(names.CHECKPOINTS, blob.name)

    def _upload_segment(self, rows: ReplayRows) -> SegmentRef:
        nonce = self._fence.manifest.nonce
        name = names.segment(self._job.sweep, self._job.id, nonce, rows.first_row, rows.stop_row)
        blob = self._put(name, rows.encode())
        return SegmentRef(**blob.model_dump(), first_row=rows.first_row, rows=len(rows))

    def _put(self, name: str, body: bytes) -> BlobRef:
        self._blobs.put(names.CHECKPOINTS, name, body)
        return BlobRef(name=name, length=len(body), sha256=sha256_hex(body))

    def _get(self, blob: BlobRef, beat: Callable[[], None]) -> bytes:
        found = self._blobs.get(names.CHECKPOINTS, blob.name, beat)
        if found is not None and len(found.body) == blob.length and sha256_hex(found.body) == blob.sha256:
            return found.body
        # A later claim may have collected it meanwhile; only the owner may speak of corruption.
        if not self._fence.still_mine():
            raise OwnershipLost("Its checkpoint was collected by a later claim.")
        raise CheckpointCorrupt(f"{blob.name} {'is missing' if found is None else 'has another SHA-256'}.")


def rows_from(base: Generation | None) -> int:
    """Return the first row that no whole segment of `base` holds: from there on a snapshot must bring the rows."""
    whole = _whole(base)
    if whole:
        return _stop(whole[-1])
    return base.segments[0].first_row if base and base.segments else 0


def _whole(base: Generation | None) -> tuple[SegmentRef, ...]:
    """Return the segments that no later row will join."""
    return tuple(segment for segment in base.segments if _stop(segment) % SEGMENT_ROWS == 0) if base else ()


def _stop(segment: SegmentRef) -> int:
    return segment.first_row + segment.rows


def _cut(rows: ReplayRows) -> Iterator[ReplayRows]:
    """Cut rows at the multiples of SEGMENT_ROWS."""
    start = rows.first_row
    while start < rows.stop_row:
        stop = min(rows.stop_row, (start // SEGMENT_ROWS + 1) * SEGMENT_ROWS)
        yield rows.slice(start, stop)
        start = stop
