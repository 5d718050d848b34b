"""Environments are what the contract says of them, and come back mid-episode."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pytest

from worker.contract.environments import PROVEN, ProbeVerdict, ProvenEnvironment
from worker.contract.errors import BadConfiguration
from worker.contract.job import EnvironmentSpec
from worker.training.environment import (
    ASSUMED_TIME_LIMIT,
    Cursor,
    TrainingEnvironment,
    make_environment,
    make_for_job,
    spaces_of,
)
from worker.training.probe import probe

VECTOR = gymnasium.spaces.Box(-1, 1, (2,))
SPACES: dict[str, tuple[gymnasium.Space[Any], gymnasium.Space[Any]]] = {
    "tests/Dict-v0": (gymnasium.spaces.Dict({"place": VECTOR}), VECTOR),
    "tests/Image-v0": (gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8), VECTOR),
    "tests/Unbounded-v0": (VECTOR, gymnasium.spaces.Box(-np.inf, np.inf, (2,))),
    "tests/Matrix-v0": (VECTOR, gymnasium.spaces.Box(-1, 1, (2, 2))),
}


class Bare(gymnasium.Env[Any, Any]):
    """An environment that is nothing but its spaces."""

    def __init__(self, name: str) -> None:
        self.observation_space, self.action_space = SPACES[name]


def ignore() -> None:
    return


@pytest.mark.parametrize("proven", PROVEN.values(), ids=PROVEN)
def test_a_proven_environment_is_what_the_contract_says(proven: ProvenEnvironment) -> None:
    keywords: dict[str, Any] = dict.fromkeys(proven.flags, True)
    for bounds in ("low", "high"):
        keywords |= {name: getattr(allowed, bounds) for name, allowed in proven.numbers.items()}
        environment = make_environment(proven.id, keywords)
        observations, actions = spaces_of(environment)
        assert observations.shape == (proven.observation_size,)
        assert actions.shape == (proven.action_size,)
        assert environment.spec is not None
        assert environment.spec.max_episode_steps == proven.max_episode_steps
        environment.reset(seed=0)
        environment.step(actions.high)
        environment.close()


@pytest.mark.parametrize(
    ("name", "keywords"), [("LunarLanderContinuous-v3", {"enable_wind": True}), ("Pendulum-v1", {})]
)
def test_the_proven_environments_replay_exactly(name: str, keywords: dict[str, Any]) -> None:
    beats: list[None] = []
    verdict = probe(name, keywords, 12, lambda: beats.append(None))
    assert verdict.exact
    assert verdict.episodes == 12
    assert len(beats) > 12 * 50


def test_a_probe_finds_what_is_carried_over_from_earlier_episodes(drifting: str) -> None:
    assert probe(drifting, {}, 10, ignore).exact
    assert not probe(drifting, {"remembers": True}, 10, ignore).exact


def test_a_verdict_holds_what_a_job_needs_to_know_of_the_environment(drifting: str) -> None:
    assert probe(drifting, {}, 3, ignore) == ProbeVerdict(
        observation_size=2, action_size=1, max_episode_steps=ASSUMED_TIME_LIMIT, episodes=3, exact=True
    )


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("Nowhere-v1", "Nowhere-v1 cannot be made: Environment `Nowhere` doesn't exist"),
        ("CartPole-v1", "CartPole-v1 has discrete"),
        ("tests/Dict-v0", "tests/Dict-v0 has dict"),
        ("tests/Image-v0", "tests/Image-v0 has observations of uint8"),
        ("tests/Unbounded-v0", "without bounds"),
        ("tests/Matrix-v0", "a float32 vector"),
    ],
)
def test_a_probe_says_why_sac_cannot_train_somewhere(name: str, complaint: str, spaces: None) -> None:
    with pytest.raises(BadConfiguration, match=complaint):
        probe(name, {}, 1, ignore)


@pytest.fixture(scope="module")
def spaces() -> Iterator[None]:
    """Register environments with spaces that SAC cannot train in."""
    for name in SPACES:
        gymnasium.register(name, f"{__name__}:Bare", kwargs={"name": name})
    yield
    for name in SPACES:
        del gymnasium.registry[name]


def test_observations_of_double_precision_become_what_the_networks_see(drifting: str) -> None:
    verdict = ProbeVerdict(observation_size=2, action_size=1, max_episode_steps=None, episodes=1, exact=True)
    environment = make_for_job(EnvironmentSpec(id=drifting, kwargs={"double": True}, probe=verdict))
    observation, _ = environment.reset(seed=1)
    assert environment.observation_space.dtype == observation.dtype == np.float32


def test_an_environment_without_a_time_limit_gets_the_one_that_the_contract_assumes(drifting: str) -> None:
    verdict = ProbeVerdict(observation_size=2, action_size=1, max_episode_steps=None, episodes=1, exact=True)
    spec = EnvironmentSpec(id=drifting, probe=verdict)
    environment = make_for_job(spec)
    assert environment.spec is not None
    assert environment.spec.max_episode_steps == spec.max_episode_steps == ASSUMED_TIME_LIMIT


def test_a_seed_given_to_the_cursor_makes_the_episode_that_gymnasium_makes_of_it() -> None:
    plain = gymnasium.make("LunarLanderContinuous-v3")
    watched = Cursor(make_environment("LunarLanderContinuous-v3", {}))
    assert plain.reset(seed=5)[0].tobytes() == watched.reset(seed=5)[0].tobytes()
    assert plain.unwrapped.np_random.bit_generator.state == watched.unwrapped.np_random.bit_generator.state


def test_a_replay_that_ends_on_another_machine_goes_on_with_the_next_episode(drifting: str) -> None:
    first = TrainingEnvironment(make_environment(drifting, {}))
    first.single.reset(seed=1)
    observation, *_ = first.single.step(np.zeros(1, dtype=np.float32))
    cursor = first.position()
    longer = type(cursor)(cursor.head, np.zeros((7, 1), dtype=np.float32))
    other = TrainingEnvironment(make_environment(drifting, {}))
    landed = other.replay(longer, observation, ignore, exact=False)
    assert landed.shape == (2,)
    assert other.episode_steps == 0
    other.single.step(np.zeros(1, dtype=np.float32))
