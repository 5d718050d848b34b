"""Stop requests: the first reason decides, and a job's is not its slot's."""

from tests.fakes.hand_runtime import HandRuntime
from worker.stop import StopRequest


def test_the_first_reason_and_its_time_stand() -> None:
    runtime = HandRuntime()
    stop = StopRequest(runtime)
    assert (stop.reason, stop.since_s()) == (None, 0.0)
    stop.ask("evicted")
    runtime.now_s += 5
    stop.ask("stopped")
    assert (stop.reason, stop.since_s()) == ("evicted", 5.0)
    assert stop.event.is_set()


def test_a_jobs_request_does_not_reach_its_slot() -> None:
    slot = StopRequest(HandRuntime())
    StopRequest(HandRuntime(), slot).ask("lost")
    assert slot.reason is None
    assert not slot.event.is_set()


def test_a_slots_request_reaches_its_job_with_its_time() -> None:
    runtime = HandRuntime()
    slot = StopRequest(runtime)
    job = StopRequest(runtime, slot)
    slot.ask("drained")
    runtime.now_s += 3
    assert (job.reason, job.since_s()) == ("drained", 3.0)


def test_a_reason_of_the_jobs_own_goes_before_its_slots() -> None:
    runtime = HandRuntime()
    slot = StopRequest(runtime)
    job = StopRequest(runtime, slot)
    slot.ask("evicted")
    runtime.now_s += 3
    job.ask("lost")
    assert (job.reason, job.since_s()) == ("lost", 0.0)
