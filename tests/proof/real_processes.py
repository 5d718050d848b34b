"""Row 3: real worker processes over a real Azurite, killed at random, and paused until others have their jobs."""

import random
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

from azure.core.credentials import TokenCredential

from tests.proof.herd import Herd, Worker, workers
from tests.proof.row import Enough, Tell, told
from worker.contract import names
from worker.contract.azure import blob_service, queue_service
from worker.contract.control import Control
from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job, PolicyKwargs
from worker.contract.manifest import Manifest
from worker.contract.plan import Plan, PlannedJob, PlannedSet
from worker.contract.queue import AzureQueue
from worker.contract.records import AzureBlobs
from worker.contract.result import Result
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations, Target

# As on Azure in their ratios, 60 times as fast; a commit as soon as the one before it is through.
DURATIONS = Durations().scaled(1 / 60).model_copy(update={"commit_s": 0.05, "first_receive_after_pulse_s": 0.01})
LOOK_S = 0.1
PATIENCE_S = 300.0

SHORT = Configuration(
    environment=EnvironmentSpec(id="Pendulum-v1"),
    timesteps=360,
    trainer="fast",
    hyperparameters=Hyperparameters(batch_size=16, learning_starts=100, policy_kwargs=PolicyKwargs(net_arch=(8,))),
    evaluation=Evaluation(every=170, episodes=1, final_episodes=1),
)


def short_jobs(sweep: str, count: int) -> list[Job]:
    """Return jobs of about a second each."""
    return [Job.of(sweep, SHORT, seed) for seed in range(count)]


