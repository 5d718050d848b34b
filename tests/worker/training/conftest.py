"""Jobs and an environment for the trainer's tests: nets of [32, 32] and few updates, since SB3's take 10 ms each."""

from collections.abc import Callable, Iterator
from typing import Any, Literal

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from worker.contract.environments import ProbeVerdict
from worker.contract.job import Configuration, EnvironmentSpec, Evaluation, Hyperparameters, Job

MakeJob = Callable[..., Job]


class Drifting(gymnasium.Env[Any, Any]):
    """Five steps an episode. What it does besides is up to its keyword arguments."""

    def __init__(self, reward: float = 1.0, *, remembers: bool = False, double: bool = False) -> None:
        kind = np.float64 if double else np.float32
        self.observation_space = gymnasium.spaces.Box(-10, 10, (2,), kind)
        self.action_space = gymnasium.spaces.Box(-2, 1, (1,), np.float32)
        self._reward, self._remembers = reward, remembers
        self._episodes = 0
        self._place: NDArray[np.floating[Any]] = np.zeros(2, dtype=kind)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._episodes += 1
        self._place[:] = self.np_random.normal(size=2) + self._episodes * self._remembers
        self._steps = 0
        return self._place.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._place += 0.1 * float(action[0])
        self._steps += 1
        return self._place.copy(), self._reward, self._steps >= 5, False, {}


@pytest.fixture(scope="session", autouse=True)
def drifting() -> Iterator[str]:
    """Register `Drifting` as gymnasium knows environments."""
    gymnasium.register("tests/Drifting-v0", f"{__name__}:Drifting")
    yield "tests/Drifting-v0"
    del gymnasium.registry["tests/Drifting-v0"]


@pytest.fixture(scope="session")
def make_job() -> MakeJob:
    """Return a maker of small jobs: keyword arguments are SAC's, except those named here."""

    def make(
        environment: str = "Pendulum-v1",
        timesteps: int = 260,
        *,
        evaluation: Evaluation | None = None,
        environment_keywords: dict[str, Any] | None = None,
        seed: int = 3,
        trainer: Literal["fast", "sb3"] = "sb3",
        **hyperparameters: Any,
    ) -> Job:
        small = {"learning_starts": 200, "batch_size": 32, "buffer_size": 1000, "policy_kwargs": {"net_arch": (32, 32)}}
        verdict = None
        if environment.startswith("tests/"):
            verdict = ProbeVerdict(observation_size=2, action_size=1, max_episode_steps=None, episodes=1, exact=True)
        configuration = Configuration(
            environment=EnvironmentSpec(id=environment, kwargs=environment_keywords or {}, probe=verdict),
            timesteps=timesteps,
            trainer=trainer,
            hyperparameters=Hyperparameters.model_validate({**small, **hyperparameters}),
            evaluation=evaluation or Evaluation(every=50_000_000, episodes=1, final_episodes=1),
        )
        return Job.of("tests", configuration, seed)

    return make
