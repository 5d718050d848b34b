"""With no reconcile loop anywhere: the wake alone brings VMs, and brings others when they are evicted."""

from pathlib import Path

import pytest

from producer.emulator.local import LocalOptions, local_fleet
from producer.sweep.enqueue import enqueue
from producer.sweep.planning import plan_file
from tests.system.observer import Observer
from worker.contract.manifest import EVICTED

SWEEP = """
name: awake
env: Pendulum-v1
timesteps: 2_000
seeds: 1
fixed: {batch_size: 64, learning_starts: 200, policy_kwargs: {net_arch: [32, 32]}}
evaluation: {every: 1_000, episodes: 2, final_episodes: 5}
"""


def test_a_sweep_survives_an_eviction_with_scale_off(
    tmp_path: Path, azurite_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "")  # opening a session sets it: put it back afterwards
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    plan = plan_file(tmp_path / "sweep.yaml").plan
    options = LocalOptions(instances=1, time_scale=0.02, notice_s=5.0, boot_s=0.5, azurite=azurite_home)
    said: list[str] = []
    with local_fleet(options, said.append) as (fleet, session):
        enqueue(session, plan, confirm=lambda _question: False)
        observer = Observer(fleet, session, plan)
        evicted = observer.evict(notice=False)
        observer.until(observer.asleep)
        (manifest,) = observer.manifests().values()
    assert manifest.status == "done"
    first, *others = manifest.attempts
    assert first.worker.startswith(f"{evicted}/")
    assert first.ended in EVICTED
    assert {attempt.worker.partition("/")[0] for attempt in others} != {evicted}
    assert said.count("The wake set the capacity to 1.") >= 2
