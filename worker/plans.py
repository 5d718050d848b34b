"""Whether a sweep's plan names a job: asked where a message has no manifest (rule 7 of docs/protocol.md)."""

from worker.contract.errors import InputError, StorageUnavailable
from worker.contract.job import Job
from worker.contract.plans import PlanReader
from worker.contract.records import BlobStore


class Plans:
    """Asks the storage each time, for a sweep may have been deleted since: its messages must not train."""

    def __init__(self, blobs: BlobStore) -> None:
        self._reader = PlanReader(blobs)

    def names(self, job: Job) -> bool:
        """Return whether the plan of its sweep names `job`. Raises StorageError."""
        try:
            found = self._reader.find(job.sweep)
        except InputError as error:
            raise StorageUnavailable(error.detail) from error
        return found is not None and not found.plan.deleted and job.id in found.plan.by_id
