"""Checkpoints: what is uploaded once, what comes back, and what a damaged one leads to (rules 2, 9 and 14)."""

import pickle
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from tests.fakes.manifests import OTHER_NONCE, claim
from tests.fakes.slot import QUICK, Clock, World, run_until_idle
from tests.fakes.storage import MemoryBlobs
from tests.fakes.trainer import TinyRun, straight_digest, tiny_job, tiny_trainers
from worker import decisions, fence
from worker.checkpoint import SEGMENT_ROWS, CheckpointStore, rows_from
from worker.contract import names
from worker.contract.base import sha256_hex
from worker.contract.errors import CheckpointCorrupt, OwnershipLost
from worker.contract.job import Job
from worker.contract.manifest import BlobRef, Generation, Manifest
from worker.contract.result import Result
from worker.contract.runtime import RealRuntime
from worker.fence import Fence
from worker.snapshot.replay_rows import ReplayRows
from worker.training_run import Snapshot


def nothing() -> None:
    return


class Bench:
    """A claim, its store, and a run that can be captured at any step."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.blobs = MemoryBlobs(Clock())
        self.fence: Fence = fence.create(self.blobs, RealRuntime(), claim(job), None)
        self.store = CheckpointStore(self.blobs, self.fence)
        self.run = TinyRun(job, nothing)

    def at(self, step: int, base: Generation | None) -> Snapshot:
        while self.run.step < step:
            self.run._advance()
        return self.run.capture(rows_from(base))

    def names(self) -> set[str]:
        return {blob.name for blob in self.blobs.list(names.CHECKPOINTS, "")}


BIG = tiny_job(timesteps=40_000, buffer_size=20_000)


def test_what_was_uploaded_comes_back() -> None:
    bench = Bench(tiny_job())
    snapshot = bench.at(50, None)
    generation = bench.store.upload(snapshot, None)
    assert bench.store.load_state(generation, nothing).encode() == snapshot.state.encode()
    (rows,) = bench.store.load_rows(generation, nothing)
    assert rows.encode() == snapshot.rows.encode()
    assert generation.step == 50
    assert bench.names() == generation.blob_names()


def test_a_run_of_no_steps_has_a_state_and_no_rows() -> None:
    bench = Bench(tiny_job())
    generation = bench.store.upload(bench.at(0, None), None)
    assert generation.segments == ()
    assert rows_from(generation) == 0
    assert bench.store.load_state(generation, nothing).step == 0


def test_whole_segments_are_uploaded_once_and_the_tail_again() -> None:
    bench = Bench(BIG)
    first = bench.store.upload(bench.at(SEGMENT_ROWS + 10, None), None)
    assert rows_from(first) == SEGMENT_ROWS
    before = bench.names()
    snapshot = bench.at(SEGMENT_ROWS + 30, first)
    assert len(snapshot.rows) == 30
    second = bench.store.upload(snapshot, first)
    assert second.segments[0] == first.segments[0]
    assert (second.segments[1].first_row, second.segments[1].rows) == (SEGMENT_ROWS, 30)
    assert bench.names() - before == {second.state.name, second.segments[1].name}
    restored = ReplayRows.concatenate(bench.store.load_rows(second, nothing))
    assert restored.encode() == bench.run.capture(0).rows.encode()


def test_segments_that_the_ring_buffer_has_overwritten_are_dropped() -> None:
    bench = Bench(BIG)
    base: Generation | None = None
    for step in (SEGMENT_ROWS, 3 * SEGMENT_ROWS, 20_000 + SEGMENT_ROWS - 1, 20_000 + SEGMENT_ROWS):
        base = bench.store.upload(bench.at(step, base), base)
        oldest = max(0, step - 20_000)
        assert base.segments[0].first_row <= oldest < base.segments[0].first_row + base.segments[0].rows
        assert base.segments[-1].first_row + base.segments[-1].rows == step
    assert base is not None
    assert base.segments[0].first_row == SEGMENT_ROWS


def test_a_million_rows_are_at_most_200_blobs() -> None:
    n = 1_000_000
    bench = Bench(tiny_job(timesteps=n, buffer_size=n))
    few = bench.at(1, None)
    column = np.zeros((n, 1), dtype=np.float32)
    wide, flags = np.broadcast_to(column, (n, 3)), np.zeros(n, dtype=np.bool_)
    rows = ReplayRows(0, wide, wide, column, column[:, 0], flags, flags)
    counters = few.state.counters.model_copy(update={"step": n, "rows": n})
    object.__setattr__(few.state, "counters", counters)
    generation = bench.store.upload(Snapshot(few.state, rows, None), None)
    assert sum(segment.rows for segment in generation.segments) == n
    assert len(generation.blob_names()) <= 200


def test_two_claims_never_touch_the_same_blob() -> None:
    bench = Bench(tiny_job())
    first = bench.store.upload(bench.at(50, None), None)
    found = fence.read_manifest(bench.blobs, bench.job.sweep, bench.job.id)
    assert found is not None
    later = fence.create(bench.blobs, RealRuntime(), claim(bench.job, found.manifest, nonce=OTHER_NONCE), found)
    second = CheckpointStore(bench.blobs, later).upload(bench.run.capture(0), None)
    assert not first.blob_names() & second.blob_names()


def test_two_commits_of_one_step_have_states_of_their_own() -> None:
    bench = Bench(tiny_job())
    first = bench.store.upload(bench.at(50, None), None)
    assert bench.store.upload(bench.at(50, first), first).state.name != first.state.name


def test_only_named_blobs_are_collected_until_all_of_them_are() -> None:
    bench = Bench(tiny_job())
    bench.blobs.put(names.CHECKPOINTS, "another/job/state", b"")
    first = bench.store.upload(bench.at(20, None), None)
    second = bench.store.upload(bench.at(50, first), first)
    bench.store.collect([first.state.name, "gone already"])
    assert bench.names() == (first.blob_names() | second.blob_names() | {"another/job/state"}) - {first.state.name}
    bench.store.collect_all()
    assert bench.names() == {"another/job/state"}


# ---- damage --------------------------------------------------------------------------------------------------------

Damage = Callable[[MemoryBlobs, BlobRef, BlobRef], None]


def body_of(blobs: MemoryBlobs, blob: BlobRef) -> bytes:
    found = blobs.get(names.CHECKPOINTS, blob.name)
    assert found is not None
    return found.body


def flip(blobs: MemoryBlobs, blob: BlobRef, _other: BlobRef) -> None:
    body = bytearray(body_of(blobs, blob))
    body[len(body) // 2] ^= 1
    blobs.put(names.CHECKPOINTS, blob.name, bytes(body))


def truncate(blobs: MemoryBlobs, blob: BlobRef, _other: BlobRef) -> None:
    blobs.put(names.CHECKPOINTS, blob.name, body_of(blobs, blob)[:-1])


def empty(blobs: MemoryBlobs, blob: BlobRef, _other: BlobRef) -> None:
    blobs.put(names.CHECKPOINTS, blob.name, b"")


def remove(blobs: MemoryBlobs, blob: BlobRef, _other: BlobRef) -> None:
    blobs.delete(names.CHECKPOINTS, blob.name)


def swap(blobs: MemoryBlobs, blob: BlobRef, other: BlobRef) -> None:
    blobs.put(names.CHECKPOINTS, blob.name, body_of(blobs, other))


DAMAGES = [flip, truncate, empty, remove, swap]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_blob_is_corrupt(damage: Damage) -> None:
    bench = Bench(tiny_job())
    other = bench.store.upload(bench.at(20, None), None)
    generation = bench.store.upload(bench.at(50, None), None)
    damage(bench.blobs, generation.state, other.state)
    damage(bench.blobs, generation.segments[0], other.segments[0])
    with pytest.raises(CheckpointCorrupt, match="state-"):
        bench.store.load_state(generation, nothing)
    with pytest.raises(CheckpointCorrupt, match="rows-"):
        list(bench.store.load_rows(generation, nothing))


def test_a_state_of_another_step_is_corrupt_even_with_the_right_hash() -> None:
    bench = Bench(tiny_job())
    other = bench.store.upload(bench.at(20, None), None)
    generation = bench.store.upload(bench.at(50, None), None)
    with pytest.raises(CheckpointCorrupt, match="of step 20, not 50"):
        bench.store.load_state(generation.model_copy(update={"state": other.state}), nothing)


def test_rows_of_another_place_are_corrupt_even_with_the_right_hash() -> None:
    bench = Bench(tiny_job())
    generation = bench.store.upload(bench.at(50, None), None)
    moved = generation.segments[0].model_copy(update={"first_row": 1})
    with pytest.raises(CheckpointCorrupt, match="other rows"):
        list(bench.store.load_rows(generation.model_copy(update={"segments": (moved,)}), nothing))


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_the_later_claims_collection_once_the_job_is_anothers(damage: Damage) -> None:
    bench = Bench(tiny_job())
    other = bench.store.upload(bench.at(20, None), None)
    generation = bench.store.upload(bench.at(50, None), None)
    damage(bench.blobs, generation.state, other.state)
    found = fence.read_manifest(bench.blobs, bench.job.sweep, bench.job.id)
    assert found is not None
    fence.create(bench.blobs, RealRuntime(), claim(bench.job, found.manifest, nonce=OTHER_NONCE), found)
    with pytest.raises(OwnershipLost):
        bench.store.load_state(generation, nothing)


class Bomb:
    """Pickled, this touches a file when it is read."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self._trace,)


