"""How a search turns ranges and choices into values: drawn, or laid out as a grid.

A draw depends on the search's seed, its own index and the parameter's name, and on nothing else: raising `count` or
adding a parameter keeps every earlier draw (rule 7 of docs/protocol.md).
"""

import hashlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from worker.contract.base import Frozen, canonical_json

Value = bool | int | float | str | list[Any] | dict[str, Any]
"""A parameter's value, in JSON's types."""

DRAWN_DIGITS: Final = 6
"""Draws are rounded: exp and log differ in the last bit between machines, and a job's id must not."""
GRID_DIGITS: Final = 12
MOST_VALUES: Final = 2**53
"""Of a range with a spacing: a draw has 53 bits."""


def no_truth(value: Any) -> Any:
    """Refuse true and false, which pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("true and false are no numbers")  # noqa: TRY004 - pydantic collects ValueError
    return value


Number = Annotated[float, BeforeValidator(no_truth)]


class Range(Frozen):
    """All numbers from `low` to `high`, both included; Optuna's words."""

    low: Number
    high: Number
    log: bool = False
    """Draw the logarithm evenly."""
    step: Annotated[Number, Field(gt=0)] | None = None
    """Only low, low + step, low + 2 step, …"""
    integer: bool = Field(default=False, alias="int")

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low:g}) must be below high ({self.high:g})")
        if self.log and self.low <= 0:
            raise ValueError(f"with log, low must be above 0, and it is {self.low:g}")
        if self.log and self.step is not None:
            raise ValueError("log and step exclude each other")
        if self.integer and not all(edge.is_integer() for edge in (self.low, self.high, self.step or 1.0)):
            raise ValueError("low, high and step of whole numbers must be whole numbers")
        width = self.high - self.low
        if not math.isfinite(width):
            raise ValueError(f"low ({self.low:g}) and high ({self.high:g}) are too far apart")
        if self.step is not None and self.step > width:
            raise ValueError(f"step ({self.step:g}) is wider than the range, which would have one value only")
        if self.spacing and width / self.spacing > MOST_VALUES:
            raise ValueError(f"a spacing of {self.spacing:g} makes too many values to draw from")
        return self

    @property
    def spacing(self) -> float | None:
        """Return the distance of neighbouring values, or None where there is none."""
        return self.step if self.step is not None else (1.0 if self.integer else None)

    @property
    def size(self) -> int:
        """Return how many values this range holds; 0 = too many to count."""
        return math.floor((self.high - self.low) / self.spacing + 1e-9) + 1 if self.spacing else 0

    def nth(self, index: int) -> int | float:
        """Return the value number `index` of a range with a spacing."""
        value = self.low + index * (self.spacing or 0.0)
        return round(value) if self.integer else _rounded(value, GRID_DIGITS)


def _all_different(choices: tuple[Any, ...]) -> tuple[Any, ...]:
    seen = [canonical_json(choice) for choice in choices]
    if len(set(seen)) < len(seen):
        raise ValueError("a choice stands here twice")
    return choices


class Choices(Frozen):
    """One of these values."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1), AfterValidator(_all_different)]

    @property
    def size(self) -> int:
        """Return how many values there are."""
        return len(self.choices)

    def nth(self, index: int) -> Value:
        """Return choice number `index`."""
        chosen: Value = self.choices[index]
        return chosen


Distribution = Range | Choices

ZOO: Final[Mapping[str, Distribution]] = {
    # sample_sac_params of rl_zoo3 2.9.2; there, too, gradient_steps follows train_freq.
    "one_minus_gamma": Range(low=1e-4, high=0.03, log=True),
    "batch_size": Choices(choices=tuple(2**power for power in range(2, 12))),
    "learning_rate": Range(low=1e-5, high=2e-3, log=True),
    "train_freq": Range(low=1, high=10, int=True),
    "gradient_steps": Choices(choices=(-1,)),
    "tau": Range(low=1e-3, high=0.08, log=True),
    "policy_kwargs.net_arch": Choices(choices=([64, 64], [256, 256], [400, 300])),
}
"""rl-baselines3-zoo's search space for SAC, `space: zoo`."""


def uniform(seed: int, index: int, parameter: str) -> float:
    """Return a number from [0, 1) that only these three decide: the first 53 bits of their SHA-256."""
    digest = hashlib.sha256(canonical_json([seed, index, parameter])).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def draw(seed: int, index: int, parameter: str, distribution: Distribution) -> Value:
    """Return the value of `parameter` in sample `index` of the search with this seed."""
    chance = uniform(seed, index, parameter)
    if isinstance(distribution, Choices) or (distribution.spacing and not distribution.log):
        return distribution.nth(math.floor(chance * distribution.size))
    half = 0.5 if distribution.integer else 0.0  # every whole number gets the share around it, as with Optuna
    low, high = distribution.low - half, distribution.high + half
    if distribution.log:
        value = math.exp(math.log(low) + chance * (math.log(high) - math.log(low)))
    else:
        value = low + chance * (high - low)
    value = min(max(_rounded(value, DRAWN_DIGITS), distribution.low), distribution.high)
    return round(value) if distribution.integer else value


def draws(seed: int, count: int, space: Mapping[str, Distribution]) -> Iterator[dict[str, Value]]:
    """Yield the first `count` samples of a random search."""
    for index in range(count):
        yield {name: draw(seed, index, name, distribution) for name, distribution in space.items()}


def grid_size(space: Mapping[str, Distribution]) -> int:
    """Return the number of points of the grid; 0 where a range has no step."""
    return math.prod(distribution.size for distribution in space.values())


def grid(space: Mapping[str, Distribution]) -> Iterator[dict[str, Value]]:
    """Yield every combination; the last parameter changes fastest."""
    axes: Sequence[list[Value]] = [
        [distribution.nth(index) for index in range(distribution.size)] for distribution in space.values()
    ]
    for point in itertools.product(*axes):
        yield dict(zip(space, point, strict=True))


def _rounded(value: float, digits: int) -> float:
    return float(f"{value:.{digits}g}")
