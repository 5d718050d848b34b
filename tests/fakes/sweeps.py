"""Sweeps with manifests and results, built with the contract's models and stored as a worker stores them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from producer.session import Session
from tests.fakes.storage import MemoryBlobs, MemoryQueue
from worker.contract import names
from worker.contract.base import sha256_hex
from worker.contract.job import Configuration, EnvironmentSpec, Job, job_id
from worker.contract.manifest import Attempt, BlobRef, Ended, Manifest, Outcome, TrailPoint
from worker.contract.plan import Plan, PlannedJob, PlannedSet, resolve
from worker.contract.result import CURVE, EPISODES, MODEL, POLICY, RESULT, PeriodicEvaluation, Result
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations, Target

LUNAR = EnvironmentSpec(id="LunarLanderContinuous-v3")
COMMON = Configuration(environment=LUNAR, timesteps=200_000, trainer="fast")
RELEASE = "0.1.0-3f2a9c1d"
CURVE_TEXT = "step,rollout/ep_rew_mean,eval/mean_reward\n1000,-180.5,\n100000,-20.25,10.0\n"


def make_plan(
    differs: Sequence[Mapping[str, Any]],
    seeds: Sequence[int],
    name: str = "lunar",
    common: Configuration = COMMON,
    **more: Any,
) -> Plan:
    """Return the plan of every set with every seed."""
    configurations = [resolve(common, one) for one in differs]
    jobs = tuple(
        PlannedJob(id=job_id(configuration, seed), set=index, seed=seed)
        for index, configuration in enumerate(configurations)
        for seed in seeds
    )
    return Plan(sweep=name, common=common, sets=tuple(PlannedSet(differs=one) for one in differs), jobs=jobs, **more)


def attempt(
    epoch: int, steps: tuple[int, int], ended: Ended = "running", seconds: float = 600.0, **more: Any
) -> Attempt:
    """Return an attempt that began at `steps[0]` and committed `steps[1]`."""
    values: dict[str, Any] = {
        "epoch": epoch,
        "worker": f"vm-{epoch}/0",
        "release": RELEASE,
        "from_step": steps[0],
        "to_step": steps[1],
        "reached_step": steps[1],
        "started": f"2026-11-22T10:{epoch:02d}:00+00:00",
        "seconds": seconds,
        "ended": ended,
    }
    return Attempt(**(values | more))


def running(job: Job, step: int, **more: Any) -> Manifest:
    """Return the manifest of a job in its first attempt."""
    values: dict[str, Any] = {
        "job": job,
        "status": "running",
        "epoch": 1,
        "nonce": "ab" * 8,
        "worker": "vm-1/0",
        "step": step,
        "reached": step,
        "attempts": (attempt(1, (0, step)),),
        "attempt_count": 1,
        "seconds": 600.0,
        "steps_per_second": 90.0,
        "latest_return": -120.5,
        "trail": (TrailPoint(step=0, value=-300.0), TrailPoint(step=step, value=-120.5)),
    }
    return Manifest(**(values | more))


def episodes(mean: float, spread: float = 30.0, count: int = 100) -> list[float]:
    """Return returns with exactly this mean, in a fixed order."""
    values = np.linspace(-1.0, 1.0, count) * spread
    return [float(value) for value in mean + values - values.mean()]


@dataclass
class Storage:
    """A storage account in memory, on a clock that a test moves."""

    now_s: float = 0.0
    blobs: MemoryBlobs = field(init=False)
    jobs: MemoryQueue = field(init=False)
    poison: MemoryQueue = field(init=False)

    def __post_init__(self) -> None:
        self.blobs = MemoryBlobs(lambda: self.now_s)
        self.jobs = MemoryQueue(lambda: self.now_s)
        self.poison = MemoryQueue(lambda: self.now_s)

    def session(self, **target: Any) -> Session:
        """Return a session on this storage, as if on Azure."""
        values: dict[str, Any] = {
            "kind": "azure",
            "subscription_id": "subscription",
            "resource_group": "group",
            "scale_set": "tranq-set",
            "location": "westeurope",
            "blob_endpoint": "https://account.blob.core.windows.net/",
            "queue_endpoint": "https://account.queue.core.windows.net/",
            "slots_per_instance": 8,
        }
        return Session(
            target=Target(**(values | target)),
            durations=Durations(),
            blobs=self.blobs,
            jobs=self.jobs,
            poison=self.poison,
            runtime=RealRuntime(),
            user="ada",
        )

    def put_plan(self, plan: Plan) -> None:
        self.blobs.put(names.SWEEPS, names.plan(plan.sweep), plan.canonical())

    def put_manifest(self, manifest: Manifest) -> None:
        name = names.manifest(manifest.job.sweep, manifest.job.id)
        self.blobs.put(names.SWEEPS, name, manifest.canonical(), metadata=manifest.metadata())

    def put_part(self, manifest: Manifest, what: str, body: bytes) -> BlobRef:
        name = names.result(manifest.job.sweep, manifest.job.id, manifest.nonce, what)
        self.blobs.put(names.SWEEPS, name, body)
        return BlobRef(name=name, length=len(body), sha256=sha256_hex(body))

    def finish(self, job: Job, returns: Sequence[float], curve: str = CURVE_TEXT, **more: Any) -> Manifest:
        """Store a finished job as a worker does: parts first, the manifest last."""
        steps = job.configuration.timesteps
        more = {"attempts": (attempt(1, (0, steps), "done"),), **more}
        done = running(job, steps, status="done", **more)
        result = Result.of(
            done,
            step=steps,
            episodes=500,
            updates=steps - 100,
            returns=returns,
            lengths=[300] * len(returns),
            evaluations=[PeriodicEvaluation(step=steps // 2, returns=(5.0, 15.0), lengths=(90, 110))],
            fingerprint={"cpu": "AMD EPYC 9V45", "torch": "2.13.0"},
            state_digest="0" * 64,
        )
        outcome = Outcome(
            result=self.put_part(done, RESULT, result.canonical()),
            curve=self.put_part(done, CURVE, curve.encode()),
            model=self.put_part(done, MODEL, b"PK model of " + job.id.encode()),
            policy=self.put_part(done, POLICY, b"policy of " + job.id.encode()),
            episodes=self.put_part(done, EPISODES, b"step,return,length\n100,-180.500000,100\n300,20.000000,200\n"),
            score=result.score,
        )
        done = done.model_copy(update={"outcome": outcome})
        self.put_manifest(done)
        return done
