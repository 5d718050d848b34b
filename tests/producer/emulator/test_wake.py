"""Rule 12 and the wake's part of rule 13, on the very definition that is deployed: when it raises, and when not."""

import json
from datetime import timedelta
from typing import Any

import pytest

from producer.emulator.expressions import UnsupportedWorkflow
from producer.emulator.wake import HttpAnswer, HttpCall, Wake
from tests.fakes.wake_cloud import (
    ADDRESSES,
    BUSY,
    FORBIDDEN,
    JSON,
    PRECONDITION,
    QUOTA,
    THROTTLED,
    Answer,
    Cloud,
    deployed_wake,
    evict_and_run,
    remembered,
)


@pytest.fixture(scope="module")
def wake() -> Wake:
    """The wake of the first deployment."""
    loaded = deployed_wake()
    assert loaded is not None
    return loaded


# ---- Raising ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("capacity", "count", "raised_to"),
    [(0, 1, 1), (0, 8, 1), (0, 9, 2), (2, 17, 3), (0, 80, 10), (0, 10_000, 10), (9, 81, 10)],
)
def test_it_raises_to_what_the_queue_needs_and_no_higher_than_the_maximum(
    wake: Wake, capacity: int, count: int, raised_to: int
) -> None:
    cloud = Cloud(capacity=capacity, count=count)
    assert wake.run(cloud).status == "Succeeded"
    assert cloud.capacity == raised_to
    assert cloud.patches() == [raised_to]


@pytest.mark.parametrize(("capacity", "count"), [(1, 8), (3, 8), (10, 10_000), (12, 10_000), (2, 0)])
def test_it_never_lowers_a_living_set(wake: Wake, capacity: int, count: int) -> None:
    cloud = Cloud(capacity=capacity, count=count)
    cloud.age("pulse", 50)
    assert wake.run(cloud).status == "Succeeded"
    assert cloud.patches() == []


def test_an_idle_fleet_is_asked_two_questions_and_paid_for_no_more(wake: Wake) -> None:
    cloud = Cloud()
    run = wake.run(cloud)
    assert run.status == "Succeeded"
    assert cloud.did() == ["GET set", "GET jobs"]
    assert len(run.actions) == 4  # with the trigger five paid executions, 144 times a day


def test_the_set_is_read_before_the_count_and_the_pulse_written_before_the_raise(wake: Wake) -> None:
    cloud = Cloud(count=3)
    wake.run(cloud)
    assert cloud.did() == [
        *("GET set", "GET jobs", "GET commit", "GET wake"),
        *("PUT pulse", "PATCH set", "PUT wake"),
    ]


def test_every_request_carries_the_right_audience_and_the_patch_the_etag_that_was_read(wake: Wake) -> None:
    cloud = Cloud(count=3)
    first_etag = cloud.etag
    wake.run(cloud)
    for call in cloud.calls:
        to_arm = cloud.name(call) == "set"
        assert call.audience == ("https://management.azure.com/" if to_arm else "https://storage.azure.com/")
    (patch,) = [call for call in cloud.calls if call.method == "PATCH"]
    assert patch.headers["If-Match"] == first_etag
    assert json.loads(patch.body or b"") == {"sku": {"capacity": 1}}
    assert patch.uri.startswith("https://management.azure.com/subscriptions/")
    (pulse,) = [call for call in cloud.calls if cloud.did()[cloud.calls.index(call)] == "PUT pulse"]
    assert pulse.headers["x-ms-blob-type"] == "BlockBlob"
    assert pulse.uri.endswith(".blob.core.windows.net/control/pulse")


@pytest.mark.parametrize("refusal", [QUOTA, ADDRESSES])
def test_where_quota_refuses_it_raises_by_one(wake: Wake, refusal: HttpAnswer) -> None:
    cloud = Cloud(capacity=2, count=80)
    cloud.age("pulse", 50)
    cloud.answers["PATCH set"] = [refusal]
    run = wake.run(cloud)
    assert run.status == "Succeeded"
    assert cloud.patches() == [10, 3]
    assert cloud.capacity == 3
    assert remembered(cloud)[0] == 1


def test_one_less_than_two_is_still_worth_a_try(wake: Wake) -> None:
    cloud = Cloud(capacity=2, count=32)
    cloud.age("pulse", 50)
    cloud.answers["PATCH set"] = [QUOTA]
    wake.run(cloud)
    assert cloud.patches() == [4, 3]


def test_an_allocation_that_failed_after_the_last_raise_makes_it_raise_by_one(wake: Wake) -> None:
    cloud = Cloud(capacity=2, count=80)
    cloud.age("pulse", 50)
    cloud.provisioning_state = "Failed"
    wake.run(cloud)
    assert cloud.patches() == [3]


def test_a_raise_that_is_refused_altogether_fails_the_run_and_is_not_remembered(wake: Wake) -> None:
    cloud = Cloud(capacity=2, count=80)
    cloud.age("pulse", 50)
    cloud.answers["PATCH set"] = [QUOTA, QUOTA]
    run = wake.run(cloud)
    assert (run.status, run.code) == ("Failed", "NotRaised")
    assert cloud.patches() == [10, 3]
    assert "wake" not in cloud.blobs