def test_a_pickle_in_place_of_a_blob_is_never_executed(tmp_path: Path) -> None:
    bench, trace = Bench(tiny_job()), tmp_path / "executed"
    generation = bench.store.upload(bench.at(50, None), None)
    body = pickle.dumps(Bomb(trace))
    named = {"length": len(body), "sha256": sha256_hex(body)}
    for blob in (generation.state, *generation.segments):
        bench.blobs.put(names.CHECKPOINTS, blob.name, body)
    bad = generation.model_copy(
        update={
            "state": generation.state.model_copy(update=named),
            "segments": tuple(segment.model_copy(update=named) for segment in generation.segments),
        }
    )
    with pytest.raises(CheckpointCorrupt, match="not safetensors"):
        bench.store.load_state(bad, nothing)
    with pytest.raises(CheckpointCorrupt, match="not safetensors"):
        list(bench.store.load_rows(bad, nothing))
    assert not trace.exists()
    pickle.loads(body)
    assert trace.exists()  # so it would have shown


# ---- falling back --------------------------------------------------------------------------------------------------


def interrupted(world: World, job: Job) -> Manifest:
    """Leave a job behind with two generations, at steps 40 and 30."""
    bench = Bench(job)
    bench.blobs = world.blobs
    found = fence.create(world.blobs, RealRuntime(), claim(job), None)
    store = CheckpointStore(world.blobs, found)
    base: Generation | None = None
    for step in (30, 40):
        new = store.upload(bench.at(step, None), None)
        previous, base = base, new

        def commit(manifest: Manifest, new: Generation = new, previous: Generation | None = previous) -> Manifest:
            return decisions.committed(manifest, new, previous, {"cpu": "tiny"})

        found.write(commit)
    return found.write(lambda manifest: decisions.given_back(manifest, "evicted"))[1]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["state", "rows"])
