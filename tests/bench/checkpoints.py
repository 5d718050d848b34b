"""What a checkpoint costs: bytes, how long the trainer stands still, and the way back, beside SB3's own way.

The worker's parts over a real Azurite. The buffer fills with random actions, which is what SB3 does before its first
update; then the run trains, and commits as often as it can instead of once a minute.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stable_baselines3 import SAC

from producer.emulator.azurite import Azurite
from producer.emulator.azurite.prepare import prepare
from producer.emulator.certificates import ensure_certificates
from producer.emulator.tokens import DirectCredential, Identity, TokenAuthority
from tests.bench.contestant import FOR_EVER, GAME, LAYERS
from tests.bench.figures import Spread, keep
from tests.bench.turns import Tell
from tests.fakes.deployed import STORAGE
from worker import decisions, fence
from worker.checkpoint import CheckpointStore
from worker.committer import Committer
from worker.contract.azure import blob_service, queue_service
from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job
from worker.contract.log import configure
from worker.contract.manifest import Generation
from worker.contract.records import AzureBlobs, BlobStore
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations, Target
from worker.stop import StopRequest
from worker.training.replay import ignore
from worker.training.state import buffer_of
from worker.training.trainer import SacRun
from worker.training_run import Snapshot, TrainingRun

SIZES = (10_000, 100_000, 1_000_000)
COMMITS = 100
STEPS_BETWEEN = 30
ACCOUNT = "bench"


class _Enough(Exception):
    """All commits are made."""


@dataclass
class Costs:
    """What commits cost, one entry each."""

    stall_s: list[float] = field(default_factory=list)
    """The trainer's copy of memory."""
    upload_cpu_s: list[float] = field(default_factory=list)
    """Processor time of the thread that encodes, hashes and uploads."""
    upload_s: list[float] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """Rows that the buffer has gained since the commit before."""


class MeasuredStore(CheckpointStore):
    """A checkpoint store that takes the time of its uploads."""

    def __init__(self, blobs: BlobStore, claim: fence.Fence, costs: Costs) -> None:
        super().__init__(blobs, claim)
        self._costs = costs

    def upload(self, snapshot: Snapshot, base: Generation | None) -> Generation:
        began_s, began_cpu_s = time.perf_counter(), time.thread_time()
        generation = super().upload(snapshot, base)
        self._costs.upload_cpu_s.append(time.thread_time() - began_cpu_s)
        self._costs.upload_s.append(time.perf_counter() - began_s)
        known = {segment.name for segment in base.segments} if base else set()
        new = [segment for segment in generation.segments if segment.name not in known]
        self._costs.bytes.append(generation.state.length + sum(segment.length for segment in new))
        self._costs.rows.append(_stop(generation) - _stop(base))
        return generation


def _stop(generation: Generation | None) -> int:
    last = generation.segments[-1] if generation and generation.segments else None
    return last.first_row + last.rows if last else 0


def checkpoints(tell: Tell) -> None:
    """Measure at every size, and keep the figures."""
    figures: dict[str, Any] = {}
    for size in SIZES:
        with storage() as blobs:
            tell(f"{size:,} transitions: filling the buffer")
            figures[str(size)] = _measure(job(size), size, blobs, tell)
    keep("checkpoints", {"sizes": figures, "commits": COMMITS, "steps_between": STEPS_BETWEEN})


def job(transitions: int) -> Job:
    """Return a job that begins to train after so many transitions."""
    configuration = Configuration(
        environment=EnvironmentSpec(id=GAME),
        timesteps=FOR_EVER,
        trainer="fast",
        hyperparameters=Hyperparameters.model_validate(
            {"learning_starts": transitions, "policy_kwargs": {"net_arch": LAYERS}}
        ),
        evaluation=Evaluation(every=FOR_EVER, episodes=1, final_episodes=1),
    )
    return Job.of("bench", configuration, 0)


@contextmanager
def storage() -> Iterator[BlobStore]:
    """Run an Azurite with the containers of the template."""
    home = Path(sys.prefix) / "azurite"
    authority = TokenAuthority(os.urandom(32), lambda: datetime.now(UTC))
    zero = "00000000-0000-4000-8000-000000000000"
    identity = DirectCredential(authority, Identity("bench", "bench", zero, zero, zero))
    with tempfile.TemporaryDirectory() as folder:
        certificates = ensure_certificates(Path(folder), datetime.now(UTC))
        with Azurite(home, Path(folder) / "data", certificates, ACCOUNT) as azurite:
            target = Target(
                kind="local",
                subscription_id="none",
                resource_group="none",
                scale_set="none",
                blob_endpoint=azurite.blob_url(ACCOUNT),
                queue_endpoint=azurite.queue_url(ACCOUNT),
                ca_file=certificates.ca_file,
            )
            with blob_service(target, identity) as blobs, queue_service(target, identity) as queues:
                prepare(blobs, queues, STORAGE)
                yield AzureBlobs(blobs)


