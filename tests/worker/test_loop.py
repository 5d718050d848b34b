"""What a slot does with messages, end to end over storage in memory."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.slot import QUICK, World, run_until_idle
from tests.fakes.storage import MemoryBlobs
from tests.fakes.trainer import TinyRun, straight_digest, tiny_job, tiny_trainers
from worker.contract import names
from worker.contract.control import Hold, write_hold
from worker.contract.errors import BadConfiguration, Diverged, StorageUnavailable
from worker.contract.job import Job
from worker.contract.records import Stored
from worker.contract.result import Result
from worker.decisions import FAILURES_UNTIL_POISON
from worker.exit_status import LEAVES, STOPPED
from worker.loop import Loop
from worker.slot import Trainers
from worker.stop import Reason
from worker.training_run import Boundary, FinishedRun, TrainingRun


def result_of(world: World, job: Job) -> Result:
    reference = world.manifest(job).outcome.result
    assert reference is not None
    found = world.blobs.get(names.SWEEPS, reference.name)
    assert found is not None
    return Result.model_validate_json(found.body)


def test_a_job_is_trained_published_and_its_message_deleted() -> None:
    world, job = World(), tiny_job(timesteps=250)
    world.enqueue(job)
    assert run_until_idle(world.slot()) == STOPPED
    manifest = world.manifest(job)
    assert (manifest.status, manifest.step, manifest.attempt_count) == ("done", 250, 1)
    assert world.jobs.count() == 0
    assert result_of(world, job).state_digest == straight_digest(job)


def test_a_done_job_leaves_no_checkpoint_behind() -> None:
    world, job = World(), tiny_job(timesteps=250)
    world.enqueue(job)
    run_until_idle(world.slot())
    assert world.checkpoint_names(job) == set()


@pytest.mark.parametrize("reason", ["evicted", "stopped", "drained"])
@pytest.mark.parametrize("at", [0, 1, 99, 100, 101, 249, 250])
def test_a_stopped_job_goes_on_exactly_where_it_was(reason: Reason, at: int) -> None:
    world, job = World(), tiny_job(timesteps=250)
    world.enqueue(job)
    first = world.slot("vm1")
    steps = iter(range(10_000))

    def pace() -> None:
        if next(steps) == at:
            first.stop.ask(reason)

    interrupted = world.slot("vm1", trainers=tiny_trainers(pace))
    object.__setattr__(interrupted, "stop", first.stop)
    status = run_until_idle(interrupted, until=lambda: False)
    assert status == (STOPPED if reason == "stopped" else LEAVES)
    given_back = world.manifest(job)
    assert given_back.status == "released"
    assert given_back.lost_steps == 0
    assert given_back.eviction_count == (1 if reason == "evicted" else 0)
    run_until_idle(world.slot("vm2"))
    assert result_of(world, job).state_digest == straight_digest(job)
    assert world.manifest(job).attempt_count == 2


class Failing(TinyRun):
    """Raises after some steps."""

    error: Exception = RuntimeError("a bug in training")

    def train(self, boundary: Boundary, beat: object) -> FinishedRun:
        def failing(run: TrainingRun) -> None:
            boundary(run)
            if run.step >= 5:
                raise self.error

        return super().train(failing, lambda: None)


def failing_trainers(error: Exception) -> Trainers:
    class WithError(Failing):
        pass

    WithError.error = error
    return Trainers(build=lambda job: WithError(job, lambda: None), fingerprint={"cpu": "tiny"})


def test_a_job_that_always_raises_without_progress_is_poisoned_after_three_failures() -> None:
    world, job = World(), tiny_job()
    world.enqueue(job)
    slow_to_commit = world.slot().durations.model_copy(update={"commit_s": 1000.0})
    slot = world.slot(trainers=failing_trainers(RuntimeError("a bug")), durations=slow_to_commit)

    def poisoned() -> bool:
        world.clock.now_s += 1.0
        return world.jobs.count() == 0

    run_until_idle(slot, until=poisoned)
    manifest = world.manifest(job)
    assert manifest.status == "poisoned"
    assert manifest.attempt_count == FAILURES_UNTIL_POISON
    assert "a bug" in manifest.outcome.reason
    record = world.poison.receive(30)
    assert record is not None
    assert json.loads(record.text)["text"] == job.encode()


def test_a_job_whose_exception_says_a_book_is_poisoned_all_the_same() -> None:
    world, job = World(), tiny_job()
    world.enqueue(job)
    slow_to_commit = world.slot().durations.model_copy(update={"commit_s": 1000.0})
    book = "é" * 100_000
    slot = world.slot(trainers=failing_trainers(RuntimeError(book)), durations=slow_to_commit)

    def poisoned() -> bool:
        world.clock.now_s += 1.0
        return world.jobs.count() == 0

    run_until_idle(slot, until=poisoned)
    assert book in world.manifest(job).outcome.reason
    record = world.poison.receive(30)
    assert record is not None
    content = json.loads(record.text)
    assert (content["text"], content["reason"][-3:]) == (job.encode(), "é …")


@pytest.mark.parametrize("error", [Diverged("The loss is NaN."), BadConfiguration("No such environment.")])
def test_what_can_never_succeed_fails_at_once(error: Exception) -> None:
    world, job = World(), tiny_job()
    world.enqueue(job)
    run_until_idle(world.slot(trainers=failing_trainers(error)))
    manifest = world.manifest(job)
    assert (manifest.status, manifest.attempt_count) == ("failed", 1)
    assert str(error) in manifest.outcome.reason
    assert world.poison.count() == 0


def test_a_full_disk_never_poisons() -> None:
    world, job = World(), tiny_job()
    world.enqueue(job)
    slot = world.slot(trainers=failing_trainers(OSError(28, "No space left on device")))

    def tried_often() -> bool:
        world.clock.now_s += 1000.0
        return world.attempts(job) >= 6

    run_until_idle(slot, until=tried_often)
    assert world.manifest(job).status == "released"
    run_until_idle(world.slot())
    assert world.manifest(job).status == "done"


def test_a_full_runtime_directory_costs_no_claim(tmp_path: Path) -> None:
    world, job = World(), tiny_job()
    world.enqueue(job)
    run_until_idle(replace(world.slot(), runtime_directory=tmp_path / "that cannot be written"))
    assert (world.manifest(job).status, world.attempts(job)) == ("done", 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not JSON",
        "[]",
        "{}",
        '{"schema_version": 1}',
        "[" * 15_000,
        "x" * 60_000,
        "é" * 15_000,
        "\U0001f680" * 15_000,
        "<" * 15_000,
    ],
    ids=lambda text: f"{len(text)}-{text[:3]}",
)
def test_what_is_no_job_goes_to_the_poison_queue_after_one_delivery(text: str) -> None:
    world, job = World(), tiny_job()
    world.jobs.send(text)
    world.enqueue(job)
    run_until_idle(world.slot())
    assert world.manifest(job).status == "done"
    record = world.poison.receive(30)
    assert record is not None
    content = json.loads(record.text)
    assert content["reason"]
    if "blob" in content:
        kept = world.blobs.get(names.CONTROL, content["blob"].removeprefix(f"{names.CONTROL}/"))
        assert kept is not None
        assert kept.body.decode() == text
    else:
        assert content["text"] == text


def test_a_message_of_a_newer_schema_is_hidden_and_the_vm_drains() -> None:
    world = World()
    world.jobs.send('{"schema_version": 2}')
    slot = world.slot("old")
    assert run_until_idle(slot, until=lambda: False) == LEAVES
    assert world.jobs.count() == 1
    assert world.slot().control.flags("old").drain


def test_a_drained_slot_gives_its_message_back_and_receives_no_more() -> None:
    world, job = World(), tiny_job()
    world.enqueue(job)
    slot = world.slot("vm1")
    slot.control.raise_flag("drain", "vm1", "test")
    assert run_until_idle(slot, until=lambda: False) == LEAVES
    assert slot.signs.report().answers == "drain"
    message = world.jobs.receive(30)
    assert message is not None
    assert message.text == job.encode()
    assert world.blobs.get(names.SWEEPS, names.manifest(job.sweep, job.id)) is None


def test_a_retiring_slot_works_on_when_the_flag_is_gone() -> None:
    world, job = World(), tiny_job()
    slot = world.slot("vm1")
    slot.control.raise_flag("retire", "vm1", "test")
    world.enqueue(job)

    def answered_then_wanted_again() -> bool:
        if slot.signs.report().answers == "retire":
            slot.control.lower_flag("retire", "vm1")
        return world.jobs.count() == 0

    run_until_idle(slot, until=answered_then_wanted_again)
    assert world.manifest(job).status == "done"


def test_a_second_message_of_a_finished_job_is_deleted() -> None:
    world, job = World(), tiny_job()
    world.enqueue(job)
    world.jobs.send(job.encode())
    run_until_idle(world.slot())
    assert world.manifest(job).attempt_count == 1
    assert world.jobs.count() == 0


def test_a_message_that_no_plan_names_is_deleted() -> None:
    world, job = World(), tiny_job()
    world.jobs.send(job.encode())
    run_until_idle(world.slot())
    assert world.jobs.count() == 0
    assert world.blobs.get(names.SWEEPS, names.manifest(job.sweep, job.id)) is None


@pytest.mark.parametrize("kind", ["cancelled", "paused", "budget"])
def test_a_running_job_that_sees_a_hold_commits_and_stops(kind: str) -> None:
    world, job = World(), tiny_job(timesteps=5000)
    world.enqueue(job)
    steps: list[int] = []
    found = threading.Event()

    class Watched(MemoryBlobs):
        """The world's blobs; tells when the hold was found."""

        def __init__(self) -> None:
            self.__dict__ = world.blobs.__dict__

        def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
            stored = super().get(container, name, beat)
            if name == names.hold(job.sweep) and stored is not None:
                found.set()
            return stored

    def pace() -> None:
        steps.append(1)
        if len(steps) == 50:
            write_hold(world.blobs, job.sweep, Hold.model_validate({"kind": kind, "reason": "because"}))
        if len(steps) >= 50:
            found.wait(0.01)  # the trainer does not outrun the commit that looks at the hold

    run_until_idle(replace(world.slot(), blobs=Watched(), trainers=tiny_trainers(pace)))
    manifest = world.manifest(job)
    assert manifest.status == ("cancelled" if kind == "cancelled" else "released")
    assert manifest.lost_steps == 0
    assert world.jobs.count() == 0


