"""Manifests as a worker makes them, for tests of single steps."""

from tests.fakes.trainer import tiny_job
from worker import decisions
from worker.contract.job import Job
from worker.contract.manifest import BlobRef, Generation, Manifest, SegmentRef

NONCE, OTHER_NONCE = "ab" * 8, "cd" * 8


def claim(
    job: Job | None = None,
    before: Manifest | None = None,
    *,
    nonce: str = NONCE,
    worker: str = "vm1/0",
    message_id: str = "m1",
) -> Manifest:
    """Return the manifest of a claim."""
    return decisions.claimed(
        job or tiny_job(), before, nonce=nonce, worker=worker, message_id=message_id, release="r", utc="2026-01-01"
    )


def generation(step: int, tail: str = "") -> Generation:
    """Return a generation of one state and one segment, with names of its own."""
    return Generation(
        step=step,
        state=BlobRef(name=f"state-{step}{tail}", length=1, sha256="0" * 64),
        segments=(SegmentRef(name=f"rows-{step}{tail}", length=1, sha256="0" * 64, first_row=0, rows=max(step, 1)),),
    )
