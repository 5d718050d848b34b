"""A sweep's budget as workers see it: no part of any job, so it may change while they run."""

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, ValidationError

from worker.contract import names
from worker.contract.base import Frozen
from worker.contract.control import Hold
from worker.contract.manifest import as_listed
from worker.contract.money import money
from worker.contract.records import BlobStore, Listed


class Budget(Frozen):
    """How much a sweep may cost. The plan has the money; this has what a worker can count, at the price of a day."""

    usd: Annotated[float, Field(gt=0)]
    slot_seconds: Annotated[float, Field(gt=0)]
    """The time of one slot that the money buys."""
    price: str
    """Where the price comes from, for people."""

    def hold(self, spent_s: float) -> Hold | None:
        """Return the hold that is due after so much time of slots, all attempts together; None while some is left."""
        if spent_s < self.slot_seconds:
            return None
        spent_usd = self.usd * spent_s / self.slot_seconds
        return Hold(kind="budget", reason=f"{money(spent_usd)} of {money(self.usd)} are spent, at {self.price}")


def read_budget(blobs: BlobStore, sweep: str) -> Budget | None:
    """Return a sweep's budget, or None: also where a newer release wrote it, for a budget never stops a job by mistake.

    Raises StorageError.
    """
    found = blobs.get(names.SWEEPS, names.budget(sweep))
    try:
        return Budget.model_validate_json(found.body) if found else None
    except ValidationError:
        return None


def spent_seconds(manifests: Iterable[Listed]) -> float:
    """Return the time of all attempts of a sweep's jobs, from the listing of their manifests.

    One that a newer release wrote counts nothing: a budget never stops a job by mistake, nor the worker that looks.
    """
    return sum(map(_seconds, manifests))


def _seconds(manifest: Listed) -> float:
    try:
        return float(as_listed(manifest.metadata).get("seconds", "0"))
    except ValueError:
        return 0.0