def _measure(what: Job, size: int, blobs: BlobStore, tell: Tell) -> dict[str, Any]:
    runtime, costs = RealRuntime(), Costs()
    manifest = decisions.claimed(
        what, None, nonce=runtime.nonce(), worker="bench/0", message_id="", release="", utc=runtime.utc()
    )
    claim = fence.create(blobs, runtime, manifest, None)
    committer = Committer(
        MeasuredStore(blobs, claim, costs),
        claim,
        StopRequest(runtime),
        runtime,
        configure("ERROR", "console"),
        base=None,
        commit_s=0.0,
        progress=lambda: decisions.Progress(run.step, 0.0, 0.0, None, None),
        fingerprint={},
        after_commit=lambda: None,
    )
    run = SacRun(what)
    others: dict[str, float] = {}

    def boundary(at: TrainingRun) -> None:
        if at.step < size or at.step % STEPS_BETWEEN:
            return
        if not committer.settle(60):
            raise RuntimeError("an upload takes a minute")
        if len(costs.stall_s) > COMMITS:
            others.update(sb3(run, tell))
            raise _Enough
        began_s = time.perf_counter()
        committer.commit(at.capture(committer.rows_from()))
        costs.stall_s.append(time.perf_counter() - began_s)

    try:
        run.train(boundary, lambda: None)
    except _Enough:
        tell(f"{size:,} transitions: {COMMITS} commits made; restoring the last")
    finally:
        committer.close()
    committer.raise_its_error()
    return {**_summary(costs), **_restored(what, claim, blobs), **others}


def _summary(costs: Costs) -> dict[str, Any]:
    """Summarise all commits but the first, which brings the whole buffer, and which a run makes while it is small."""
    stalls = sorted(costs.stall_s[1:])
    per_minute = Spread.of([stall + cpu for stall, cpu in zip(costs.stall_s[1:], costs.upload_cpu_s[1:], strict=True)])
    return {
        "first_bytes": costs.bytes[0],
        "bytes": Spread.of(costs.bytes[1:]),
        "new_rows": Spread.of(costs.rows[1:]),
        "stall_ms": Spread.of([1000 * stall for stall in stalls]),
        "stall_p99_ms": 1000 * stalls[int(0.99 * len(stalls))],
        "upload_cpu_ms": Spread.of([1000 * seconds for seconds in costs.upload_cpu_s[1:]]),
        "upload_ms": Spread.of([1000 * seconds for seconds in costs.upload_s[1:]]),
        "share_of_run": per_minute.median / Durations().commit_s,
    }


def _restored(what: Job, claim: fence.Fence, blobs: BlobStore) -> dict[str, Any]:
    """Restore the last commit as the next worker would, and take the time."""
    generation = claim.manifest.generations[0]
    store = CheckpointStore(blobs, claim)
    run = SacRun(what)
    began_s = time.perf_counter()
    state = store.load_state(generation, lambda: None)
    run.restore(state, store.load_rows(generation, lambda: None), None, lambda: None, exact=True)
    seconds = time.perf_counter() - began_s
    run.close()
    return {"restore_s": seconds, "requests_to_restore": 1 + len(generation.segments)}


def sb3(run: SacRun, tell: Tell) -> dict[str, float]:
    """Save and load the same model and buffer as SB3's documentation says, to a disk."""
    tell("SB3's save and save_replay_buffer of the same")
    model = run._model
    assert model is not None
    buffer_of(model).on_sample = ignore  # what this project hangs into it cannot be pickled
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder) / "model.zip", Path(folder) / "buffer.pkl"

        def save() -> None:
            model.save(files[0])
            model.save_replay_buffer(files[1])

        saved_s = _seconds(save)
        size = sum(file.stat().st_size for file in files)
        loaded_s = _seconds(lambda: SAC.load(files[0], device="cpu").load_replay_buffer(files[1]))
    return {"sb3_bytes": size, "sb3_stall_ms": 1000 * saved_s, "sb3_restore_s": loaded_s}


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
