"""What a job is, and what no message can smuggle in."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from worker.contract.base import SCHEMA_VERSION, canonical_json
from worker.contract.environments import ProbeVerdict
from worker.contract.errors import MessageRejected, NewerSchema
from worker.contract.job import (
    MAX_BOUNDARY_SECONDS,
    MAX_JOB_BYTES,
    Configuration,
    EnvironmentSpec,
    Evaluation,
    Hyperparameters,
    Job,
    boundary_seconds,
    decode,
    job_id,
    update_flop,
)

LUNAR = EnvironmentSpec(id="LunarLanderContinuous-v3")


def configuration(**changes: Any) -> Configuration:
    return Configuration.model_validate({"environment": LUNAR, "timesteps": 1000, "trainer": "sb3", **changes})


JOB = Job.of("lunar", configuration(), 3)


def hyperparameters() -> st.SearchStrategy[Hyperparameters]:
    share = st.floats(1e-6, 1.0)
    return st.builds(
        Hyperparameters,
        learning_rate=share | share.map(lambda start: f"lin_{start}"),
        tau=share,
        gamma=share,
        batch_size=st.integers(1, 512),
        train_freq=st.integers(1, 10) | st.tuples(st.integers(1, 3), st.just("episode")),
        ent_coef=share | st.just("auto") | share.map(lambda start: f"auto_{start}"),
        target_entropy=st.floats(-10, 10) | st.just("auto"),
        policy_kwargs=st.fixed_dictionaries(
            {"net_arch": st.lists(st.integers(1, 64), min_size=1, max_size=4).map(tuple)}
        ),
    )


@given(hyperparameters(), st.integers(0, 2**30 - 1))
@settings(max_examples=40, deadline=None)
def test_a_job_comes_back_from_its_message_with_its_id(sac: Hyperparameters, seed: int) -> None:
    job = Job.of("lunar", configuration(hyperparameters=sac), seed)
    assert decode(job.encode()) == job
    assert decode(job.encode()).id == job.id


def test_an_id_is_the_same_in_every_release() -> None:
    """Stored plans, manifests and results are found by these."""
    assert JOB.id == "6d345c3f076f6ac3"
    assert JOB.configuration.set_id == "76eb6f24882c"


def test_fields_at_their_default_are_no_part_of_an_id() -> None:
    spelled_out = configuration(
        hyperparameters=Hyperparameters(tau=0.005, batch_size=256), evaluation=Evaluation(every=10_000)
    )
    assert job_id(spelled_out, 3) == JOB.id


@pytest.mark.parametrize(
    "changes",
    [
        {"timesteps": 1001},
        {"trainer": "fast"},
        {"hyperparameters": {"tau": 0.006}},
        {"evaluation": {"final_episodes": 99}},
        {"environment": {"id": "LunarLanderContinuous-v3", "kwargs": {"enable_wind": True}}},
    ],
)
def test_whatever_changes_the_training_changes_the_id(changes: dict[str, Any]) -> None:
    assert job_id(configuration(**changes), 3) != JOB.id
    assert configuration(**changes).set_id != JOB.configuration.set_id


def test_the_seed_is_part_of_the_job_and_not_of_the_set() -> None:
    other = Job.of("lunar", configuration(), 4)
    assert other.id != JOB.id
    assert other.configuration.set_id == JOB.configuration.set_id


def test_numbers_have_one_spelling() -> None:
    assert Hyperparameters(learning_rate="lin_7.3e-4") == Hyperparameters(learning_rate="lin_0.00073")
    assert Hyperparameters(ent_coef="auto_1") == Hyperparameters(ent_coef="auto_1.0")
    five = EnvironmentSpec(id=LUNAR.id, kwargs={"wind_power": 5})
    assert five.canonical() == EnvironmentSpec(id=LUNAR.id, kwargs={"wind_power": 5.0}).canonical()


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(JOB.encode())
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "It is not JSON"),
        ("{", "It is not JSON"),
        ("[1]", "It is JSON, but not an object."),
        ('"job"', "It is JSON, but not an object."),
        ("{}", "It is not a job: sweep: Field required"),
        ("[" * 10_000, "It is not JSON"),
        ("x" * (MAX_JOB_BYTES + 1), "a job has at most 16000"),
        (changed(lambda job: job.update(id="0" * 16)), "is not that of this configuration and seed"),
        (changed(lambda job: job.update(seed=4)), "is not that of this configuration and seed"),
        (changed(lambda job: job.update(extra=1)), "extra: Extra inputs are not permitted"),
        (changed(lambda job: job.update(sweep="../../etc")), "sweep: String should match"),
        (changed(lambda job: job["configuration"].update(trainer="shell")), "configuration.trainer"),
        (changed(lambda job: job["configuration"]["hyperparameters"].update(use_sde=True)), "use_sde"),
        (changed(lambda job: job["configuration"]["hyperparameters"].update(tau=float("nan"))), "tau"),
        (changed(lambda job: job["configuration"]["environment"].update(id="os.system")), "not a proven environment"),
        (changed(lambda job: job.update(schema_version=0)), "schema_version"),
    ],
)
def test_what_is_no_job_is_rejected_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(MessageRejected) as caught:
        decode(text)
    assert reason in caught.value.detail


def test_a_newer_schema_is_told_from_a_broken_message() -> None:
    with pytest.raises(NewerSchema):
        decode(json.dumps({"schema_version": SCHEMA_VERSION + 1, "whatever": 1}))


@given(
    st.text(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5).map(json.dumps)
)
@settings(max_examples=50, deadline=None)
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises((MessageRejected, NewerSchema)):
        decode(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"timesteps": 0},
        {"timesteps": 50_000_001},
        {"environment": {"id": "CartPole-v1"}},
        {"environment": {"id": "Pendulum-v1", "kwargs": {"g": 50}}},
        {"environment": {"id": "Pendulum-v1", "kwargs": {"gravity": 5}}},
        {"environment": {"id": "LunarLanderContinuous-v3", "kwargs": {"enable_wind": 1}}},
        {"environment": {"id": "LunarLanderContinuous-v3", "kwargs": {"wind_power": True}}},
        {"hyperparameters": {"gradient_steps": 0}},
        {"evaluation": {"episodes": 0}},
    ],
)
def test_values_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        configuration(**changes)


def test_an_environment_outside_the_table_needs_its_proof() -> None:
    verdict = ProbeVerdict(observation_size=4, action_size=2, max_episode_steps=None, episodes=20, exact=True)
    spec = EnvironmentSpec(id="My-v0", probe=verdict)
    assert (spec.sizes, spec.max_episode_steps, spec.solved_at) == ((4, 2), 10_000, None)


@pytest.mark.parametrize(
    "sac",
    [
        {"gradient_steps": 10_000},
        {"batch_size": 4096, "gradient_steps": 100},
        {"train_freq": (10, "episode"), "gradient_steps": -1},
        {"train_freq": 10_000, "gradient_steps": -1},
        {"policy_kwargs": {"net_arch": (1024, 1024, 1024, 1024)}, "gradient_steps": 64},
    ],
)
def test_a_job_that_could_not_stop_within_an_eviction_notice_is_refused(sac: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="too long for an eviction notice"):
        configuration(hyperparameters=sac)


def test_an_episode_counts_with_all_its_steps_and_updates() -> None:
    found = configuration(
        hyperparameters={"train_freq": (1, "episode"), "gradient_steps": -1, "policy_kwargs": {"net_arch": (32,)}}
    )
    updates = 1000 * update_flop(found) / 20e9
    assert boundary_seconds(found) == pytest.approx(1000 * 2e-4 + updates)
    assert boundary_seconds(found) < MAX_BOUNDARY_SECONDS


def test_canonical_json_is_one_and_finite() -> None:
    assert canonical_json({"b": 1, "a": "ü"}) == b'{"a":"\\u00fc","b":1}'
    with pytest.raises(ValueError, match="Out of range"):
        canonical_json(float("inf"))


def test_a_job_that_fits_into_no_message_is_not_encoded() -> None:
    verdict = ProbeVerdict(observation_size=4, action_size=2, max_episode_steps=None, episodes=20, exact=True)
    spec = EnvironmentSpec(id="My-v0", probe=verdict, kwargs={"map": "x" * MAX_JOB_BYTES})
    with pytest.raises(ValueError, match="does not fit into a message"):
        Job.of("lunar", configuration(environment=spec), 0).encode()
