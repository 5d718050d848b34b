"""Row 11: workers behind a bad network, for a while, with a blackout in the middle."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.proof.herd import Herd, workers
from tests.proof.proxy import Fault, FaultProxy, Request
from tests.proof.real_processes import SHORT, Account
from tests.proof.row import Enough, Tell
from tests.proof.stage import Stage
from worker.contract.job import Job
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations

SEEDS: Final = 6
"""Jobs of a batch: each has a straight run to be compared with."""
PATIENCE_S: Final = 1800.0
"""With the last batch, when the time is over."""


@dataclass(frozen=True)
class BadNetwork:
    """What it does, and for how long."""

    latency_s: float
    resets: float
    """Share of the requests."""
    busy: float
    blackout_s: float
    minutes: float
    processes: int
    timesteps: int
    durations: Durations


@dataclass(frozen=True)
class Soaked:
    """What became of the jobs."""

    seconds: float
    jobs: int
    done: int
    claims: int
    poisoned: int
    other_bits: int
    faults: dict[str, int]


def decide_by(network: BadNetwork, seed: int) -> Callable[[Request], Fault]:
    """Return what decides, request by request."""
    chance = random.Random(seed)

    def decide(_: Request) -> Fault:
        drawn = chance.random()
        if drawn < network.resets:
            return Fault("reset", network.latency_s)
        return Fault("busy" if drawn < network.resets + network.busy else "pass", network.latency_s)

    return decide


def soak(stage: Stage, herd: Herd, network: BadNetwork, seed: int, tell: Tell) -> Soaked:
    """Let workers train batch after batch until the time is over, and then the last one to its end."""
    outside = Account(stage.target(), stage.credential)
    runtime = RealRuntime()
    began_s = runtime.monotonic()
    batches: list[list[Job]] = []
    blackout_at_s = 60.0 * network.minutes / 2
    with (
        FaultProxy(stage.certificates, outside.target) as proxy,
        workers(herd, proxy.behind(outside.target), network.processes, network.durations),
    ):
        proxy.decide = decide_by(network, seed)
        lit = True
        while True:
            passed_s = runtime.monotonic() - began_s
            if _open_jobs(outside, batches) < network.processes and (not batches or passed_s < 60.0 * network.minutes):
                batches.append(_batch(len(batches), network))
                outside.enqueue(batches[-1])
            if lit and passed_s >= blackout_at_s:
                lit = False
                proxy.black_out()
                outside.pause(network.blackout_s)
                proxy.light()
            over = passed_s >= 60.0 * network.minutes or not _goes_on(tell, f"{passed_s:.0f} s, {len(batches)} batches")
            if over and not lit:
                break
            outside.pause(0.5)
        outside.until("every job has ended", lambda: _open_jobs(outside, batches) == 0, PATIENCE_S)
        outside.until("every message is gone", lambda: outside.jobs.count() == 0, PATIENCE_S)
        counted = proxy.counts.items()
        faults = {kind: sum(n for (_, was), n in counted if was == kind) for kind in ("pass", "reset", "busy")}
    return _soaked(outside, herd, batches, runtime.monotonic() - began_s, faults)


def _goes_on(tell: Tell, text: str) -> bool:
    try:
        tell(text)
    except Enough:
        return False
    return True


def _batch(number: int, network: BadNetwork) -> list[Job]:
    configuration = SHORT.model_copy(update={"timesteps": network.timesteps})
    return [Job.of(f"soak{number}", configuration, seed) for seed in range(SEEDS)]


def _open_jobs(account: Account, batches: list[list[Job]]) -> int:
    return sum(len(batch) - account.ended(batch[0].sweep) for batch in batches[-3:])


def _soaked(account: Account, herd: Herd, batches: list[list[Job]], seconds: float, faults: dict[str, int]) -> Soaked:
    jobs = [job for batch in batches for job in batch]
    manifests = {job.sweep + job.id: account.manifest(job) for job in jobs}
    done = [job for job in jobs if (found := manifests[job.sweep + job.id]) and found.status == "done"]
    straight = {job.seed: herd.straight(job) for job in batches[0]}
    return Soaked(
        seconds=seconds,
        jobs=len(jobs),
        done=len(done),
        claims=sum(manifest.attempt_count for manifest in manifests.values() if manifest),
        poisoned=account.poison.count(),
        other_bits=sum(account.digest(job) != straight[job.seed] for job in done),
        faults=faults,
    )