def test_a_killed_claim_is_continued_from_its_last_commit_and_counted_as_an_eviction() -> None:
    world, job = World(), tiny_job(timesteps=250)
    world.enqueue(job)

    class KilledError(BaseException):
        pass

    steps = iter(range(10_000))

    def pace() -> None:
        if next(steps) == 180:
            raise KilledError

    with pytest.raises(KilledError):
        run_until_idle(world.slot("vm1", trainers=tiny_trainers(pace)), until=lambda: False)
    assert world.manifest(job).status == "running"
    world.clock.now_s += 121
    run_until_idle(world.slot("vm2"))
    manifest = world.manifest(job)
    assert (manifest.status, manifest.eviction_count, manifest.attempts[0].ended) == ("done", 1, "vanished")
    assert result_of(world, job).state_digest == straight_digest(job)


def test_messages_are_hidden_longer_the_longer_their_manifests_cannot_be_read() -> None:
    world, job = World(), tiny_job()
    for _ in range(3):
        world.jobs.send(job.encode())
    slot = world.slot(durations=QUICK.model_copy(update={"retry_base_s": 1000.0, "retry_max_s": 10_000.0}))
    refused = iter([False, False, True])

    class WithoutSweeps(MemoryBlobs):
        """The world's blobs, but for what the sweeps hold."""

        def __init__(self) -> None:
            self.__dict__ = world.blobs.__dict__

        def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
            if container == names.SWEEPS:
                if next(refused):
                    slot.stop.ask("stopped")
                raise StorageUnavailable("An outage.")
            return super().get(container, name, beat)

    Loop(replace(slot, blobs=WithoutSweeps())).run()
    came_back = []
    for _ in range(5):
        world.clock.now_s += 1000.0
        came_back.append(world.jobs.receive(100_000.0) is not None)
    assert came_back == [True, True, False, True, False]
