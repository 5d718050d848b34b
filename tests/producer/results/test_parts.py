"""Claims about downloads: only verified bytes reach the disk, whole, and a second call fetches what is missing."""

import os
from pathlib import Path

import pytest

from producer.results.parts import LOG, ResultDamaged, download, folders, read_outcome, read_part, write_whole
from producer.results.progress import ProgressReader, SweepProgress
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import Storage, episodes, make_plan, running
from worker.contract import names
from worker.contract.errors import InputError
from worker.contract.manifest import Manifest
from worker.contract.result import CURVE, EPISODES, MODEL, POLICY, RESULT, Result

PLAN = make_plan([{"tau": 0.01}, {"tau": 0.02}], seeds=[0, 1])
JOBS = jobs_of(PLAN)


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    storage.put_manifest(running(JOBS[3], 1_000))
    return storage


@pytest.fixture
def done(storage: Storage) -> Manifest:
    storage.finish(JOBS[1], episodes(100.0))
    return storage.finish(JOBS[0], episodes(212.0))


def progress(storage: Storage) -> SweepProgress:
    return ProgressReader(storage.blobs, "lunar", 120.0).read()


def test_a_download_has_every_part_of_every_finished_job(storage: Storage, done: Manifest, tmp_path: Path) -> None:
    found = download(storage.blobs, progress(storage), tmp_path)
    assert (found.written, found.kept, found.problems) == (10, 0, ())
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(
        f"0000-tau=0.01/seed-{seed}/{part}" for seed in (0, 1) for part in (RESULT, CURVE, MODEL, POLICY, EPISODES)
    )
    model = (tmp_path / "0000-tau=0.01" / "seed-0" / MODEL).read_bytes()
    assert model == b"PK model of " + JOBS[0].id.encode()
    result = Result.model_validate_json((tmp_path / "0000-tau=0.01" / "seed-0" / RESULT).read_bytes())
    assert result.score.mean == pytest.approx(212.0)


def test_a_second_download_fetches_only_what_is_missing_or_damaged(
    storage: Storage, done: Manifest, tmp_path: Path
) -> None:
    download(storage.blobs, progress(storage), tmp_path)
    folder = tmp_path / "0000-tau=0.01" / "seed-0"
    (folder / MODEL).unlink()
    (folder / CURVE).write_bytes((folder / CURVE).read_bytes()[:-1] + b"!")
    found = download(storage.blobs, progress(storage), tmp_path)
    assert (found.written, found.kept) == (2, 8)
    assert (folder / CURVE).read_bytes().endswith(b"10.0\n")


def test_a_download_has_the_workers_log_of_all_attempts(storage: Storage, done: Manifest, tmp_path: Path) -> None:
    for epoch, text in ((2, b'{"event": "job.done"}\n'), (1, b'{"event": "job.claimed"}\n')):
        storage.blobs.put(names.SWEEPS, names.log("lunar", JOBS[0].id, epoch, "ab" * 8), text)
    log = tmp_path / "0000-tau=0.01" / "seed-0" / LOG
    assert download(storage.blobs, progress(storage), tmp_path).written == 11
    assert log.read_bytes() == b'{"event": "job.claimed"}\n{"event": "job.done"}\n'
    assert download(storage.blobs, progress(storage), tmp_path).kept == 11
    log.write_bytes(b"cut")
    assert download(storage.blobs, progress(storage), tmp_path).written == 1
    assert log.stat().st_size > 3


@pytest.mark.parametrize("damage", [b"something else", b"", None])
def test_a_damaged_part_never_reaches_the_disk_and_the_rest_does(
    storage: Storage, done: Manifest, tmp_path: Path, damage: bytes | None
) -> None:
    assert done.outcome.model is not None
    if damage is None:
        storage.blobs.delete(names.SWEEPS, done.outcome.model.name)
    else:
        storage.blobs.put(names.SWEEPS, done.outcome.model.name, damage)
    found = download(storage.blobs, progress(storage), tmp_path)
    assert found.written == 9
    (problem,) = found.problems
    assert JOBS[0].id in problem
    assert done.outcome.model.name in problem
    assert not (tmp_path / "0000-tau=0.01" / "seed-0" / MODEL).exists()


def test_a_part_of_the_right_length_and_other_content_is_refused(storage: Storage, done: Manifest) -> None:
    reference = done.outcome.curve
    assert reference is not None
    storage.blobs.put(names.SWEEPS, reference.name, b"x" * reference.length)
    with pytest.raises(ResultDamaged, match="is not what the manifest names"):
        read_part(storage.blobs, done.job.id, reference)


def test_a_part_that_the_manifest_does_not_name_is_an_error(storage: Storage) -> None:
    outcome = read_outcome(storage.blobs, "lunar", JOBS[3].id)
    with pytest.raises(ResultDamaged, match="names no such part"):
        read_part(storage.blobs, JOBS[3].id, outcome.model)


def test_a_job_without_manifest_is_an_error(storage: Storage) -> None:
    with pytest.raises(ResultDamaged, match="there is no manifest"):
        read_outcome(storage.blobs, "lunar", JOBS[2].id)


def test_a_manifest_of_another_release_is_an_error_and_no_crash(storage: Storage, done: Manifest) -> None:
    storage.blobs.put(names.SWEEPS, names.manifest("lunar", JOBS[0].id), b'{"schema_version": 2}')
    with pytest.raises(ResultDamaged, match="its manifest cannot be read"):
        read_outcome(storage.blobs, "lunar", JOBS[0].id)


def test_a_result_is_read_through_its_manifest(storage: Storage, done: Manifest) -> None:
    body = read_part(storage.blobs, JOBS[0].id, read_outcome(storage.blobs, "lunar", JOBS[0].id).result)
    assert Result.model_validate_json(body).job == JOBS[0]


def test_names_of_folders_hold_nothing_that_a_file_system_minds() -> None:
    plan = make_plan(
        [{"learning_rate": "lin_7.3e-4", "env.kwargs.enable_wind": True}, {"policy_kwargs.net_arch": [400, 300]}], [0]
    )
    storage = Storage()
    storage.put_plan(plan)
    sweep = progress(storage)
    where = folders(sweep)
    assert [str(where(job)) for job in sweep.jobs] == [
        "0000-env.kwargs.enable_wind=true_learning_rate=lin_7.3e-4/seed-0",
        "0001-net_arch=400×300/seed-0".replace("×", "_"),
    ]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot be written"):
        write_whole(tmp_path / "file" / "model.zip", b"x")


def test_a_file_has_the_rights_of_any_new_file_and_no_thread_touches_those_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "any").touch()
    monkeypatch.delattr(os, "umask")  # it is the whole process's: two threads that ask for it leave it changed
    write_whole(tmp_path / "model.zip", b"x")
    assert (tmp_path / "model.zip").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "model.zip").mkdir()
    with pytest.raises(InputError):
        write_whole(tmp_path / "model.zip", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["model.zip"]
