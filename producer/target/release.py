"""Releases: the code that VMs run, under its content hash, and the pointer to the one that they boot with.

docs/azure.md describes the format; bicep/cloud-init/bootstrap.py is its reader. A release is never changed once it is
there: whatever a VM fetches is checked against hashes that the pointer leads to.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, ValidationError

from producer.session import Session
from producer.sweep.parallel import fan_out
from producer.sweep.plans import is_marked_complete, job_statuses, read_manifest, sweeps
from worker.contract import names
from worker.contract.base import SCHEMA_VERSION, STATE_VERSION, Frozen, Sha256, sha256_hex
from worker.contract.errors import ConditionFailed, InputError
from worker.contract.records import Absent, BlobStore, Condition, Unchanged

FORMAT: Final = 1
POINTER: Final = "current.json"
REQUIREMENTS: Final = "requirements.txt"
START: Final = ("sweep-workers.target", "sweep-worker@{core}.service")
"""Units that the bootstrap starts; `{core}` stands for every physical core."""
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
UPLOADS: Final = 2
"""At once: wheels of 200 MB share one uplink, and each has its time-out."""

Told = Callable[[str, int], None]
"""Told of every file that is there now, with its bytes."""


class ReleaseFile(Frozen):
    """One file of a release."""

    name: str
    """Path below the release's folder."""
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256


class Release(Frozen):
    """`release.json`; the SHA-256 of its bytes is the id of the release."""

    schema_version: Annotated[int, Field(alias="schema")] = FORMAT
    version: str
    """Of the package."""
    python: str
    """Interpreter tag that its wheels are for."""
    pip: str
    requirements: str = REQUIREMENTS
    files: tuple[ReleaseFile, ...]
    units: tuple[str, ...]
    start: tuple[str, ...] = START
    job_schema: int = SCHEMA_VERSION
    """The newest jobs that it knows."""
    state_version: int = STATE_VERSION
    """The checkpoints that it reads."""


class Pointer(Frozen):
    """`releases/current.json`."""

    release: Sha256


@dataclass(frozen=True)
class Published:
    """What a publish found and did."""

    release: str
    version: str
    python: str
    files: int
    uploaded_bytes: int
    """0 where the release was there already."""
    before: str
    """The release that VMs booted with until now; empty for the first."""


@dataclass(frozen=True)
class Bundle:
    """A release that is not published yet: its document, and where its files lie."""

    release: Release
    content: bytes
    """What will be release.json."""
    paths: Mapping[str, Path]

    @property
    def id(self) -> str:
        """Return the name of the release."""
        return sha256_hex(self.content)


def bundle(version: str, python: str, wheels: Iterable[Path], units: Iterable[Path], folder: Path) -> Bundle:
    """Return the release of these wheels and units; its requirements are written into `folder`.

    Raises InputError for a file that is too large.
    """
    wheels = sorted(wheels)
    requirements = folder / REQUIREMENTS
    requirements.write_text("".join(_requirement(wheel) for wheel in wheels if not _is_pip(wheel)))
    (pip,) = filter(_is_pip, wheels)
    named = {f"wheels/{wheel.name}": wheel for wheel in wheels}
    named |= {f"units/{unit.name}": unit for unit in sorted(units)}
    named[REQUIREMENTS] = requirements
    release = Release(
        version=version,
        python=python,
        pip=f"wheels/{pip.name}",
        files=tuple(_described(name, path) for name, path in sorted(named.items())),
        units=tuple(name for name in sorted(named) if name.startswith("units/")),
    )
    content = release.model_dump_json(by_alias=True, indent=1).encode()
    return Bundle(release, content, named)


def publish(session: Session, made: Bundle, told: Told, *, force: bool = False) -> Published:
    """Upload a release and let VMs that boot from now on run it. Safe to repeat and to kill.

    Raises:
        InputError: unfinished jobs have checkpoints that it cannot read (`force` lets them begin anew, unless a newer
            release wrote them), or somebody else has published meanwhile.
    """
    pointed, etag = _pointer(session.blobs)
    _check_checkpoints(session, made.release, force=force)
    uploaded = _upload(session, made, told)
    if pointed != made.id:
        condition: Condition = Unchanged(etag) if etag else Absent()
        try:
            body = Pointer(release=made.id).canonical()
            session.blobs.put(names.RELEASES, POINTER, body, condition)
        except ConditionFailed as error:
            if _pointer(session.blobs)[0] != made.id:
                raise InputError(
                    "Somebody else has published a release meanwhile. Look which one is right; to let VMs run this "
                    "one, publish again."
                ) from error
    return Published(
        release=made.id,
        version=made.release.version,
        python=made.release.python,
        files=len(made.release.files),
        uploaded_bytes=uploaded,
        before="" if pointed == made.id else pointed,
    )


