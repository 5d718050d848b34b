"""The command `report`: a file, and a blob beside the sweep."""

import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from producer.commands import report
from tests.fakes.reported import lunar_plan, store_sweep
from tests.fakes.sweeps import Storage
from worker.contract import names
from worker.contract.errors import InputError


@pytest.fixture
def storage() -> Storage:
    return store_sweep(lunar_plan(2, 1))


def call(storage: Storage, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setattr(report, "open_session", lambda _: storage.session(kind="local"))
    app = typer.Typer()
    report.register(app)
    return CliRunner(env={"TERM": "dumb"}).invoke(app, [*arguments, "--no-video"])


def test_a_report_is_written_and_published(storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    done = call(storage, monkeypatch, "lunar")
    assert done.exit_code == 0, done.output
    body = (tmp_path / "runs" / "lunar" / "report.html").read_bytes()
    assert body.startswith(b"<!doctype html>")
    published = storage.blobs.get(names.SWEEPS, "lunar/report.html")
    assert published is not None
    assert published.body == body
    assert "Published as sweeps/lunar/report.html." in done.output


def test_it_can_stay_on_this_machine(storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = call(storage, monkeypatch, "lunar", "--no-publish", "--out", str(tmp_path / "a" / "b.html"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "a" / "b.html").stat().st_size > 10_000
    assert storage.blobs.get(names.SWEEPS, "lunar/report.html") is None


def test_without_the_extra_one_sentence_says_what_to_install(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "producer.report.page", raising=False)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    error = call(storage, monkeypatch, "lunar").exception
    assert isinstance(error, InputError)
    assert str(error) == "A report needs jinja2: pip install 'tranquility[report]'."


def test_a_sweep_that_is_being_deleted_has_no_report(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.put_plan(lunar_plan(2, 1).model_copy(update={"deleted": True}))
    error = call(storage, monkeypatch, "lunar").exception
    assert isinstance(error, InputError)
    assert "tranquility delete lunar" in str(error)
