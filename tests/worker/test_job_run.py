"""Claims about the order of things at the end of a job."""

import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.fakes.slot import QUICK, World, listening, run_until_idle
from tests.fakes.trainer import tiny_job, tiny_trainers
from worker.contract.job import Job
from worker.contract.log import MEASURED
from worker.contract.queue import Receipt
from worker.contract.runtime import RealRuntime, Task
from worker.contract.through import QueueThrough
from worker.stop import StopRequest

WAIT_S = 60.0


@dataclass
class Renewal:
    """One renewal that takes until somebody waits for the heartbeat's end, or uses the receipt meanwhile."""

    began: threading.Event = field(default_factory=threading.Event)
    may_end: threading.Event = field(default_factory=threading.Event)
    under_way: bool = False
    disturbed_by: list[str] = field(default_factory=list)

    def take(self) -> None:
        """Stay under way, once."""
        if not self.began.is_set():
            self.under_way = True
            self.began.set()
            assert self.may_end.wait(WAIT_S), "nobody waits for the heartbeat"
            self.under_way = False

    def disturb(self, request: str) -> None:
        """Note that a receipt is used while it is being exchanged."""
        if self.under_way:
            self.disturbed_by.append(request)
            self.may_end.set()


class SlowQueue(QueueThrough):
    """A queue whose first renewal is `renewal`."""

    def __init__(self, world: World, renewal: Renewal) -> None:
        super().__init__(world.jobs, lambda request: request())
        self._renewal = renewal

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        if threading.current_thread().name == "heartbeat":
            self._renewal.take()
        else:
            self._renewal.disturb("give back")
        return super().renew(receipt, visibility_timeout_s)

    def delete(self, receipt: Receipt) -> None:
        self._renewal.disturb("delete")
        super().delete(receipt)


@dataclass
class Joined:
    """A task that lets the renewal end when it is joined."""

    task: Task
    renewal: Renewal

    def join(self) -> None:
        self.renewal.may_end.set()
        self.task.join()


class Runtime(RealRuntime):
    """The real one, which tells when the heartbeat is joined."""

    def __init__(self, renewal: Renewal) -> None:
        self._renewal = renewal

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        task = super().spawn(name, work)
        return Joined(task, self._renewal) if name == "heartbeat" else task


def test_the_heartbeat_has_ended_before_the_message_is_touched() -> None:
    world, job, renewal = World(), tiny_job(timesteps=250), Renewal()
    world.enqueue(job)

    def pace() -> None:
        assert renewal.began.wait(WAIT_S), "the lease is never renewed"

    durations = QUICK.model_copy(update={"lease_renewal_s": 0.01})
    slot = world.slot(trainers=tiny_trainers(pace), jobs=SlowQueue(world, renewal), durations=durations)
    run_until_idle(replace(slot, runtime=Runtime(renewal)))
    assert renewal.began.is_set()
    assert renewal.disturbed_by == []
    assert (world.manifest(job).status, world.jobs.count()) == ("done", 0)


def test_the_first_training_step_of_a_slot_is_told_and_no_later_one() -> None:
    world, job = World(), tiny_job(timesteps=250)
    world.enqueue(job)
    slot = world.slot()
    run_until_idle(slot)
    first = slot.signs.report().first_step_seconds
    assert first > 0.0
    world.enqueue(tiny_job(timesteps=260))
    run_until_idle(replace(slot, stop=StopRequest(slot.runtime)))
    assert slot.signs.report().first_step_seconds == first


def ended(job: Job, **slot: Any) -> list[MutableMapping[str, Any]]:
    """Run a job until its first claim has ended; return what its log says of measurements and of that end."""
    world, (logger, said) = World(), listening()
    world.enqueue(job)

    def ends() -> list[MutableMapping[str, Any]]:
        return [event for event in said if event["event"] == "job.ended"]

    run_until_idle(replace(world.slot(**slot), log=logger), until=lambda: bool(ends()))
    first = ends()[0]
    return [*(event for event in said[: said.index(first)] if event["event"] == MEASURED), first]


def test_the_log_ends_with_what_was_measured_behind_the_last_commit_and_the_score() -> None:
    *measured, end = ended(tiny_job(timesteps=250))
    assert measured[-1]["step"] == 200
    assert (end["log_level"], end["status"], end["step"]) == ("info", "done", 250)
    assert isinstance(end["mean_return"], float)


def test_the_log_of_a_job_that_failed_ends_with_a_warning_and_the_reason() -> None:
    def mistake() -> None:
        raise ValueError("a mistake of the environment")

    *_, end = ended(tiny_job(timesteps=250), trainers=tiny_trainers(mistake))
    assert (end["log_level"], end["how"], end["reason"]) == (
        "warning",
        "failed",
        "ValueError: a mistake of the environment",
    )
