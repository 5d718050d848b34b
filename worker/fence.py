"""A claim: the only way to write a job's manifest (rules 2 and 3)."""

import contextlib
from collections.abc import Callable

from pydantic import ValidationError

from worker import decisions
from worker.contract import names
from worker.contract.errors import ConditionFailed, OwnershipLost, StorageUnavailable
from worker.contract.job import Job
from worker.contract.manifest import Manifest
from worker.contract.records import Absent, BlobStore, Unchanged
from worker.contract.runtime import Runtime
from worker.decisions import Seen

REWRITES = 5
"""So often an ambiguous answer is asked about before the storage is taken for out of order."""


def read_manifest(blobs: BlobStore, sweep: str, job: str) -> Seen | None:
    """Return a job's manifest, or None where it was never claimed.

    Raises:
        StorageUnavailable: also where what lies there is no manifest of this release; a person must look at it.
    """
    found = blobs.get(names.SWEEPS, names.manifest(sweep, job))
    if found is None:
        return None
    return Seen(_parsed(found.body, sweep, job), found.etag, found.age_s)


def _parsed(body: bytes, sweep: str, job: str) -> Manifest:
    try:
        return Manifest.model_validate_json(body)
    except ValidationError as error:
        detail = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise StorageUnavailable(f"The manifest of {sweep}/{job} cannot be read by this release: {detail}.") from error


class Fence:
    """A job's manifest as this claim wrote it last. One write at a time, from whichever thread."""

    def __init__(self, blobs: BlobStore, runtime: Runtime, manifest: Manifest, etag: str) -> None:
        self._blobs = blobs
        self._runtime = runtime
        self._lock = runtime.lock()
        self._etag = etag
        self._written_s = runtime.monotonic()
        self.manifest = manifest

    @property
    def job(self) -> Job:
        """Return the claimed job."""
        return self.manifest.job

    def age_s(self) -> float:
        """Return the seconds since the last write that succeeded."""
        return self._runtime.monotonic() - self._written_s

    def write(self, change: Callable[[Manifest], Manifest]) -> tuple[Manifest, Manifest]:
        """Write what `change` makes of the manifest, and return the manifest before and after.

        Where an earlier write of this claim took effect and nobody knew, `change` is applied to what that one made. A
        claim that has ended writes nothing more: it returns its end twice.

        Raises:
            OwnershipLost: another claim wrote the manifest, or the sweep was deleted.
            StorageUnavailable: whether the write took effect is unknown; the next one finds out.
        """
        with self._lock:
            for _ in range(REWRITES):
                before = self.manifest
                if before.status != "running":
                    return before, before
                after = change(before)
                if after.nonce != before.nonce:
                    raise OwnershipLost("A claim never changes its nonce.")
                stands = _put(self._blobs, after, self._etag)
                self.manifest, self._etag = stands.seen.manifest, stands.seen.etag
                if isinstance(stands, decisions.Adopt):
                    self._written_s = self._runtime.monotonic()
                    return before, self.manifest
            raise StorageUnavailable(f"{REWRITES} writes of {self.job.id} in a row met a change of our own.")

    def still_mine(self) -> bool:
        """Return whether the stored manifest is of this claim."""
        seen = read_manifest(self._blobs, self.job.sweep, self.job.id)
        return seen is not None and seen.manifest.nonce == self.manifest.nonce


def create(blobs: BlobStore, runtime: Runtime, manifest: Manifest, seen: Seen | None) -> Fence:
    """Claim: write `manifest` over what was seen. Raises OwnershipLost where another claim was quicker."""
    stands = _put(blobs, manifest, seen.etag if seen else None)
    return Fence(blobs, runtime, stands.seen.manifest, stands.seen.etag)


def _put(blobs: BlobStore, manifest: Manifest, etag: str | None) -> decisions.Adopt | decisions.Rebase:
    """Write with If-Match on `etag` (None: If-None-Match), and settle an ambiguous answer by reading again."""
    name = names.manifest(manifest.job.sweep, manifest.job.id)
    condition = Absent() if etag is None else Unchanged(etag)
    with contextlib.suppress(ConditionFailed):
        written = blobs.put(names.SWEEPS, name, manifest.canonical(), condition, manifest.metadata())
        return decisions.Adopt(Seen(manifest, written, 0.0))
    decision = decisions.on_refused_write(manifest, read_manifest(blobs, manifest.job.sweep, manifest.job.id))
    if isinstance(decision, decisions.Lost):
        raise OwnershipLost(decision.reason)
    return decision
