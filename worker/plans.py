"""Which jobs a sweep's plan names: read where a message has no manifest yet, and kept for the next message."""

from pydantic import ValidationError

from worker.contract import names
from worker.contract.errors import StorageUnavailable
from worker.contract.job import Job
from worker.contract.plan import Plan
from worker.contract.records import BlobStore


class Plans:
    """Reads plans. A job that is named once stays named, so only a miss asks the storage again."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._known: dict[str, frozenset[str]] = {}

    def names(self, job: Job) -> bool:
        """Return whether the plan of its sweep names `job`. Raises StorageError."""
        if job.id in self._known.get(job.sweep, frozenset()):
            return True
        self._known[job.sweep] = self._read(job.sweep)
        return job.id in self._known[job.sweep]

    def _read(self, sweep: str) -> frozenset[str]:
        found = self._blobs.get(names.SWEEPS, names.plan(sweep))
        if found is None:
            return frozenset()
        try:
            plan = Plan.model_validate_json(found.body)
        except ValidationError as error:
            raise StorageUnavailable(f"The plan of {sweep} cannot be read by this release.") from error
        return frozenset() if plan.deleted else frozenset(plan.by_id)
