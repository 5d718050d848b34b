"""The whole product on this machine: a sweep through queue, workers, two evictions and back to zero."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from producer.emulator import local
from producer.emulator.local import LocalOptions, local_fleet, scaling
from producer.results.parts import read_part
from producer.session import LOCAL_TARGET
from producer.sweep.enqueue import enqueue
from producer.sweep.planning import plan_file
from tests.system.observer import Observer
from tests.system.waiting import WaitingImage
from worker.contract.manifest import EVICTED
from worker.contract.result import Result

SWEEP = """
name: pendulum
env: Pendulum-v1
timesteps: 2_500
seeds: [0, 1]
fixed:
  learning_rate: 3e-3
  batch_size: 64
  tau: 0.02
  gamma: 0.95
  learning_starts: 200
  policy_kwargs: {net_arch: [32, 32]}
evaluation: {every: 1_000, episodes: 5, final_episodes: 20}
"""
LEARNED = -400.0
"""A random policy makes about -1,200, one that swings the pendulum up and holds it about -150."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's folder, with nothing in it but a sweep, and a dead proxy that must not matter."""
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    monkeypatch.chdir(tmp_path)
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    yield tmp_path
    assert not (tmp_path / LOCAL_TARGET).exists()


def test_a_sweep_survives_two_evictions_learns_and_leaves_nothing_running(
    folder: Path, azurite_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = folder / "go"
    monkeypatch.setattr(local, "MachineImage", partial(WaitingImage, step=900, go=go))
    plan = plan_file(folder / "sweep.yaml").plan
    options = LocalOptions(instances=2, time_scale=0.05, notice_s=5.0, boot_s=0.5, azurite=azurite_home)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    reports: list[str] = []
    with local_fleet(options, lambda _text: None) as (fleet, session):
        enqueue(session, plan, confirm=lambda _question: False)
        with scaling(fleet, session, lambda report: reports.extend(report.changes)):
            observer = Observer(fleet, session, plan)
            evicted = {observer.evict(notice=True), observer.evict(notice=False)}
            go.touch()
            observer.until(observer.asleep)
            manifests = observer.manifests()
        assert session.jobs.count() == 0
        assert session.poison.count() == 0
        results = {
            job: Result.model_validate_json(read_part(session.blobs, job, manifest.outcome.result))
            for job, manifest in manifests.items()
        }
    left = {process.pid for process in psutil.Process().children(recursive=True)} - before
    assert not left

    assert set(manifests) == set(plan.by_id)
    assert {manifest.status for manifest in manifests.values()} == {"done"}
    attempts = [attempt for manifest in manifests.values() for attempt in manifest.attempts]
    assert sum(attempt.ended == "done" for attempt in attempts) == len(plan.jobs)
    assert {attempt.worker.partition("/")[0] for attempt in attempts if attempt.ended in EVICTED} >= evicted
    assert sum(manifest.eviction_count for manifest in manifests.values()) >= 2
    for result in results.values():
        assert result.exact
        assert result.score.mean > LEARNED, json.dumps(result.score.model_dump())
    assert any("Raised the capacity to 2" in report for report in reports)
