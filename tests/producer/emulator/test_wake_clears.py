"""Rule 12 on the very definition that is deployed: when the wake clears a set, and what keeps it from that."""

from datetime import timedelta

import pytest

from producer.emulator.wake import HttpAnswer, HttpCall, Wake
from tests.fakes.wake_cloud import BUSY, FORBIDDEN, NO_BLOB, THROTTLED, Answer, Cloud, deployed_wake


@pytest.fixture(scope="module")
def wake() -> Wake:
    """The wake of the first deployment."""
    loaded = deployed_wake()
    assert loaded is not None
    return loaded


# ---- Clearing --------------------------------------------------------------------------------------------------------


def silent_cloud() -> Cloud:
    cloud = Cloud(capacity=5)
    cloud.age("pulse", 1800)
    return cloud


def test_a_set_without_a_pulse_for_thirty_minutes_and_ten_more_is_cleared(wake: Wake) -> None:
    cloud = silent_cloud()
    assert wake.run(cloud).status == "Succeeded"
    assert cloud.capacity == 0
    assert cloud.waited == [600]
    assert cloud.did() == ["GET set", "GET jobs", "GET pulse", "GET pulse", "PATCH set"]


def test_a_pulse_of_a_little_less_than_thirty_minutes_is_alive(wake: Wake) -> None:
    cloud = Cloud(capacity=5)
    cloud.age("pulse", 1790)
    assert wake.run(cloud).status == "Succeeded"
    assert (cloud.capacity, cloud.waited) == (5, [])


def test_a_pulse_written_during_the_delay_saves_the_set(wake: Wake) -> None:
    cloud = silent_cloud()
    cloud.while_waiting = lambda: cloud.write("pulse")
    assert wake.run(cloud).status == "Succeeded"
    assert cloud.patches() == []


@pytest.mark.parametrize("answer", [NO_BLOB, FORBIDDEN, BUSY, TimeoutError("no answer"), HttpAnswer(200)])
def test_a_pulse_that_cannot_be_read_is_not_an_old_one(wake: Wake, answer: Answer) -> None:
    for answers in ([answer], [None, answer]):
        cloud = silent_cloud()
        cloud.answers["GET pulse"] = list(answers)
        assert wake.run(cloud).status == "Failed"
        assert cloud.patches() == []


def test_a_set_that_changed_during_the_delay_is_not_cleared(wake: Wake) -> None:
    cloud = silent_cloud()

    def an_eviction() -> None:
        cloud.capacity -= 1
        cloud.version += 1

    cloud.while_waiting = an_eviction
    assert wake.run(cloud).status == "Failed"
    assert cloud.capacity == 4
    assert cloud.did().count("PATCH set") == 1


def test_a_clearing_that_the_engine_held_up_is_refused(wake: Wake) -> None:
    cloud = silent_cloud()
    reads = iter([cloud.respond, cloud.respond])

    def held_up(call: HttpCall) -> HttpAnswer:
        answer = next(reads)(call)
        cloud.time += timedelta(seconds=0 if not cloud.waited else 31)
        return answer

    cloud.answers["GET pulse"] = [held_up, held_up]
    assert wake.run(cloud).status == "Failed"
    assert cloud.capacity == 5


def test_a_refused_clearing_is_not_retried(wake: Wake) -> None:
    cloud = silent_cloud()
    cloud.answers["PATCH set"] = [THROTTLED]
    assert wake.run(cloud).status == "Failed"
    assert cloud.did().count("PATCH set") == 1


def test_what_it_has_just_raised_it_does_not_clear(wake: Wake) -> None:
    cloud = silent_cloud()
    cloud.count = 80
    assert wake.run(cloud).status == "Succeeded"
    assert cloud.patches() == [10]
    assert cloud.waited == []


def test_an_empty_set_is_never_cleared(wake: Wake) -> None:
    cloud = Cloud(capacity=0, count=0)
    cloud.age("pulse", 90_000)
    wake.run(cloud)
    assert cloud.patches() == []


def test_a_silent_set_is_cleared_even_where_raising_it_failed(wake: Wake) -> None:
    cloud = silent_cloud()
    cloud.count = 80
    cloud.answers["PUT pulse"] = [BUSY]
    run = wake.run(cloud)
    assert (run.status, run.code) == ("Failed", "NotRaised")
    assert cloud.capacity == 0
