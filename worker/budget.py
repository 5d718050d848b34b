"""The budget: slots look at what their sweep has cost, and put it on hold when the money is spent (rule 8).

Money is spent only while slots work, so nobody else need look, and a closed laptop changes nothing.
"""

import contextlib

from worker.contract import names
from worker.contract.budget import read_budget, spent_seconds
from worker.contract.control import parse_hold, write_hold
from worker.contract.errors import ConditionFailed
from worker.contract.manifest import TERMINAL
from worker.contract.records import Absent, Condition, Listed, Unchanged
from worker.slot import Slot


def watch_budget(slot: Slot, sweep: str) -> None:
    """Put a sweep on hold if its budget is spent. Looks at most once in `budget_look_s`; costs a LIST of its manifests.

    Raises StorageError.
    """
    if not slot.budget_looks.is_due(sweep, slot.runtime.monotonic(), slot.durations.budget_look_s):
        return
    if read_budget(slot.blobs, sweep) is None:
        return
    manifests = tuple(slot.blobs.list(names.SWEEPS, names.manifests(sweep)))
    spent_s = spent_seconds(manifests)
    budget = read_budget(slot.blobs, sweep)  # a long listing ago it may have been another
    hold = budget.hold(spent_s) if budget else None
    condition = _may_write(slot, sweep, manifests)
    if hold is None or condition is None:
        return
    with contextlib.suppress(ConditionFailed):  # another slot was quicker, or a person
        etag = write_hold(slot.blobs, sweep, hold, condition)
        slot.log.warning("budget.spent", sweep=sweep, reason=hold.reason, next="running jobs commit and stop")
        budget = read_budget(slot.blobs, sweep)
        if budget is None or budget.hold(spent_s) is None:  # whoever raised it looked for a hold before ours was there
            slot.blobs.delete(names.SWEEPS, names.hold(sweep), Unchanged(etag))


def _may_write(slot: Slot, sweep: str, manifests: tuple[Listed, ...]) -> Condition:
    """Return the condition to write a hold by; None where one stands that is not over.

    A hold of single cancelled jobs is over when they have ended.
    """
    found = slot.blobs.get(names.SWEEPS, names.hold(sweep))
    if found is None:
        return Absent()
    standing = parse_hold(sweep, found.body)
    ended = {blob.name.rpartition("/")[2] for blob in manifests if blob.metadata.get("status") in TERMINAL}
    return Unchanged(found.etag) if standing.jobs and ended.issuperset(standing.jobs) else None
