"""Whether a manifest and the blobs that it names are of one moment: a mix of old and new is torn."""

from worker.contract import names
from worker.contract.base import sha256_hex
from worker.contract.manifest import BlobRef, Manifest
from worker.contract.records import BlobStore


def torn(blobs: BlobStore, manifest: Manifest | None) -> list[str]:
    """Return what a manifest names and storage does not hold as it says; a done job's checkpoint may be collected."""
    if manifest is None:
        return []
    outcome = manifest.outcome
    named: list[tuple[str, BlobRef]] = [
        (names.SWEEPS, blob)
        for blob in (outcome.result, outcome.curve, outcome.model, outcome.policy)
        if blob is not None
    ]
    if manifest.status != "done":
        for generation in manifest.generations:
            named += [(names.CHECKPOINTS, blob) for blob in (generation.state, *generation.segments)]
    return [
        f"{blob.name} is not as the manifest says" for container, blob in named if not _holds(blobs, container, blob)
    ]


def _holds(blobs: BlobStore, container: str, blob: BlobRef) -> bool:
    found = blobs.get(container, blob.name)
    return found is not None and (len(found.body), sha256_hex(found.body)) == (blob.length, blob.sha256)
