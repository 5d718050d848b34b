"""Claims about `tranquility export`: what it writes, what it says, and how it ends."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from producer.commands import export
from producer.results.progress import ProgressReader, SweepProgress
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import Storage, episodes, make_plan, running
from worker.contract import names
from worker.contract.errors import InputError, StorageUnavailable
from worker.contract.manifest import Outcome

PLAN = make_plan([{"tau": 0.01}, {"tau": 0.02}], seeds=[0, 1, 2])


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    for job, mean in zip(jobs_of(PLAN), (180, 221, 235, 100, 110), strict=False):
        storage.finish(job, episodes(mean))
    storage.put_manifest(running(jobs_of(PLAN)[5], 1_000, status="failed", outcome=Outcome(reason="diverged")))
    return storage


def call(storage: Storage, *arguments: str) -> Result:
    app = typer.Typer()
    export.register(app, lambda _: storage.session())
    return CliRunner(env={"COLUMNS": "100", "TERM": "dumb"}).invoke(app, arguments)


def test_export_must_be_told_what_to_write(storage: Storage) -> None:
    assert isinstance(call(storage, "lunar").exception, InputError)
    assert isinstance(call(storage, "lunar", "--csv", "x", "--follow").exception, InputError)


def test_export_writes_event_files_and_csv(storage: Storage, tmp_path: Path) -> None:
    table, events = tmp_path / "curves.csv", tmp_path / "tb"
    result = call(storage, "lunar", "--csv", str(table), "--tensorboard", str(events), "--follow")
    assert result.exit_code == 0, result.output
    assert f"Wrote 5 curves to {events}." in result.output
    assert len(table.read_text().splitlines()) == 11
    assert len(list(events.rglob("events.out.tfevents*"))) == 5


def test_export_that_follows_waits_an_outage_out_and_one_that_does_not_fails(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outages = iter([StorageUnavailable("no route."), StorageUnavailable("no route.")])
    read = ProgressReader.read

    def flaky(reader: ProgressReader) -> SweepProgress:
        if (outage := next(outages, None)) is not None:
            raise outage
        return read(reader)

    monkeypatch.setattr(ProgressReader, "read", flaky)
    monkeypatch.setattr(export, "EVERY_S", 0.0)
    arguments = ("lunar", "--tensorboard", str(tmp_path / "tb"))
    assert isinstance(call(storage, *arguments).exception, StorageUnavailable)
    followed = call(storage, *arguments, "--follow")
    assert followed.exit_code == 0
    assert "Storage does not answer: no route." in followed.stderr
    assert "Wrote 5 curves" in followed.stdout


def test_export_ends_with_1_where_a_curve_is_damaged(storage: Storage, tmp_path: Path) -> None:
    blob = next(blob for blob in storage.blobs.list(names.SWEEPS, "lunar/results/") if "curve" in blob.name)
    storage.blobs.put(names.SWEEPS, blob.name, b"rotten")
    result = call(storage, "lunar", "--tensorboard", str(tmp_path))
    assert result.exit_code == 1
    assert blob.name in result.stderr
    assert "Wrote 4 curves" in result.stdout
