"""How long a person waits for an answer about a sweep of 10,000 jobs: real storage, real manifests, real commands.

Azurite is started, the plan and the manifests are written as workers write them, and status, results and watch are
called as a person does, in a process of their own; then the report of a smaller sweep. Times are wall-clock from the
call to the whole answer (watch: to its first lines), interpreter start included.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

from producer.emulator.local import LocalOptions, local_fleet
from producer.fleet.scale_set import AzureScaleSet, Glances
from producer.results.answers import text
from producer.results.progress import ProgressReader
from producer.results.watch import open_watcher
from producer.session import Session
from producer.sweep.planning import plan_file
from producer.sweep.plans import write_plan
from tests.bench.figures import Spread, keep
from tests.bench.turns import Tell
from tests.fakes.plans import jobs_of
from tests.fakes.reported import lunar_plan, store_sweep
from tests.fakes.sweeps import attempt, episodes, running
from worker.contract import azure, names
from worker.contract.base import sha256_hex
from worker.contract.job import Job
from worker.contract.manifest import BlobRef, Manifest, Outcome, TrailPoint
from worker.contract.plan import Plan
from worker.contract.queue import AzureQueue
from worker.contract.records import AzureBlobs
from worker.contract.score import summarise

SWEEP = """
name: large
env: LunarLanderContinuous-v3
timesteps: 200_000
seeds: [0, 1, 2, 3, 4]
search: {{method: random, count: {sets}, seed: 1}}
space: zoo
baseline: {{learning_rate: 7.3e-4, tau: 0.01}}
"""
SEEDS = 5
LARGE, REPORTED = 10_000, 200
"""Jobs."""
TIMES = 5
COMMAND = (sys.executable, "-P", "-m", "producer")
COMMANDS: dict[str, tuple[str, ...]] = {
    "status": ("status", "large"),
    "status --json": ("status", "large", "--json"),
    "status (all sweeps)": ("status",),
    "results": ("results", "large"),
    "results --csv": ("results", "large", "--csv"),
    "watch": ("watch", "large"),
}


def manifests(plan: Plan) -> Iterator[Manifest]:
    """Yield manifests as workers leave them: most jobs done, some running, some failed, the last hundred waiting."""
    for number, job in enumerate(jobs_of(plan)[:-100]):
        step = 200_000 if number % 10 else 90_000 + number
        trail = tuple(TrailPoint(step=step * i // 24, value=-300.0 + (number * 7 + i * 31) % 500) for i in range(24))
        seen = running(job, step, trail=trail, attempts=(attempt(1, (0, step)), attempt(2, (step // 2, step))))
        yield seen if number % 10 == 0 else _ended(seen, job, number)


def _ended(seen: Manifest, job: Job, number: int) -> Manifest:
    if number % 50 == 1:
        return seen.model_copy(update={"status": "failed", "outcome": Outcome(reason="diverged: the loss is NaN.")})
    score = summarise(episodes(-100.0 + (number * 37) % 350), [300] * 100, 200.0)
    parts = {
        part: BlobRef(name=names.result("large", job.id, seen.nonce, part), length=1, sha256=sha256_hex(part.encode()))
        for part in ("result", "curve", "model", "policy")
    }
    return seen.model_copy(update={"status": "done", "outcome": Outcome(score=score, **parts)})


def store(session: Session, plan: Plan) -> None:
    """Write the plan and the manifests."""
    write_plan(session, plan, None)

    def put(manifest: Manifest) -> None:
        name = names.manifest(plan.sweep, manifest.job.id)
        session.blobs.put(names.SWEEPS, name, manifest.canonical(), metadata=manifest.metadata())

    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(put, manifests(plan)):
            pass


def timed(arguments: Sequence[str]) -> tuple[float, float]:
    """Return the seconds until a command has answered, and those of them that it computed."""
    started, computed = time.perf_counter(), sum(os.times()[2:4])
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, env={**os.environ, "COLUMNS": "100"}
    ) as called:
        assert called.stdout is not None
        if arguments[0] == "watch":
            called.stdout.readline()
            called.terminate()
        else:
            called.communicate()
        seconds = time.perf_counter() - started
    assert called.returncode in {0, -signal.SIGTERM}, arguments
    return seconds, sum(os.times()[2:4]) - computed


def requests(session: Session) -> dict[str, int]:
    """Return how many requests to storage a look takes, the plan read for the first time."""
    count = 0

    def observed() -> None:
        nonlocal count
        count += 1

    identity = azure.credential(session.target)
    queues = azure.queue_service(session.target, identity, observed)
    counted = replace(
        session,
        blobs=AzureBlobs(azure.blob_service(session.target, identity, observed)),
        jobs=AzureQueue(queues.get_queue_client(names.JOBS_QUEUE)),
        poison=AzureQueue(queues.get_queue_client(names.POISON_QUEUE)),
    )
    glances = Glances(lambda: AzureScaleSet(session.compute, session.target), session.runtime, session.durations.tick_s)
    watcher = open_watcher(counted, "large", glances)
    view = watcher.look()
    found = {"first look of status and watch": count}
    count = 0
    watcher.look(view)
    found["every later look of watch"] = count
    count = 0
    text([ProgressReader(counted.blobs, "large", 120.0).read()], 20)
    return found | {"results": count}


def spread(arguments: Sequence[str], tell: Tell) -> dict[str, Spread]:
    """Call a command several times; return the seconds."""
    seconds, computed = zip(*(timed(arguments) for _ in range(TIMES)), strict=True)
    found = {"seconds": Spread.of(seconds), "computing": Spread.of(computed)}
    tell(f"{' '.join(arguments)}: {found['seconds']:.2f} s")
    return found


def reported(session: Session, tell: Tell) -> dict[str, Spread]:
    """Store a finished sweep of 200 jobs, and take the time of its report."""
    made = store_sweep(lunar_plan(REPORTED // SEEDS, SEEDS, "reported"))
    for listed in made.blobs.list(names.SWEEPS, ""):
        stored = made.blobs.get(names.SWEEPS, listed.name)
        assert stored is not None
        session.blobs.put(names.SWEEPS, listed.name, stored.body, metadata=stored.metadata)
    return spread(("report", "reported", "--no-video", "--out", "reported.html"), tell)


def answers(tell: Tell) -> None:
    """Measure, and keep the figures."""
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        Path("large.yaml").write_text(SWEEP.format(sets=LARGE // SEEDS - 1))
        plan = plan_file(Path("large.yaml")).plan
        with local_fleet(LocalOptions(instances=1), lambda _line: None) as (_, session):
            tell(f"storing {len(plan.jobs):,} manifests")
            store(session, plan)
            found = {
                "jobs": len(plan.jobs),
                "requests": requests(session),
                "commands": {name: spread(arguments, tell) for name, arguments in COMMANDS.items()},
                "reported": REPORTED,
                "report": reported(session, tell),
            }
    keep("answers", found)
