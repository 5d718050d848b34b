"""A report through the real SDK: read from Azurite, published beside its sweep, and what is published opens."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from azure.core.credentials import TokenCredential
from playwright.sync_api import Browser
from typer.testing import CliRunner

from producer.commands import report
from producer.results.progress import ProgressReader
from producer.session import Session
from producer.sweep.lifecycle import delete
from producer.sweep.plans import sweeps
from tests.fakes.reported import lunar_plan, store_sweep
from worker.contract import names
from worker.contract.azure import blob_service, queue_service
from worker.contract.queue import AzureQueue
from worker.contract.records import AzureBlobs
from worker.contract.settings import Target


@pytest.fixture
def session(storage: Target, credential: TokenCredential) -> Iterator[Session]:
    """A session on Azurite, which holds a finished sweep of three sets with three seeds."""
    made = store_sweep(lunar_plan(3, 3))
    with blob_service(storage, credential) as service, queue_service(storage, credential) as queues:
        blobs = AzureBlobs(service)
        for listed in made.blobs.list(names.SWEEPS, ""):
            stored = made.blobs.get(names.SWEEPS, listed.name)
            assert stored is not None
            blobs.put(names.SWEEPS, listed.name, stored.body, metadata=stored.metadata)
        jobs, poison = (AzureQueue(queues.get_queue_client(name)) for name in (names.JOBS_QUEUE, names.POISON_QUEUE))
        yield replace(made.session(), target=storage, blobs=blobs, jobs=jobs, poison=poison)


def published(session: Session, monkeypatch: pytest.MonkeyPatch, file: Path) -> bytes:
    """Call `report`, and return what is stored beside the sweep."""
    monkeypatch.setattr(report, "open_session", lambda _: session)
    app = typer.Typer()
    report.register(app)
    done = CliRunner(env={"TERM": "dumb"}).invoke(app, ["lunar", "--no-video", "--out", str(file)])
    assert done.exit_code == 0, done.output
    stored = session.blobs.get(names.SWEEPS, names.report("lunar"))
    assert stored is not None
    return stored.body


def test_what_is_published_is_the_file_and_opens_with_every_plot(
    session: Session, monkeypatch: pytest.MonkeyPatch, browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "lunar.html"
    body = published(session, monkeypatch, file)
    assert body == file.read_bytes()
    page, troubles = browser.new_page(), list[str]()
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(file.as_uri())
    drawn, runs = page.locator("svg.plot").count(), page.locator("tr[id^=run-]").count()
    page.close()
    assert (troubles, drawn, runs) == ([], 4, 9)


def test_a_published_report_is_no_job_and_goes_with_its_sweep(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = ProgressReader(session.blobs, "lunar", 120.0).read()
    published(session, monkeypatch, tmp_path / "lunar.html")
    assert ProgressReader(session.blobs, "lunar", 120.0).read().counts == before.counts == {"done": 9}
    delete(session, "lunar")
    assert list(sweeps(session.blobs)) == []
    assert session.blobs.get(names.SWEEPS, names.report("lunar")) is None
