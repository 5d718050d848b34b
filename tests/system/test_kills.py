"""One job trained straight, and the same job killed wherever that hurts, each time resumed by a new process."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import TokenCredential

from producer.emulator.tokens import Identity
from tests.fakes.slot import plan_of_one
from worker.__main__ import THREADS
from worker.contract import names
from worker.contract.azure import blob_service, queue_service
from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job, PolicyKwargs
from worker.contract.manifest import Manifest
from worker.contract.queue import AzureQueue
from worker.contract.records import AzureBlobs
from worker.contract.result import CURVE, RESULT, Result
from worker.contract.settings import Durations, Target
from worker.exit_status import LEAVES, STOPPED

ROOT = Path(__file__).parents[2]
KEY = "the key of the tests, of 32 bytes or more"
STEPS, WARM_UP, EVALUATE_EVERY = 700, 150, 300
# As on Azure in their ratios, 60 times as fast; a commit soon after the one before it.
DURATIONS = Durations().scaled(1 / 60).model_copy(update={"commit_s": 0.05, "first_receive_after_pulse_s": 0.01})

ENDS: dict[str, dict[str, Any]] = {
    "warm-up": {"how": "step", "at": WARM_UP // 2},
    "mid-episode": {"how": "step", "at": 260},
    "periodic evaluation": {"how": "evaluation", "at": 1},
    "before a state is uploaded": {"how": "write", "part": "/state-", "count": 3, "after": False},
    "between state and manifest": {"how": "write", "part": "/state-", "count": 4, "after": True},
    "after a manifest write": {"how": "write", "part": "/manifests/", "count": 3, "after": True},
    "an eviction with notice": {"how": "notice", "at": 500},
    "final evaluation": {"how": "evaluation", "at": 3},
    "before the terminal manifest": {"how": "write", "part": RESULT, "count": 1, "after": True},
}


@pytest.fixture(scope="module")
def job() -> Job:
    configuration = Configuration(
        environment=EnvironmentSpec(id="LunarLanderContinuous-v3", kwargs={"enable_wind": True}),
        timesteps=STEPS,
        trainer="fast",
        hyperparameters=Hyperparameters(
            batch_size=32, learning_starts=WARM_UP, policy_kwargs=PolicyKwargs(net_arch=(16, 16))
        ),
        evaluation=Evaluation(every=EVALUATE_EVERY, episodes=3, final_episodes=5),
    )
    return Job.of("kills", configuration, seed=7)


@pytest.fixture(scope="module")
def straight(job: Job, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, bytes]:
    """The job trained in one process, without storage."""
    folder = tmp_path_factory.mktemp("straight")
    (folder / "job.json").write_text(job.encode())
    run = subprocess.run(
        [sys.executable, "-m", "worker", "train", str(folder / "job.json"), "--out", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return Result.model_validate_json((folder / RESULT).read_bytes()), (folder / CURVE).read_bytes()


class Storage:
    """The test's account, from outside of the workers."""

    def __init__(self, target: Target, credential: TokenCredential) -> None:
        self.blobs = AzureBlobs(blob_service(target, credential))
        self.jobs = AzureQueue(queue_service(target, credential).get_queue_client(names.JOBS_QUEUE))

    def enqueue(self, job: Job) -> None:
        self.blobs.put(names.SWEEPS, names.plan(job.sweep), plan_of_one(job).canonical())
        self.jobs.send(job.encode())

    def manifest(self, job: Job) -> Manifest:
        found = self.blobs.get(names.SWEEPS, names.manifest(job.sweep, job.id))
        assert found is not None
        return Manifest.model_validate_json(found.body)

    def result(self, job: Job) -> tuple[Result, bytes]:
        outcome = self.manifest(job).outcome
        assert outcome.result is not None
        assert outcome.curve is not None
        body, curve = (self.blobs.get(names.SWEEPS, part.name) for part in (outcome.result, outcome.curve))
        assert body is not None
        assert curve is not None
        return Result.model_validate_json(body.body), curve.body


class Workers:
    """Starts one worker process after the other, each on a VM of its own."""

    def __init__(self, target: Target, identity: Identity, folder: Path) -> None:
        self._target, self._identity, self._folder = target, identity, folder
        self._started = 0

    def run(self, end: dict[str, Any]) -> int:
        """Run a worker until it ends; return its exit status, negative for a signal."""
        self._started += 1
        runtime = self._folder / f"vm{self._started}"
        runtime.mkdir()
        told = runtime / "told.json"
        content = {
            "target": self._target.model_dump(mode="json"),
            "identity": asdict(self._identity),
            "key": KEY,
            "vm": f"vm{self._started}",
            "durations": DURATIONS.model_dump(),
            "end": end,
        }
        told.write_text(json.dumps(content))
        run = subprocess.run(
            [sys.executable, "-m", "tests.system.slot_process", str(told)],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(THREADS, "1"), "RUNTIME_DIRECTORY": str(runtime)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode in {-signal.SIGKILL, LEAVES, STOPPED}, run.stderr
        return run.returncode


def test_a_job_killed_everywhere_ends_with_the_same_bits_as_one_that_was_not(
    job: Job,
    straight: tuple[Result, bytes],
    storage: Target,
    credential: TokenCredential,
    identity: Identity,
    tmp_path: Path,
) -> None:
    world = Storage(storage, credential)
    world.enqueue(job)
    workers = Workers(storage, identity, tmp_path)
    for end in ENDS.values():
        expected = LEAVES if end["how"] == "notice" else -signal.SIGKILL
        assert workers.run(end) == expected
    assert workers.run({"how": "done"}) == STOPPED

    manifest = world.manifest(job)
    result, curve = world.result(job)
    alone, alone_curve = straight
    assert manifest.status == "done"
    assert manifest.attempt_count == len(ENDS) + 1
    assert result.state_digest == alone.state_digest
    assert result.final == alone.final
    assert result.evaluations == alone.evaluations
    assert curve == alone_curve
    assert result.exact
    assert world.jobs.count() == 0
    assert not list(world.blobs.list(names.CHECKPOINTS, names.checkpoint(job.sweep, job.id)))
