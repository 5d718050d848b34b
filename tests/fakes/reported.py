"""Sweeps worth a report: several sets and seeds, evictions, an inexact resume, a failure, and runs under way."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from producer.results.leaderboard import Leaderboard, leaderboards
from producer.results.progress import JobProgress, SweepProgress
from producer.sweep.document import parse_document
from producer.sweep.planning import make_plan
from producer.sweep.sweep_file import parse_sweep_file
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import Storage, attempt, episodes, running
from tests.fakes.sweeps import make_plan as plan_of_sets
from worker.contract.endings import closed
from worker.contract.job import Job
from worker.contract.manifest import Outcome, TrailPoint
from worker.contract.plan import Plan
from worker.contract.score import summarise

SWEEP_FILE = """\
name: {name}
env: {{id: LunarLanderContinuous-v3}}
timesteps: 200_000
seeds: {seeds}
fixed: {{policy_kwargs: {{net_arch: [400, 300]}}}}
search: {{method: random, count: {sets}, seed: 1}}
space:
  tau: {{low: 1e-3, high: 8e-2, log: true}}
  learning_rate: {{choices: [3e-4, lin_7.3e-4, lin_1e-3]}}
  gamma: {{choices: [0.98, 0.99]}}
  batch_size: {{choices: [64, 128, 256]}}
evaluation: {{every: 10_000, episodes: 10, final_episodes: 100}}
"""


def lunar_plan(sets: int, seeds: int, name: str = "lunar") -> Plan:
    """Return the plan of a random search."""
    text = SWEEP_FILE.format(name=name, sets=sets, seeds=list(range(seeds)))
    document = parse_document(f"{name}.yaml", text.encode())
    return make_plan(parse_sweep_file(document), document).plan


def store_sweep(
    plan: Plan, *, unfinished: Sequence[int] = (), failed: Sequence[int] = (), waiting: Sequence[int] = ()
) -> Storage:
    """Return storage with this sweep: the jobs of `unfinished` are under way, those of `failed` have diverged."""
    storage = Storage()
    storage.put_plan(plan)
    for number, job in enumerate(jobs_of(plan)):
        if number in waiting:
            continue
        if number in failed:
            reason = Outcome(reason="diverged: the critic's loss is NaN")
            storage.put_manifest(running(job, 40_000, status="failed", outcome=reason))
        elif number in unfinished:
            trail = tuple(TrailPoint(step=step, value=step / 500 - 300.0) for step in range(0, 80_001, 10_000))
            storage.put_manifest(running(job, 80_000, trail=trail))
        else:
            _finish(storage, job, number)
    return storage


def _finish(storage: Storage, job: Job, number: int) -> None:
    """Every third job was evicted once without notice, every seventh went on on another machine."""
    steps = job.configuration.timesteps
    skill = quality(job)
    more: dict[str, object] = {"seconds": 2_000.0 + number}
    if number % 3 == 0:
        first = running(job, 90_000, reached=94_000, attempts=(attempt(1, (0, 90_000), seconds=900.0),))
        evicted = closed(first, "vanished", "the VM fell silent")
        second = attempt(2, (90_000, steps), "done", seconds=1_100.0 + number, exact=number % 7 != 0)
        more |= {
            "attempts": (*evicted.attempts, second),
            "attempt_count": 2,
            "eviction_count": evicted.eviction_count,
            "lost_steps": evicted.lost_steps,
            "exact": second.exact,
        }
    storage.finish(job, episodes(skill), curve_text(skill, steps, job.seed + number), **more)


def quality(job: Job) -> float:
    """Return a run's score: best at tau 0.01, worse with gamma 0.98, and a little luck."""
    hyper = job.configuration.hyperparameters
    rng = np.random.default_rng(int(job.id[:8], 16))
    return float(250 - 60 * abs(np.log10(hyper.tau) + 2) - 2_000 * (0.99 - hyper.gamma) + rng.normal(0, 12))


def curve_text(skill: float, steps: int, seed: int) -> str:
    """Return a learning curve that ends near `skill`."""
    rng = np.random.default_rng(seed)
    at = np.arange(10_000, steps + 1, 10_000)
    values = skill - (skill + 250) * np.exp(-at / 35_000) + rng.normal(0, 18, len(at))
    lines = [f"{step},{value:.2f},{value + 5:.2f}" for step, value in zip(at, values, strict=True)]
    return "\n".join(["step,rollout/ep_rew_mean,eval/mean_reward", *lines]) + "\n"


def ranked(sets: Sequence[tuple[Mapping[str, Any], Sequence[float]]]) -> Leaderboard:
    """Return the ranking of sets, each with the scores of its seeds."""
    plan = plan_of_sets([differs for differs, _ in sets], range(len(sets[0][1])))
    jobs = tuple(
        replace(
            JobProgress(planned.id, planned.set, planned.seed, plan.common.timesteps),
            state="done",
            attempts=1,
            score=summarise(episodes(sets[planned.set][1][planned.seed]), [300] * 100, 200.0),
        )
        for planned in plan.jobs
    )
    (board,) = leaderboards([SweepProgress(plan, jobs)])
    return board