@pytest.mark.parametrize("refusal", [PRECONDITION, THROTTLED, FORBIDDEN, HttpAnswer(500), HttpAnswer(404)])
def test_any_other_refusal_waits_for_the_next_run(wake: Wake, refusal: HttpAnswer) -> None:
    cloud = Cloud(capacity=2, count=80)
    cloud.age("pulse", 50)
    cloud.answers["PATCH set"] = [refusal]
    run = wake.run(cloud)
    assert (run.status, run.code) == ("Failed", "NotRaised")
    assert cloud.patches() == [10]
    assert "wake" not in cloud.blobs


def test_a_raise_by_one_that_was_refused_is_not_tried_as_the_same_raise_again(wake: Wake) -> None:
    cloud = Cloud(capacity=0, count=1)
    cloud.answers["PATCH set"] = [QUOTA]
    assert wake.run(cloud).code == "NotRaised"
    assert cloud.patches() == [1]


def test_a_raise_without_an_answer_counts_as_one_because_it_may_have_happened(wake: Wake) -> None:
    cloud = Cloud(count=3)
    cloud.answers["PATCH set"] = [TimeoutError("no answer in 120 s")]
    wake.run(cloud)
    assert cloud.patches() == [1]
    assert remembered(cloud)[0] == 1


def test_a_set_that_changed_in_between_is_left_alone(wake: Wake) -> None:
    cloud = Cloud(capacity=1, count=80)
    cloud.age("pulse", 50)

    def somebody_scales(call: HttpCall) -> HttpAnswer:
        cloud.version += 1
        return cloud.respond(call)

    cloud.answers["PUT pulse"] = [somebody_scales]
    assert wake.run(cloud).status == "Failed"
    assert cloud.capacity == 1


def test_what_was_read_more_than_thirty_seconds_ago_raises_nothing(wake: Wake) -> None:
    cloud = Cloud(count=80)
    cloud.delays["GET commit"] = 31
    assert wake.run(cloud).status == "Failed"
    assert cloud.capacity == 0


def test_nothing_is_raised_when_the_pulse_cannot_be_written(wake: Wake) -> None:
    cloud = Cloud(count=80)
    cloud.answers["PUT pulse"] = [FORBIDDEN]
    assert wake.run(cloud).code == "NotRaised"
    assert cloud.patches() == []


# ---- Failed reads ----------------------------------------------------------------------------------------------------

NO_COUNT = HttpAnswer(200, {"Date": "Sun, 22 Nov 2026 08:00:00 GMT"})
NO_CAPACITY = HttpAnswer(200, JSON, b'{"etag": "\\"7\\"", "sku": {"name": "Mix"}}')
NO_ETAG = HttpAnswer(200, JSON, b'{"sku": {"name": "Mix", "capacity": 0}}')
NOT_JSON = HttpAnswer(200, {"Content-Type": "text/html"}, b"<html>maintenance</html>")


@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("GET jobs", NO_COUNT),
        ("GET jobs", FORBIDDEN),
        ("GET jobs", BUSY),
        ("GET jobs", TimeoutError("no answer")),
        ("GET jobs", HttpAnswer(200, {"x-ms-approximate-messages-count": "many"})),
        ("GET set", NO_CAPACITY),
        ("GET set", NO_ETAG),
        ("GET set", NOT_JSON),
        ("GET set", FORBIDDEN),
        ("GET set", ConnectionResetError("reset")),
        ("GET commit", FORBIDDEN),
        ("GET commit", BUSY),
        ("GET commit", TimeoutError("no answer")),
        ("GET wake", FORBIDDEN),
        ("GET wake", OSError("no route")),
    ],
)
def test_a_failed_read_fails_the_run_and_changes_nothing(wake: Wake, what: str, answer: Answer) -> None:
    cloud = Cloud(count=80)
    cloud.answers[what] = [answer]
    run = wake.run(cloud)
    assert run.status == "Failed"
    assert run.message
    assert cloud.patches() == []


@pytest.mark.parametrize("count_answer", [NO_COUNT, FORBIDDEN, BUSY])
def test_a_failed_count_does_not_clear_a_silent_set(wake: Wake, count_answer: HttpAnswer) -> None:
    cloud = Cloud(capacity=5)
    cloud.age("pulse", 7200)
    cloud.answers["GET jobs"] = [count_answer]
    wake.run(cloud)
    assert cloud.capacity == 5


# ---- Rule 13 ---------------------------------------------------------------------------------------------------------


