"""Claims about publishing: what VMs boot with is whole, checked, and never moved back by accident."""

import json
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from producer.session import Session
from producer.target.release import (
    POINTER,
    Bundle,
    Published,
    bundle,
    check_jobs_can_run,
    current_release,
    publish,
)
from tests.bicep.test_bootstrap import bundled_pip
from tests.fakes.manifests import claim, generation
from tests.fakes.producing import Gate, Killed, Storage
from tests.fakes.slot import plan_of_one
from tests.fakes.trainer import tiny_job
from tests.fakes.wheels import make_wheel
from worker.contract import names
from worker.contract.base import sha256_hex
from worker.contract.errors import InputError
from worker.contract.manifest import Manifest

PYTHON = f"cp{sys.version_info.major}{sys.version_info.minor}"


def made(folder: Path, version: str = "0.1.0") -> Bundle:
    """Return a release of one tiny wheel, pip and one unit."""
    folder.mkdir(exist_ok=True)
    (folder / "wheels").mkdir(exist_ok=True)
    tiny = make_wheel(folder / "wheels", "tiny", version)
    unit = folder / "sweep-worker@.service"
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    return bundle(version, PYTHON, [tiny, bundled_pip()], [unit], folder)


def told(_name: str, _size: int) -> None:
    """Tell nobody."""


def put(session: Session, release: Bundle, **options: bool) -> Published:
    return publish(session, release, told, **options)


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture
def bootstrap(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program that a VM boots with."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "bicep" / "cloud-init"))
    return import_module("bootstrap")


def test_a_bare_machine_installs_what_was_published(storage: Storage, bootstrap: Any, tmp_path: Path) -> None:
    session = storage.session()
    found = put(session, made(tmp_path / "release"))

    def download(path: str) -> bytes:
        container, _, name = path.partition("/")
        stored = session.blobs.get(container, name)
        assert stored is not None, path
        return stored.body

    release_id = bootstrap.parse_pointer(download(f"releases/{POINTER}"))
    assert release_id == found.release
    release = bootstrap.parse_release(release_id, download(f"releases/{release_id}/release.json"), PYTHON)
    folder = tmp_path / "vm"
    folder.mkdir()
    bootstrap.fetch(release, folder, download)
    environment = bootstrap.install(release, folder, bootstrap.run_command)
    done = subprocess.run([environment / "bin" / "tiny"], capture_output=True, text=True, check=True)
    assert done.stdout == "tiny runs\n"
    assert release.start == ("sweep-workers.target", "sweep-worker@{core}.service")


def test_the_id_of_a_release_is_the_hash_of_its_list_of_hashes(storage: Storage, tmp_path: Path) -> None:
    session = storage.session()
    release = made(tmp_path)
    found = put(session, release)
    stored = session.blobs.get(names.RELEASES, f"{found.release}/release.json")
    assert stored is not None
    assert found.release == sha256_hex(stored.body)
    for file in json.loads(stored.body)["files"]:
        blob = session.blobs.get(names.RELEASES, f"{found.release}/{file['name']}")
        assert blob is not None
        assert (len(blob.body), sha256_hex(blob.body)) == (file["size"], file["sha256"])


def test_the_same_sources_again_are_the_same_release_and_upload_nothing(storage: Storage, tmp_path: Path) -> None:
    first = put(storage.session(), made(tmp_path / "one"))
    again = put(storage.session(), made(tmp_path / "two"))
    assert (again.release, again.uploaded_bytes, again.before) == (first.release, 0, "")


def test_a_newer_release_takes_the_pointer_and_names_the_one_before(storage: Storage, tmp_path: Path) -> None:
    first = put(storage.session(), made(tmp_path / "one", "0.1.0"))
    second = put(storage.session(), made(tmp_path / "two", "0.2.0"))
    assert second.before == first.release
    current = current_release(storage.blobs)
    assert current is not None
    assert (current[0], current[1].version) == (second.release, "0.2.0")


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, 10))
def test_a_publish_killed_anywhere_leaves_the_old_release_or_the_new_one_and_goes_on(
    storage: Storage, tmp_path: Path, at: int, after: bool
) -> None:
    first = put(storage.session(), made(tmp_path / "one", "0.1.0"))
    new = made(tmp_path / "two", "0.2.0")
    gate = Gate(at, after=after, event=kill)
    with pytest.raises(Killed):
        put(storage.session(gate=gate), new)
    current = current_release(storage.blobs)
    assert current is not None
    assert current[0] in {first.release, new.id}
    assert put(storage.session(), new).release == new.id
    current = current_release(storage.blobs)
    assert current is not None
    assert current[0] == new.id


