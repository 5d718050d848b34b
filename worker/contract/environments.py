"""Environments whose state is proven to come back bit by bit when an episode's actions are replayed."""

from collections.abc import Mapping
from typing import Final

from worker.contract.base import Frozen, Scalar


class Range(Frozen):
    """A closed range of numbers."""

    low: float
    high: float


class ProvenEnvironment(Frozen):
    """What the contract knows of an environment without importing gymnasium."""

    id: str
    observation_size: int
    action_size: int
    max_episode_steps: int
    solved_at: float | None = None
    """Return from which an episode counts as a success (for LunarLander: a landing)."""
    flags: tuple[str, ...] = ()
    """Boolean keyword arguments of its constructor."""
    numbers: Mapping[str, Range] = {}
    """Numeric keyword arguments and what the environment accepts for them."""


PROVEN: Final[Mapping[str, ProvenEnvironment]] = {
    environment.id: environment
    for environment in (
        ProvenEnvironment(
            id="LunarLanderContinuous-v3",
            observation_size=8,
            action_size=2,
            max_episode_steps=1000,
            solved_at=200.0,
            flags=("enable_wind",),
            numbers={
                # The bounds are those of LunarLander.__init__ (it asserts on gravity and warns on the others).
                "gravity": Range(low=-11.99, high=-0.01),
                "wind_power": Range(low=0.0, high=20.0),
                "turbulence_power": Range(low=0.0, high=2.0),
            },
        ),
        ProvenEnvironment(
            id="Pendulum-v1",
            observation_size=3,
            action_size=1,
            max_episode_steps=200,
            numbers={"g": Range(low=0.1, high=20.0)},
        ),
    )
}


class ProbeVerdict(Frozen):
    """What `python -m worker probe ENV` found out about an environment that is not in the table."""

    observation_size: int
    action_size: int
    max_episode_steps: int | None
    episodes: int
    """Episodes that were cut, replayed and compared."""
    exact: bool
    """True where every replayed episode went on exactly like the original."""


def wrong_keyword(environment: ProvenEnvironment, name: str, value: Scalar) -> str | None:
    """Return what is wrong with one keyword argument of `environment`, or None."""
    if name in environment.flags:
        return None if isinstance(value, bool) else f"{value!r} is not true or false"
    if name in environment.numbers:
        allowed = environment.numbers[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not allowed.low <= value <= allowed.high:
            return f"{value!r} is not a number from {allowed.low:g} to {allowed.high:g}"
        return None
    known = ", ".join((*environment.flags, *environment.numbers))
    return f"{environment.id} takes no {name!r} (it takes {known})"