def current_release(blobs: BlobStore) -> tuple[str, Release] | None:
    """Return id and document of the release that VMs boot with; None where nothing was published.

    Raises InputError where it is newer than this code.
    """
    release_id, _ = _pointer(blobs)
    if not release_id:
        return None
    found = blobs.get(names.RELEASES, f"{release_id}/release.json")
    if found is None:
        raise InputError(f"releases/{POINTER} points to {release_id[:12]}, which is not there: publish again.")
    try:
        return release_id, Release.model_validate(json.loads(found.body))
    except ValidationError as error:
        raise InputError(
            f"Release {release_id[:12]} was published by a newer tranquility: take that here, too."
        ) from error


def check_jobs_can_run(session: Session) -> None:
    """Raise InputError where the published release cannot run jobs as this code writes them (or nothing is published).

    A fleet on this machine runs the code that is here.
    """
    if session.target.kind == "local":
        return
    found = current_release(session.blobs)
    if found is None:
        raise InputError(
            "No release is published on this target, so VMs would have nothing to run: tranquility release publish"
        )
    release_id, release = found
    if release.job_schema < SCHEMA_VERSION:
        raise InputError(
            f"VMs boot with release {release.version} ({release_id[:12]}), which knows jobs up to schema "
            f"{release.job_schema}; these would be of schema {SCHEMA_VERSION}. First: tranquility release publish"
        )


def _pointer(blobs: BlobStore) -> tuple[str, str]:
    """Return the current release's id and the pointer's ETag, both empty where there is none."""
    found = blobs.get(names.RELEASES, POINTER)
    if found is None:
        return "", ""
    return Pointer.model_validate_json(found.body).release, found.etag


def _check_checkpoints(session: Session, release: Release, *, force: bool) -> None:
    """Raise InputError where an unfinished job's checkpoint is of another kind than this release reads.

    Older ones may be given up by `force`. A job of a newer release is left alone by every VM that runs an older one.
    """
    older: list[str] = []
    newer: list[str] = []
    for sweep in sweeps(session.blobs):
        if is_marked_complete(session.blobs, sweep):
            continue
        begun = [job for job, status in job_statuses(session, sweep).items() if not status.terminal]

        def look(job: str, sweep: str = sweep) -> None:
            found = read_manifest(session, sweep, job)
            if found and found.manifest.state_version > release.state_version:
                newer.append(f"{sweep}/{job[:8]}")
            elif found and found.manifest.state_version < release.state_version and found.manifest.generations:
                older.append(f"{sweep}/{job[:8]}")

        fan_out(session.runtime, look, begun)
    if newer:
        raise InputError(
            f"{_some(newer)} were claimed by a newer release, and no VM with this one would touch them. Let them "
            "end, or cancel them, first."
        )
    if older and not force:
        raise InputError(
            f"{_some(older)} have checkpoints that this release cannot read. Let them end first; with --force they "
            "begin again at step 0."
        )


def _some(jobs: Sequence[str]) -> str:
    return f"{len(jobs):,} unfinished jobs ({', '.join(sorted(jobs)[:5])}{', …' if len(jobs) > 5 else ''})"


def _upload(session: Session, made: Bundle, told: Told) -> int:
    """Put what is not there yet, release.json last; return the bytes that went out."""
    there = {blob.name: blob.length for blob in session.blobs.list(names.RELEASES, f"{made.id}/")}
    sent: list[int] = []

    def send(file: ReleaseFile) -> None:
        name = f"{made.id}/{file.name}"
        if there.get(name) != file.size:
            session.blobs.put(names.RELEASES, name, made.paths[file.name].read_bytes())
            sent.append(file.size)
        told(file.name, file.size)

    fan_out(session.runtime, send, _largest_first(made.release.files), width=UPLOADS)
    if f"{made.id}/release.json" not in there:
        session.blobs.put(names.RELEASES, f"{made.id}/release.json", made.content)
        sent.append(len(made.content))
    return sum(sent)


def _largest_first(files: Sequence[ReleaseFile]) -> list[ReleaseFile]:
    return sorted(files, key=lambda file: -file.size)


def _described(name: str, path: Path) -> ReleaseFile:
    content = path.read_bytes()
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"{path.name} has {len(content):,} bytes; a file of a release may have {MAX_FILE_BYTES:,}.")
    return ReleaseFile(name=name, size=len(content), sha256=sha256_hex(content))


def _requirement(wheel: Path) -> str:
    """Return a line that pip installs exactly this wheel by."""
    name, version, *_ = wheel.name.split("-")
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{sha256_hex(wheel.read_bytes())}\n"


def _is_pip(wheel: Path) -> bool:
    return wheel.name.startswith("pip-")
