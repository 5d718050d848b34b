"""Reads what a sweep file fixes and searches: sets of hyperparameters, ranges and choices."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from producer.sweep.document import KeyPath, Problem, shown
from producer.sweep.parameters import (
    INTEGERS,
    KWARGS,
    NUMBERS,
    ONE_MINUS_GAMMA,
    checked,
    flattened,
    unknown_key,
    wrong_name,
)
from producer.sweep.search import ZOO, Choices, Distribution, Range, Value
from worker.contract.environments import PROVEN, wrong_keyword

Space = Mapping[str, Distribution] | tuple[Mapping[str, Value], ...]
"""Distributions by parameter, or with `method: list` the sets themselves."""

_RANGE: Final = "{low: A, high: B}, with log: true, step: S or int: true if need be"
_RANGE_KEYS: Final = frozenset({"low", "high", "log", "step", "int"})
_OTHER_WORDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(_RANGE_KEYS, "choices have no range, and a range has no choices"),
    "min": "write low, as in {low: A, high: B}",
    "max": "write high, as in {low: A, high: B}",
    "values": "write choices, as in {choices: [A, B]}",
    "value": "write it under fixed",
    "distribution": "write log: true, step or int: true",
    "type": "write log: true, step or int: true",
}
"""What other tools call these."""
_TWICE: Final = "this key stands here twice"
_BOTH: Final = "fixed says this too; keep one of the two"


@dataclass(frozen=True)
class SpaceReader:
    """Reads for one environment, and tells every problem on the way."""

    environment: str
    tell: Callable[[Problem], None]

    def keywords(self, kwargs: Mapping[str, Any]) -> None:
        """Check the environment's keyword arguments."""
        proven = PROVEN.get(self.environment)
        for name, value in kwargs.items():
            wrong = wrong_keyword(proven, name, value) if proven else None
            if wrong:
                self.tell(Problem(("env", "kwargs", name), wrong))

    def one_set(self, content: Mapping[str, Any], path: KeyPath, *, searched: bool = True) -> Mapping[str, Value]:
        """Return parameters by dotted name. `searched`: they may be the environment's too."""
        values: dict[str, Value] = {}
        for name, value, place in flattened(content, path):
            wrong = wrong_name(name, self.environment, searched=searched)
            if not wrong and name == ONE_MINUS_GAMMA:
                wrong = "only a range takes this; write gamma"
            if wrong or name in values:
                self.tell(Problem(place, wrong or _TWICE))
                continue
            values[name], problem = checked(name, value, self.environment, place)
            if problem:
                self.tell(problem)
        return values

    def space(self, method: str, content: Any, fixed: Mapping[str, Value]) -> Space:
        """Return what a search goes through."""
        if method == "list":
            return self._sets(content, fixed)
        if content == "zoo":
            return {name: found for name, found in ZOO.items() if not _is_fixed(name, fixed)}
        if not isinstance(content, Mapping) or not content:
            words = f"{shown(content)} is not allowed" if content else "is empty"
            self.tell(
                Problem(("space",), f"{words}; write zoo, or parameters with {{low: …, high: …}} or {{choices: […]}}")
            )
            return {}
        space = dict(self._distributions(content, fixed))
        if {"gamma", ONE_MINUS_GAMMA} <= space.keys():
            self.tell(Problem(("space", ONE_MINUS_GAMMA), "gamma is searched too; keep one of the two"))
        return space

    def _sets(self, content: Any, fixed: Mapping[str, Value]) -> tuple[Mapping[str, Value], ...]:
        if not isinstance(content, tuple) or not content:
            words = f"{shown(content)} is not allowed" if content else "is empty"
            self.tell(Problem(("space",), f"{words}; with method: list, write a list of sets, such as [{{tau: 0.01}}]"))
            return ()
        sets = []
        for number, one in enumerate(content):
            path = ("space", number)
            values = self.one_set(one, path)
            for name in sorted(values.keys() & fixed.keys()):
                self.tell(Problem((*path, name), _BOTH))
            sets.append(values)
        return tuple(sets)

    def _distributions(
        self, content: Mapping[str, Any], fixed: Mapping[str, Value]
    ) -> Iterator[tuple[str, Distribution]]:
        seen: set[str] = set()
        for name, described, path in flattened(content, ("space",)):
            wrong = wrong_name(name, self.environment, searched=True)
            if not wrong and name in seen:
                wrong = _TWICE
            if not wrong and _is_fixed(name, fixed):
                wrong = _BOTH
            seen.add(name)
            if wrong:
                self.tell(Problem(path, wrong))
                continue
            distribution = self._distribution(name, described, path)
            if distribution:
                yield name, distribution

    def _distribution(self, name: str, described: Any, path: KeyPath) -> Distribution | None:
        if not isinstance(described, Mapping):
            hint = (
                f"{{choices: {shown(described)}}}" if isinstance(described, list) else f"{_RANGE}, or {{choices: […]}}"
            )
            self.tell(Problem(path, f"{shown(described)} is not allowed; write {hint}"))
            return None
        known = {"choices"} if "choices" in described else _RANGE_KEYS
        unknown = described.keys() - known
        for key in sorted(unknown):
            self.tell(Problem((*path, key), unknown_key(key, known, _OTHER_WORDS)))
        if unknown:
            return None
        if "choices" in described:
            return self._choices(name, described["choices"], (*path, "choices"))
        return self._range(name, described, path)

    def _choices(self, name: str, listed: Any, path: KeyPath) -> Choices | None:
        if not isinstance(listed, list) or not listed:
            words = "is empty" if listed == [] else f"{shown(listed)} is not allowed"
            self.tell(Problem(path, f"{words}; list at least one value"))
            return None
        looked_at = [checked(name, value, self.environment, (*path, number)) for number, value in enumerate(listed)]
        problems = [problem for _, problem in looked_at if problem]
        for problem in problems:
            self.tell(problem)
        if problems:
            return None
        try:
            return Choices(choices=tuple(value for value, _ in looked_at))
        except ValidationError:
            self.tell(Problem(path, "a choice stands here twice"))
            return None

    def _range(self, name: str, described: Mapping[str, Any], path: KeyPath) -> Range | None:
        if not _takes_numbers(name, self.environment):
            self.tell(Problem(path, "a range makes no sense here; write {choices: […]}"))
            return None
        whole = {"int": True} if name in INTEGERS or name == "timesteps" else {}
        try:
            found = Range.model_validate({**described, **whole})
        except ValidationError as error:
            self.tell(_wrong_range(error, described, path))
            return None
        problems = [
            problem
            for edge, value in (("low", found.low), ("high", found.high))
            if (problem := checked(name, int(value) if found.integer else value, self.environment, (*path, edge))[1])
        ]
        for problem in problems:
            self.tell(problem)
        return None if problems else found


def _wrong_range(error: ValidationError, described: Mapping[str, Any], path: KeyPath) -> Problem:
    first = error.errors(include_url=False)[0]
    if not first["loc"]:
        return Problem(path, first["msg"].removeprefix("Value error, "))
    key = str(first["loc"][0])
    if key not in described:
        return Problem(path, f"{key} is missing; write {_RANGE}")
    return Problem((*path, key), f"{shown(described[key])} is not allowed; write {_RANGE}")


def _is_fixed(name: str, fixed: Mapping[str, Value]) -> bool:
    return name in fixed or (name == ONE_MINUS_GAMMA and "gamma" in fixed)


def _takes_numbers(name: str, environment: str) -> bool:
    if name.startswith(KWARGS):
        proven = PROVEN.get(environment)
        return proven is None or name.removeprefix(KWARGS) in proven.numbers
    return name in NUMBERS or name == "timesteps"