class Account:
    """A storage account, seen from outside of the workers."""

    def __init__(self, target: Target, credential: TokenCredential) -> None:
        self.target = target
        self.blobs = AzureBlobs(blob_service(target, credential))
        queues = queue_service(target, credential)
        self.jobs = AzureQueue(queues.get_queue_client(names.JOBS_QUEUE))
        self.poison = AzureQueue(queues.get_queue_client(names.POISON_QUEUE))
        self.control = Control(self.blobs)
        self._runtime = RealRuntime()
        self._never = self._runtime.event()

    def enqueue(self, jobs: Sequence[Job]) -> None:
        """Plan and send the jobs of one sweep."""
        plan = Plan(
            sweep=jobs[0].sweep,
            common=jobs[0].configuration,
            sets=(PlannedSet(differs={}),),
            jobs=tuple(PlannedJob(id=job.id, set=0, seed=job.seed) for job in jobs),
        )
        self.blobs.put(names.SWEEPS, names.plan(plan.sweep), plan.canonical())
        for job in jobs:
            self.jobs.send(job.encode())

    def manifest(self, job: Job) -> Manifest | None:
        """Return a job's manifest, if there is one."""
        found = self.blobs.get(names.SWEEPS, names.manifest(job.sweep, job.id))
        return Manifest.model_validate_json(found.body) if found else None

    def ended(self, sweep: str) -> int:
        """Return how many jobs of a sweep have ended."""
        listed = self.blobs.list(names.SWEEPS, names.manifests(sweep))
        return sum(blob.metadata.get("status") in {"done", "failed", "poisoned", "cancelled"} for blob in listed)

    def digest(self, job: Job) -> str:
        """Return the digest that a done job has published."""
        manifest = self.manifest(job)
        assert manifest is not None
        assert manifest.outcome.result is not None, f"{job.id} is {manifest.status}: {manifest.outcome.reason}"
        found = self.blobs.get(names.SWEEPS, manifest.outcome.result.name)
        assert found is not None
        return Result.model_validate_json(found.body).state_digest

    def pause(self, seconds: float) -> None:
        """Let the workers work."""
        self._runtime.wait(self._never, seconds)

    def until(self, what: str, holds: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
        """Look until it holds. Raises AssertionError after minutes without."""
        for _ in range(int(patience_s / LOOK_S)):
            if holds():
                return
            self.pause(LOOK_S)
        raise AssertionError(f"never within {patience_s:.0f} s: {what}")


@dataclass(frozen=True)
class Kills:
    """What was done and what became of it."""

    kills: int
    jobs: int
    claims: int
    """Over all jobs; one each without kills."""
    lost: int
    poisoned: int
    other_bits: int
    """Jobs whose digest is not that of the straight run."""


def kill_at_random(
    account: Account, herd: Herd, *, kills: int, jobs_at_once: int, processes: int, seed: int, tell: Tell = told
) -> Kills:
    """Kill random workers at random moments; a new batch of jobs comes whenever one has ended."""
    chance = random.Random(seed)
    batches: list[list[Job]] = []

    def next_batch() -> str:
        batches.append(short_jobs(f"kills{len(batches)}", jobs_at_once))
        account.enqueue(batches[-1])
        return batches[-1][0].sweep

    with workers(herd, account.target, processes) as here:
        sweep = next_batch()
        done_kills = 0
        while done_kills < kills and _goes_on(tell, f"{done_kills} of {kills} kills, {len(batches)} batches of jobs"):
            account.pause(chance.expovariate(processes / 4.0))
            victim = chance.randrange(processes)
            herd.end(here[victim])
            here[victim] = herd.start(account.target)
            done_kills += 1
            if account.ended(sweep) == jobs_at_once:
                sweep = next_batch()
        account.until("the last batch has ended", lambda: account.ended(sweep) == jobs_at_once)
        account.until("every message is gone", lambda: account.jobs.count() == 0)
    every = [job for batch in batches for job in batch]
    manifests = [account.manifest(job) for job in every]
    straight = {job.seed: herd.straight(job) for job in batches[0]}
    done = [job for job, manifest in zip(every, manifests, strict=True) if manifest and manifest.status == "done"]
    return Kills(
        kills=done_kills,
        jobs=len(every),
        claims=sum(manifest.attempt_count for manifest in manifests if manifest),
        lost=len(every) - len(done),
        poisoned=account.poison.count(),
        other_bits=sum(account.digest(job) != straight[job.seed] for job in done),
    )


def _goes_on(tell: Tell, text: str) -> bool:
    try:
        tell(text)
    except Enough:
        return False
    return True


After = Literal["committed", "published"]


@dataclass(frozen=True)
class Pauses:
    """Rounds in which a holder slept until its successor had committed, or published."""

    rounds: int = 0
    overwritten: int = 0
    """Rounds in which the holder, awake again, changed what its successor had written."""
    claimed_again: int = 0
    """Rounds in which the successor fell silent in its turn, as on a busy machine, and the holder claimed anew."""
    other_bits: int = 0


def pause_holders(
    accounts: Sequence[Account], herd: Herd, *, rounds: int, after: After, digest: str, count: Callable[[Pauses], None]
) -> None:
    """Stop holders past their visibility, wake them when a successor has the job, and see that they give up.

    The accounts share the rounds, and work side by side; `count` is told of all rounds so far after each.
    """
    found = Pauses()
    one_at_a_time = threading.Lock()

    def work(account: Account, numbers: range) -> None:
        nonlocal found
        for number in numbers:
            job = Job.of(f"pause-{after}-{number}", SHORT, seed=0)
            account.enqueue([job])
            outcome = _one_pause(account, herd, job, after)
            other = account.digest(job) != digest
            with one_at_a_time:
                found = replace(
                    found,
                    rounds=found.rounds + 1,
                    overwritten=found.overwritten + (outcome == "overwritten"),
                    claimed_again=found.claimed_again + (outcome == "claimed again"),
                    other_bits=found.other_bits + other,
                )
                count(found)

    with ThreadPoolExecutor(len(accounts)) as pool:
        lanes = [range(lane, rounds, len(accounts)) for lane in range(len(accounts))]
        list(pool.map(work, accounts, lanes))


def _one_pause(
    account: Account, herd: Herd, job: Job, after: After
) -> Literal["stands", "claimed again", "overwritten"]:
    """Return what became of what the successor wrote."""

    def seen() -> Manifest | None:
        return account.manifest(job)

    def claimed(epoch: int) -> bool:
        manifest = seen()
        return manifest is not None and manifest.epoch >= epoch and manifest.step > 0

    with workers(herd, account.target, 1) as (holder,):
        account.until("the holder has committed", lambda: claimed(1))
        holder.signal(signal.SIGSTOP)
        before = seen()
        assert before is not None
        if before.terminal:
            holder.signal(signal.SIGCONT)  # it was quicker than we: nothing to see in this round
            return "stands"
        with workers(herd, account.target, 1) as (successor,):
            if after == "committed":
                account.until("its successor has committed", lambda: _went_on(seen(), successor, before))
            else:
                account.until("its successor has published", lambda: account.ended(job.sweep) == 1)
            holder.signal(signal.SIGCONT)
            account.until("the job has ended", lambda: account.ended(job.sweep) == 1)
            account.until("the message is gone", lambda: account.jobs.count() == 0)
            published = seen()
            account.until("the holder looks for other work", lambda: _is_idle(account, holder))
    if published is None or seen() != published or not _on_record(published, successor, before):
        return "overwritten"
    return "stands" if published.attempts[-1].worker.startswith(successor.vm) else "claimed again"


def _on_record(manifest: Manifest, successor: Worker, before: Manifest) -> bool:
    """Return whether the claims go on without a gap from those before the pause, the successor's next.

    A write of the sleeping claim would have put its own view in their place, in which no other claim had followed.
    """
    workers_of = {attempt.epoch: attempt.worker for attempt in manifest.attempts}
    whole = list(workers_of) == list(range(1, manifest.epoch + 1))
    return whole and workers_of.get(before.epoch + 1, "").startswith(successor.vm)


def _went_on(manifest: Manifest | None, successor: Worker, before: Manifest) -> bool:
    """Return whether the successor has claimed the job and committed further."""
    if manifest is None or not manifest.attempts[-1].worker.startswith(successor.vm):
        return False
    return manifest.terminal or manifest.step > before.step


def _is_idle(account: Account, worker: Worker) -> bool:
    return any(seen.report.vm == worker.vm and seen.report.state == "idle" for seen in account.control.slots())