def test_who_published_meanwhile_is_not_overwritten(storage: Storage, tmp_path: Path) -> None:
    put(storage.session(), made(tmp_path / "one", "0.1.0"))
    other = made(tmp_path / "other", "0.3.0")
    ours = made(tmp_path / "ours", "0.2.0")

    def somebody_publishes(name: str, _size: int) -> None:
        if name == "requirements.txt":
            put(storage.session("bob"), other)

    with pytest.raises(InputError, match="Somebody else has published"):
        publish(storage.session(), ours, somebody_publishes)
    current = current_release(storage.blobs)
    assert current is not None
    assert current[0] == other.id


def unfinished(storage: Storage, **changes: Any) -> Manifest:
    """Store a sweep whose one job has committed."""
    job = tiny_job()
    storage.blobs.put(names.SWEEPS, names.plan(job.sweep), plan_of_one(job).canonical())
    manifest = claim(job).model_copy(update=changes)
    body = manifest.canonical()
    storage.blobs.put(names.SWEEPS, names.manifest(job.sweep, job.id), body, metadata=manifest.metadata())
    return manifest


def with_state_version(release: Bundle, version: int) -> Bundle:
    other = release.release.model_copy(update={"state_version": version})
    return replace(release, release=other, content=other.model_dump_json(by_alias=True).encode())


def test_jobs_without_a_commit_or_with_one_that_is_read_do_not_hinder(storage: Storage, tmp_path: Path) -> None:
    unfinished(storage)
    put(storage.session(), with_state_version(made(tmp_path), 2))


def test_a_release_that_cannot_read_the_checkpoints_of_unfinished_jobs_is_refused_unless_forced(
    storage: Storage, tmp_path: Path
) -> None:
    job = unfinished(storage, generations=(generation(100),)).job
    other = with_state_version(made(tmp_path), 2)
    with pytest.raises(InputError, match=rf"1 unfinished jobs \(tiny/{job.id[:8]}\) have checkpoints.*--force"):
        put(storage.session(), other)
    assert current_release(storage.blobs) is None
    assert put(storage.session(), other, force=True).release == other.id


def test_back_to_a_release_that_would_leave_unfinished_jobs_alone_leads_no_way(
    storage: Storage, tmp_path: Path
) -> None:
    """Its VMs would hide their messages, drain, and come again, for ever."""
    job = unfinished(storage, state_version=2).job
    for force in (False, True):
        with pytest.raises(InputError, match=rf"\(tiny/{job.id[:8]}\) were claimed by a newer release"):
            put(storage.session(), made(tmp_path), force=force)
    assert current_release(storage.blobs) is None


def test_a_target_without_a_release_takes_no_jobs(storage: Storage) -> None:
    session = storage.session()
    azure = replace(session, target=session.target.model_copy(update={"kind": "azure"}))
    with pytest.raises(InputError, match=r"No release is published on this target.*tranquility release publish"):
        check_jobs_can_run(azure)


def test_jobs_newer_than_the_release_are_refused(storage: Storage, tmp_path: Path) -> None:
    session = storage.session()
    azure = replace(session, target=session.target.model_copy(update={"kind": "azure"}))
    old = made(tmp_path)
    release = old.release.model_copy(update={"job_schema": 0})
    put(session, replace(old, release=release, content=release.model_dump_json(by_alias=True).encode()))
    with pytest.raises(InputError, match="knows jobs up to schema 0; these would be of schema 1"):
        check_jobs_can_run(azure)


def test_a_fleet_on_this_machine_needs_no_release(storage: Storage) -> None:
    session = storage.session()
    check_jobs_can_run(replace(session, target=session.target.model_copy(update={"kind": "local"})))
