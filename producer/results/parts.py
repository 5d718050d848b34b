"""The parts of finished results: read through the manifest that names them, verified, and written to disk whole."""

import secrets
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from producer.results.progress import JobProgress, SweepProgress
from producer.words import label_keys, set_label
from worker.contract import names
from worker.contract.base import sha256_hex
from worker.contract.errors import InputError, TranquilityError
from worker.contract.manifest import BlobRef, Manifest, Outcome
from worker.contract.records import BlobStore
from worker.contract.result import CURVE, EPISODES, MODEL, POLICY, RESULT, Result

Part = Literal["result", "curve", "model", "policy", "episodes"]
FILES: dict[Part, str] = {"result": RESULT, "curve": CURVE, "model": MODEL, "policy": POLICY, "episodes": EPISODES}
LOG = "log.jsonl"
"""What all attempts of a job said, in their order: the worker's log, a JSON object a line."""
READERS = 8
"""Jobs read at the same time."""


class ResultDamaged(TranquilityError):
    """A part of a result is missing or does not hold what the manifest says."""


def read_outcome(blobs: BlobStore, sweep: str, job: str) -> Outcome:
    """Return what a finished job names. Raises ResultDamaged, StorageError."""
    return read_manifest(blobs, sweep, job).outcome


def read_manifest(blobs: BlobStore, sweep: str, job: str) -> Manifest:
    """Return the manifest of a job that was claimed. Raises ResultDamaged, StorageError."""
    found = blobs.get(names.SWEEPS, names.manifest(sweep, job))
    if found is None:
        raise ResultDamaged(f"Job {job}: there is no manifest.")
    try:
        return Manifest.model_validate_json(found.body)
    except ValidationError as error:
        raise ResultDamaged(f"Job {job}: its manifest cannot be read: {error.errors()[0]['msg']}.") from error


def read_result(blobs: BlobStore, job: str, outcome: Outcome) -> Result:
    """Return a finished job's verified result.json. Raises ResultDamaged, StorageError."""
    try:
        return Result.model_validate_json(read_part(blobs, job, outcome.result))
    except ValidationError as error:
        raise ResultDamaged(f"Job {job}: its result.json cannot be read: {error.errors()[0]['msg']}.") from error


def read_part(blobs: BlobStore, job: str, reference: BlobRef | None) -> bytes:
    """Return a verified part. Raises ResultDamaged, StorageError."""
    if reference is None:
        raise ResultDamaged(f"Job {job}: its manifest names no such part.")
    found = blobs.get(names.SWEEPS, reference.name)
    if found is None:
        raise ResultDamaged(f"Job {job}: {reference.name} is gone.")
    if len(found.body) != reference.length or sha256_hex(found.body) != reference.sha256:
        raise ResultDamaged(f"Job {job}: {reference.name} is not what the manifest names (length and SHA-256).")
    return found.body


def folders(sweep: SweepProgress) -> Callable[[JobProgress], Path]:
    """Return where a job's files go, below a folder of the person's choice: `<set>/<seed>`.

    A set's number never changes: an enqueue with --update only adds sets.
    """
    keys = label_keys([planned.differs for planned in sweep.plan.sets[:300]])

    def folder(job: JobProgress) -> Path:
        label = set_label(sweep.plan.sets[job.set].differs, keys)
        readable = "".join(character if character.isalnum() or character in "=.-" else "_" for character in label)
        return Path(f"{job.set:04d}-{readable[:60].rstrip('_.')}") / f"seed-{job.seed}"

    return folder


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a download did."""

    written: int = 0
    kept: int = 0
    """Files that were there already, whole."""
    problems: tuple[str, ...] = ()

    def __add__(self, other: "Downloaded") -> "Downloaded":
        return Downloaded(self.written + other.written, self.kept + other.kept, (*self.problems, *other.problems))


def download(blobs: BlobStore, sweep: SweepProgress, folder: Path) -> Downloaded:
    """Fetch all parts of the result of every finished job, and its log; again called, only what is missing.

    What is damaged is reported and the rest fetched all the same.

    Raises:
        StorageError: storage does not answer; what came so far is whole, and the same call goes on.
        InputError: the folder cannot be written.
    """
    where = folders(sweep)
    done = [job for job in sweep.jobs if job.state == "done"]

    def fetch(job: JobProgress) -> Downloaded:
        return _download_job(blobs, sweep.sweep, job.id, folder / where(job))

    with ThreadPoolExecutor(READERS) as pool:
        return sum(pool.map(fetch, done), Downloaded())


def _download_job(blobs: BlobStore, sweep: str, job: str, folder: Path) -> Downloaded:
    try:
        outcome = read_outcome(blobs, sweep, job)
    except ResultDamaged as error:
        return Downloaded(problems=(error.detail,))
    total = _download_log(blobs, sweep, job, folder / LOG)
    for part, file_name in FILES.items():
        reference: BlobRef | None = getattr(outcome, part)
        path = folder / file_name
        if reference is not None and _is_whole(path, reference):
            total += Downloaded(kept=1)
            continue
        try:
            write_whole(path, read_part(blobs, job, reference))
        except ResultDamaged as error:
            total += Downloaded(problems=(error.detail,))
        else:
            total += Downloaded(written=1)
    return total


def _download_log(blobs: BlobStore, sweep: str, job: str, path: Path) -> Downloaded:
    """Fetch a job's log. No manifest names it: its length tells whether it is there."""
    listed = list(blobs.list(names.SWEEPS, names.logs(sweep, job)))
    if not listed:
        return Downloaded()
    if path.is_file() and path.stat().st_size == sum(blob.length for blob in listed):
        return Downloaded(kept=1)
    found = [blobs.get(names.SWEEPS, blob.name) for blob in listed]
    write_whole(path, b"".join(blob.body for blob in found if blob is not None))
    return Downloaded(written=1)


def _is_whole(path: Path, reference: BlobRef) -> bool:
    try:
        if path.stat().st_size != reference.length:
            return False
        with path.open("rb") as file:
            digest = sha256()
            for block in iter(lambda: file.read(1 << 20), b""):
                digest.update(block)
    except OSError:
        return False
    return digest.hexdigest() == reference.sha256


def write_whole(path: Path, body: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises InputError where the place cannot be written."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with temporary.open("xb") as file:  # with the rights of any new file: those of `tempfile` are its owner's alone
            file.write(body)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror}.") from error


def side_by_side(read: Callable[[JobProgress], None], jobs: Iterable[JobProgress]) -> None:
    """Call `read` for every job, a few at a time; the first error is raised."""
    with ThreadPoolExecutor(READERS) as pool:
        for _ in pool.map(read, jobs):
            pass
