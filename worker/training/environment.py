"""The environments that are trained and evaluated in, and the cursor that brings one back mid-episode.

LunarLander's physics cannot be copied (gym #1292), but it is a function of `np_random` before the reset and of the
actions since: replayed in a fresh environment it is the same to the last bit. `probe` checks that for any other one.
"""

from collections.abc import Callable
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.utils import seeding
from gymnasium.wrappers import TimeLimit, TransformObservation
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from worker.contract.errors import BadConfiguration, CheckpointCorrupt
from worker.contract.job import EnvironmentSpec
from worker.snapshot.arrays import Floats
from worker.snapshot.random_streams import Pcg64
from worker.snapshot.training_state import CursorHead, EnvironmentCursor

Environment = gymnasium.Env[Any, Any]
ASSUMED_TIME_LIMIT: Final = 10_000
"""Steps after which an episode ends where the environment has no limit of its own, as EnvironmentSpec assumes."""


def make_environment(environment_id: str, keywords: dict[str, Any], render_mode: str | None = None) -> Environment:
    """Return a new environment with vectors of float32 as observations and actions.

    Raises:
        BadConfiguration: there is none of this id, it refuses its keyword arguments, or SAC cannot train in it; the
            message says which.
    """
    if render_mode is not None:  # an environment need not know the word
        keywords = {**keywords, "render_mode": render_mode}
    try:
        environment = gymnasium.make(environment_id, disable_env_checker=True, **keywords)
    except (OSError, MemoryError):
        raise  # of this machine, not of the job
    except Exception as error:  # the constructor is not ours
        raise BadConfiguration(f"The environment {environment_id} cannot be made: {error}") from error
    try:
        _refuse_what_sac_cannot_train(environment_id, environment)
    except BadConfiguration:
        environment.close()
        raise
    if environment.spec is None or environment.spec.max_episode_steps is None:
        environment = TimeLimit(environment, ASSUMED_TIME_LIMIT)
    observations, _ = spaces_of(environment)
    if observations.dtype != np.float32:
        single = Box(observations.low.astype(np.float32), observations.high.astype(np.float32), dtype=np.float32)
        environment = TransformObservation(environment, _to_single_precision, single)
    return environment


def _to_single_precision(observation: Any) -> Floats:
    return np.asarray(observation, dtype=np.float32)


def _refuse_what_sac_cannot_train(name: str, environment: Environment) -> None:
    actions, observations = environment.action_space, environment.observation_space
    if not isinstance(actions, Box):
        raise BadConfiguration(f"{name} has {_kind(actions)} actions; SAC needs continuous ones (a Box).")
    if actions.dtype != np.float32 or len(actions.shape) != 1:
        raise BadConfiguration(f"{name} has actions of {actions.dtype} {actions.shape}; they must be a float32 vector.")
    if not (np.isfinite(actions.low).all() and np.isfinite(actions.high).all()):
        raise BadConfiguration(f"{name} has actions without bounds; SAC needs finite ones.")
    if not isinstance(observations, Box):
        raise BadConfiguration(
            f"{name} has {_kind(observations)} observations; only vectors (a Box) can be resumed yet."
        )
    if not np.issubdtype(observations.dtype, np.floating) or len(observations.shape) != 1:
        shape = f"{observations.dtype} {observations.shape}"
        raise BadConfiguration(f"{name} has observations of {shape}; only vectors of floating-point numbers work yet.")
    if not isinstance(environment.unwrapped.np_random.bit_generator, np.random.PCG64):
        raise BadConfiguration(f"{name} has a random generator other than gymnasium's PCG64.")


def _kind(space: Space[Any]) -> str:
    return f"{type(space).__name__.lower()} ({space})"


def make_for_job(spec: EnvironmentSpec, render_mode: str | None = None) -> Environment:
    """Return a new environment of a job.

    Raises:
        BadConfiguration: as `make_environment`, and if its sizes are not those that the job was planned with.
    """
    environment = make_environment(spec.id, dict(spec.kwargs), render_mode)
    sizes = tuple(space.shape[0] for space in spaces_of(environment))
    if sizes != spec.sizes:
        environment.close()
        raise BadConfiguration(f"{spec.id} has sizes {sizes} here, the job was planned with {spec.sizes}.")
    return environment


def spaces_of(environment: Environment) -> tuple[Box, Box]:
    """Return the spaces of observations and actions of an environment that `make_environment` made."""
    observations, actions = environment.observation_space, environment.action_space
    if not isinstance(observations, Box) or not isinstance(actions, Box):
        raise TypeError("an environment of make_environment has vectors")
    return observations, actions


class Cursor(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Remembers what it takes to bring the environment back to where it stands."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._before_reset: Pcg64 | None = None
        self._actions: list[Floats] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset; a seed becomes the generator that gymnasium would make of it, and is remembered like any other."""
        if seed is not None:
            self.unwrapped.np_random, _ = seeding.np_random(seed)
        self._before_reset = Pcg64.of(self.unwrapped.np_random)
        self._actions.clear()
        return self.env.reset(options=options)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, and remember the action."""
        self._actions.append(np.array(action, dtype=np.float32))
        return self.env.step(action)

    @property
    def steps(self) -> int:
        """Return the steps since the last reset."""
        return len(self._actions)

    def position(self) -> EnvironmentCursor:
        """Return where the environment stands, copied. It must have been reset."""
        if self._before_reset is None:
            raise RuntimeError("an environment that was never reset stands nowhere")
        head = CursorHead(before_reset=self._before_reset, now=Pcg64.of(self.unwrapped.np_random))
        actions = np.array(self._actions, dtype=np.float32).reshape(self.steps, *(self.action_space.shape or ()))
        return EnvironmentCursor(head, actions)


class TrainingEnvironment:
    """The one environment of a run, as SB3 wants it: in a Monitor (`single`), in a DummyVecEnv (`vectorised`)."""

    def __init__(self, environment: Environment) -> None:
        self._cursor = Cursor(environment)
        self.single = Monitor(self._cursor)
        self.vectorised = DummyVecEnv([lambda: self.single])

    @property
    def episode_steps(self) -> int:
        """Return the steps made since the last reset."""
        return self._cursor.steps

    def position(self) -> EnvironmentCursor:
        """Return where it stands, copied."""
        return self._cursor.position()

    def replay(self, cursor: EnvironmentCursor, expected: Floats, beat: Callable[[], None], *, exact: bool) -> Floats:
        """Bring it to where `cursor` stands and return its last observation.

        Args:
            cursor: of an environment of the same job.
            expected: the last observation when the cursor was taken.
            beat: called for every step.
            exact: False accepts that the episode came out otherwise; where it even ended, the next one begins.

        Raises:
            CheckpointCorrupt: `exact`, and the environment is not in the state that was captured.
        """
        cursor.head.before_reset.put_into(self._cursor.unwrapped.np_random)
        observation, _ = self.single.reset()
        ended = False
        for action in cursor.actions:
            observation, _, terminated, truncated, _ = self.single.step(action)
            beat()
            ended = terminated or truncated
            if ended:
                break
        same = Pcg64.of(self._cursor.unwrapped.np_random) == cursor.head.now
        if exact and (ended or not same or observation.tobytes() != expected.tobytes()):
            raise CheckpointCorrupt("The episode under way does not replay to where it was.")
        if ended:
            observation, _ = self.single.reset()
        return np.asarray(observation, dtype=np.float32)

    def close(self) -> None:
        """Release what it holds."""
        self.vectorised.close()
