"""One job in this process, without queue or storage: the same trainer, so the same result as from the fleet."""

from collections.abc import Callable
from pathlib import Path

from worker import decisions
from worker.contract.base import sha256_hex
from worker.contract.job import Job
from worker.contract.result import Result
from worker.contract.runtime import Runtime
from worker.publish import parts_of, result_of
from worker.slot import Trainers
from worker.training_run import TrainingRun

Watch = Callable[[TrainingRun, float], None]
"""Told of the run and its seconds so far, at every boundary."""


def train_alone(job: Job, trainers: Trainers, runtime: Runtime, folder: Path, watch: Watch) -> Result:
    """Train `job` from step 0 to its end, and write its result's files into `folder`."""
    nonce = sha256_hex(job.encode().encode())[:16]
    manifest = decisions.claimed(
        job, None, nonce=nonce, worker="this process", message_id="", release="", utc=runtime.utc()
    )
    began_s = runtime.monotonic()
    run = trainers.build(job)
    finished = run.train(lambda at: watch(at, runtime.monotonic() - began_s), lambda: None)
    seconds = runtime.monotonic() - began_s
    progress = decisions.Progress(finished.step, seconds, finished.step / seconds, run.latest_return, None)
    result = result_of(decisions.progressed(manifest, progress), finished, trainers.fingerprint)
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in parts_of(result, finished).items():
        (folder / name).write_bytes(body)
    return result
