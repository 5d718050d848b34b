"""A sweep's plan as it is stored, and a reader that asks for one it knows only whether it has changed."""

from dataclasses import dataclass

from pydantic import ValidationError

from worker.contract import names
from worker.contract.errors import InputError
from worker.contract.plan import Plan
from worker.contract.records import BlobStore


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan as found."""

    plan: Plan
    etag: str


def find_plan(blobs: BlobStore, sweep: str) -> StoredPlan | None:
    """Return a sweep's plan, or None. Raises InputError where this release cannot read it, and StorageError."""
    found = blobs.get(names.SWEEPS, names.plan(sweep))
    if found is None:
        return None
    try:
        return StoredPlan(Plan.model_validate_json(found.body), found.etag)
    except ValidationError as error:
        reason = error.errors(include_url=False, include_input=False)[0]["msg"]
        raise InputError(f"The plan of {sweep} cannot be read by this release ({reason}): take a newer one.") from error


class PlanReader:
    """Reads plans again and again: a listing of one blob where nothing changed, for a plan may have 4 MB."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._known: dict[str, StoredPlan] = {}

    def find(self, sweep: str) -> StoredPlan | None:
        """Return the plan as it is now, or None. Raises InputError where it cannot be read, and StorageError."""
        name = names.plan(sweep)
        etag = next((blob.etag for blob in self._blobs.list(names.SWEEPS, name) if blob.name == name), None)
        known = self._known.pop(sweep, None)
        found = known if known is not None and known.etag == etag else find_plan(self._blobs, sweep)
        if found is not None:
            self._known[sweep] = found
        return found