def test_after_three_raises_without_a_commit_it_raises_once_in_six_hours_and_says_so(wake: Wake) -> None:
    cloud = Cloud(count=80)
    for raises in (1, 2, 3):
        assert evict_and_run(wake, cloud).status == "Succeeded"
        assert remembered(cloud) == (raises, "none")
    fourth = evict_and_run(wake, cloud)
    assert (fourth.status, fourth.code) == ("Failed", "FruitlessRaises")
    assert "3 raises without a commit" in fourth.message
    assert cloud.patches() == []
    assert evict_and_run(wake, cloud, after_s=5 * 3600).code == "FruitlessRaises"
    assert cloud.patches() == []
    assert evict_and_run(wake, cloud, after_s=3600).status == "Succeeded"
    assert remembered(cloud)[0] == 4
    assert evict_and_run(wake, cloud).code == "FruitlessRaises"


def test_the_memory_tells_a_person_when_the_next_raise_comes(wake: Wake) -> None:
    cloud = Cloud(count=80)
    said = []
    for raises in (1, 2, 3):
        evict_and_run(wake, cloud)
        memory = json.loads(cloud.calls[-1].body or b"")
        assert (memory["raises"], memory["commit"]) == (raises, "none")
        said.append(memory["says"])
    assert said[0] == said[1] == "raised"
    assert "3 times without a commit in between: the next raise comes 21600 s after this one" in said[2]


def test_a_commit_makes_it_raise_at_once_again(wake: Wake) -> None:
    cloud = Cloud(count=80)
    for _ in range(4):
        last = evict_and_run(wake, cloud)
    assert last.code == "FruitlessRaises"
    cloud.write("commit")
    assert evict_and_run(wake, cloud).status == "Succeeded"
    assert remembered(cloud) == (1, cloud.blobs["commit"].etag)


def test_commits_in_between_keep_it_raising_for_ever(wake: Wake) -> None:
    cloud = Cloud(count=80)
    for _ in range(6):
        cloud.write("commit")
        assert evict_and_run(wake, cloud).status == "Succeeded"
        assert remembered(cloud)[0] == 1


def test_a_fruitless_fleet_that_fell_silent_is_still_cleared(wake: Wake) -> None:
    cloud = Cloud(count=80)
    for _ in range(3):
        evict_and_run(wake, cloud)
    cloud.capacity = 2
    cloud.time += timedelta(hours=1)
    assert wake.run(cloud).code == "FruitlessRaises"
    assert cloud.capacity == 0


# ---- The same definition, elsewhere and faster -----------------------------------------------------------------------


def test_every_time_and_address_is_a_parameter(wake: Wake) -> None:
    here = wake.with_parameters(
        scaleSetUri="https://127.0.0.1:1/subscriptions/s/virtualMachineScaleSets/set?api-version=2025-04-01",
        countUri="https://127.0.0.1:2/devstore/jobs?comp=metadata",
        controlUri="https://127.0.0.1:3/devstore/control",
        maxInstances=2,
        slotsPerInstance=1,
        freshness_s=3,
        pulseAge_s=180,
        clearDelay_s=60,
        fruitlessRaises=1,
        rest_s=2160,
    )
    cloud = Cloud(capacity=1)
    cloud.age("pulse", 180)
    here.run(cloud)
    assert (cloud.capacity, cloud.waited) == (0, [60])
    assert all(call.uri.startswith("https://127.0.0.1:") for call in cloud.calls)
    cloud.count = 9
    evict_and_run(here, cloud)
    assert cloud.capacity == 2
    assert evict_and_run(here, cloud).code == "FruitlessRaises"


def test_a_parameter_that_the_definition_does_not_have_is_refused(wake: Wake) -> None:
    with pytest.raises(UnsupportedWorkflow, match="pulse_age"):
        wake.with_parameters(pulse_age=1)


def test_it_runs_every_ten_minutes_one_run_at_a_time(wake: Wake) -> None:
    assert wake.interval_s == 600
    assert wake.definition["triggers"]["tick"]["runtimeConfiguration"] == {"concurrency": {"runs": 1}}


def test_a_deployment_without_a_wake_has_none() -> None:
    assert deployed_wake("no-wake") is None


def test_a_definition_beyond_the_emulator_is_refused_and_not_guessed_at(wake: Wake) -> None:
    request: dict[str, Any] = {"method": "GET", "uri": "u", "headers": {}, "authentication": {"audience": ""}}
    beyond: list[dict[str, Any]] = [
        {"type": "Foreach", "inputs": {}},
        {"type": "Compose", "inputs": "@guid()"},
        {"type": "Compose", "inputs": "@add(1, 2"},
        {"type": "Compose", "inputs": "@utcNow('yyyy')"},
        {"type": "Compose", "inputs": "@parseDateTime('x', 'de-DE', 'r')"},
        {"type": "Compose", "inputs": {}, "limit": {}},
        {"type": "If", "expression": {"startsWith": ["a", "b"]}, "actions": {}},
        {"type": "Http", "inputs": {**request, "retryPolicy": {"type": "exponential"}}},
        {"type": "Compose", "inputs": "", "runAfter": {"action": ["Succeeded"]}},
    ]
    for action in beyond:
        with pytest.raises(UnsupportedWorkflow):
            Wake({"actions": {"action": action}}, wake.parameters, 600).run(Cloud())