@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_job_goes_on_from_the_newest_whole_generation_or_says_that_there_is_none(
    damage: Damage, part: str, all_of_them: bool
) -> None:
    world, job = World(), tiny_job(timesteps=60)
    world.enqueue(job)
    new, old = interrupted(world, job).generations
    pairs = [(new, old), (old, new)] if all_of_them else [(new, old)]
    whole = {blob: body_of(world.blobs, blob) for one in (new, old) for blob in (one.state, one.segments[0])}
    for one, other in pairs:
        mine, theirs = (one.state, other.state) if part == "state" else (one.segments[0], other.segments[0])
        damage(world.blobs, mine, theirs)
        if damage is swap and all_of_them and one is old:
            world.blobs.put(names.CHECKPOINTS, mine.name, whole[theirs])
    events: list[str] = []

    def record(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        events.append(str(event["event"]))
        raise structlog.DropEvent

    slow = QUICK.model_copy(update={"commit_s": 1000.0})
    paced: list[int] = []
    slot = world.slot(trainers=tiny_trainers(lambda: paced.append(1)), durations=slow)
    object.__setattr__(slot, "log", structlog.wrap_logger(None, processors=[record]))
    run_until_idle(slot)
    episodes = job.configuration.evaluation.final_episodes
    assert len(paced) == 60 - (0 if all_of_them else 30) + episodes
    assert events.count("checkpoint.corrupt") == len(pairs)
    assert ("checkpoint.lost" in events) == all_of_them
    manifest = world.manifest(job)
    assert manifest.status == "done"
    assert manifest.outcome.result is not None
    found = world.blobs.get(names.SWEEPS, manifest.outcome.result.name)
    assert found is not None
    assert Result.model_validate_json(found.body).state_digest == straight_digest(job)
