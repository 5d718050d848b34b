"""Stored plans, and what the manifests say about their jobs."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from producer.session import Session
from worker.contract import names
from worker.contract.base import canonical_json
from worker.contract.errors import InputError
from worker.contract.manifest import TERMINAL, Manifest, as_listed
from worker.contract.plan import Plan
from worker.contract.plans import StoredPlan, find_plan
from worker.contract.records import Absent, BlobStore, Listed, Unchanged


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job's manifest, as far as a listing shows it."""

    status: str
    epoch: int
    age_s: float
    worker: str = ""
    """VM/slot of its last claim."""

    @property
    def terminal(self) -> bool:
        """Return whether the job has ended."""
        return self.status in TERMINAL

    def held_by_worker(self, visibility_timeout_s: float) -> bool:
        """Return whether a worker has the job now: its manifest is also its heartbeat (rule 4)."""
        return self.status == "running" and self.age_s < visibility_timeout_s


def sweeps(blobs: BlobStore) -> Iterator[str]:
    """Yield the names of all sweeps."""
    return blobs.folders(names.SWEEPS)


def read_plan(blobs: BlobStore, sweep: str) -> StoredPlan:
    """Return a sweep's plan. Raises InputError where there is none, naming the sweeps that there are."""
    return there_is(find_plan(blobs, sweep), blobs, sweep)


def there_is(found: StoredPlan | None, blobs: BlobStore, sweep: str) -> StoredPlan:
    """Return what was found. Raises InputError where that is nothing, naming the sweeps that there are."""
    if found is None:
        known = list(sweeps(blobs))
        close = difflib.get_close_matches(sweep, known, 1)
        here = ", ".join(known) or "none yet; tranquility enqueue SWEEP.yaml makes one"
        hint = f"Did you mean {close[0]}?" if close else f"Sweeps here: {here}."
        raise InputError(f"There is no sweep {sweep!r}. {hint}")
    return found


def write_plan(session: Session, plan: Plan, before: StoredPlan | None) -> StoredPlan:
    """Store a plan. Raises ConditionFailed where it is not as it was seen `before` (or where the answer was lost)."""
    condition = Unchanged(before.etag) if before else Absent()
    return StoredPlan(plan, session.blobs.put(names.SWEEPS, names.plan(plan.sweep), plan.canonical(), condition))


def job_statuses(session: Session, sweep: str) -> Mapping[str, JobStatus]:
    """Return what is known of every job that was ever claimed, by one LIST for 5,000 jobs.

    Raises InputError where a manifest is listed with what this release cannot read.
    """
    prefix = names.manifests(sweep)
    return {blob.name.removeprefix(prefix): _status(blob) for blob in session.blobs.list(names.SWEEPS, prefix)}


def _status(blob: Listed) -> JobStatus:
    try:
        listed = as_listed(blob.metadata)
        return JobStatus(listed["status"], int(listed.get("epoch", "0")), blob.age_s, listed.get("worker", ""))
    except ValueError as error:
        message = f"{blob.name} is listed with metadata that this release cannot read ({error}): take a newer one."
        raise InputError(message) from error


@dataclass(frozen=True)
class StoredManifest:
    """A manifest as found; `age_s` is Date − Last-Modified of the answer that brought it."""

    manifest: Manifest
    etag: str
    age_s: float


def read_manifest(session: Session, sweep: str, job: str) -> StoredManifest | None:
    """Return a job's manifest, or None. Raises InputError where this release cannot read it."""
    found = session.blobs.get(names.SWEEPS, names.manifest(sweep, job))
    if found is None:
        return None
    try:
        return StoredManifest(Manifest.model_validate_json(found.body), found.etag, found.age_s)
    except ValidationError as error:
        raise InputError(f"The manifest of {sweep}/{job} cannot be read by this release: take a newer one.") from error


def all_terminal(plan: Plan, statuses: Mapping[str, JobStatus]) -> bool:
    """Return whether every planned job has ended."""
    return all(planned.id in statuses and statuses[planned.id].terminal for planned in plan.jobs)


def mark_complete(session: Session, plan: Plan) -> bool:
    """Mark a sweep whose jobs have all ended, so that no audit looks at it again; return whether the mark stands.

    A retry or an update may come between the look and the mark: whoever lets jobs begin says so first and takes the
    mark away, and all is checked once more after it was set. Were both of them killed, the mark and what the retry said
    would lie side by side: such a mark is not believed.
    """
    sweep = plan.sweep
    said = _reopened_by(session, sweep)
    if said is None:
        return False
    session.blobs.put(names.SWEEPS, names.complete(sweep), canonical_json({"jobs": len(plan.jobs)}))
    reopened = _reopened_by(session, sweep) is None
    stored = find_plan(session.blobs, sweep)
    if reopened or stored is None or not all_terminal(stored.plan, job_statuses(session, sweep)):
        unmark_complete(session, sweep)
        return False
    for killed in said:
        session.blobs.delete(names.SWEEPS, killed)
    return True


def reopen(session: Session, sweep: str) -> str:
    """Say that jobs of a sweep are about to begin, and take its mark away; return what `reopened` is given in the end.

    Without that an audit could set the mark between this and the first job that begins, and a command that is killed
    right after would leave a planned job behind that no audit ever looks at.
    """
    name = names.reopened(sweep, session.runtime.nonce())
    session.blobs.put(names.SWEEPS, name, b"")
    unmark_complete(session, sweep)
    return name


def reopened(session: Session, name: str) -> None:
    """Say that the jobs have begun: from here on their manifests and plans speak for themselves."""
    if name:
        session.blobs.delete(names.SWEEPS, name)


def _reopened_by(session: Session, sweep: str) -> tuple[str, ...] | None:
    """Return None where a command may be about to let jobs begin, else what killed ones have said, by blob name.

    One that said so a day ago was killed.
    """
    found = tuple(session.blobs.list(names.SWEEPS, names.reopened(sweep, "")))
    alive = any(blob.age_s < session.durations.flag_lifetime_s for blob in found)
    return None if alive else tuple(blob.name for blob in found)


def unmark_complete(session: Session, sweep: str) -> None:
    """Let audits look at a sweep again."""
    session.blobs.delete(names.SWEEPS, names.complete(sweep))


def is_marked_complete(blobs: BlobStore, sweep: str) -> bool:
    """Return whether every job of a sweep has ended, as somebody found, and nobody has said since that jobs begin."""
    found = blobs.list(names.SWEEPS, names.complete(sweep))
    return [blob.name for blob in found] == [names.complete(sweep)]
