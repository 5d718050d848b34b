"""A sweep file with a mistake anywhere is refused in words, whatever the mistake: never by a traceback."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from producer.sweep.document import KeyPath, parse_document
from producer.sweep.environment import CannotExamine
from producer.sweep.planning import make_plan
from producer.sweep.sweep_file import parse_sweep_file
from worker.contract.environments import ProbeVerdict
from worker.contract.errors import InputError

WHOLE: dict[str, Any] = {
    "name": "s",
    "env": {"id": "LunarLanderContinuous-v3", "kwargs": {"enable_wind": True}},
    "timesteps": 1_000,
    "seeds": [0, 1],
    "trainer": "fast",
    "fixed": {
        "learning_rate": "lin_7.3e-4",
        "train_freq": [1, "episode"],
        "gradient_steps": -1,
        "policy_kwargs": {"net_arch": [8, 8], "activation_fn": "relu"},
    },
    "search": {"method": "random", "count": 3, "seed": 1},
    "space": {
        "tau": {"low": 1e-3, "high": 8e-2, "log": True},
        "batch_size": {"choices": [128, 256]},
        "target_entropy": {"low": -4, "high": 4, "step": 0.5},
        "env.kwargs.wind_power": {"choices": [5, 15]},
    },
    "baseline": {"tau": 0.01, "batch_size": 256},
    "evaluation": {"every": 10_000, "episodes": 10, "final_episodes": 100},
    "budget_usd": 5,
}
FILES = {
    "random": WHOLE,
    "grid": {**WHOLE, "search": {"method": "grid"}, "env": {"id": "Pendulum-v1"}, "space": {"tau": {"choices": [0.1]}}},
    "list": {
        **WHOLE,
        "search": {"method": "list"},
        "space": [{"tau": 0.1, "env": {"kwargs": {"wind_power": 5}}}, {"batch_size": 8}],
    },
    "zoo": {**WHOLE, "space": "zoo"},
}
VALUES: tuple[Any, ...] = (
    *(None, "", "a b", "auto", "zoo", "list", "episode", True, False, [], {}),
    *(0, -1, 1, 2.5, 1e-320, 1e308, 10**30, -(10**30)),
    *([1], ["a"], [[1]], {"a": 1}, {"id": "x y"}, {"low": 1, "high": 2}, {"choices": [[1], 1]}, {"method": "grid"}),
)
KEYS = ("id", "step", "choices", "min", "env", "env.kwargs", "timesteps", "one_minus_gamma", "policy_kwargs", "x", "")


def places(node: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of everything in a document."""
    if path:
        yield path
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def opened(file: dict[str, Any], path: KeyPath) -> tuple[dict[str, Any], Any, Any]:
    """Return a copy of `file`, what in it holds the last part of `path`, and this part."""
    copied = copy.deepcopy(file)
    holder: Any = copied
    for part in path[:-1]:
        holder = holder[part]
    return copied, holder, path[-1]


def broken(file: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the file with every place left out, holding every odd value, and called otherwise."""
    for path in places(file):
        copied, holder, key = opened(file, path)
        del holder[key]
        yield f"without {path}", copied
        for value in VALUES:
            copied, holder, key = opened(file, path)
            holder[key] = copy.deepcopy(value)
            yield f"{path} is {value!r}", copied
        for name in KEYS if isinstance(path[-1], str) else ():
            copied, holder, key = opened(file, path)
            holder[name] = holder.pop(key)
            yield f"{path} is called {name!r}", copied


def cannot_look(*_: object) -> ProbeVerdict:
    """Stand for a machine on which no environment can be looked at."""
    raise CannotExamine("not here")


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_wrong_in_one_place_is_planned_or_refused_in_words(kind: str) -> None:
    refused = []
    for what, content in broken(FILES[kind]):
        document = parse_document("s.yaml", json.dumps(content).encode())
        try:
            make_plan(parse_sweep_file(document), document, look=cannot_look)
        except InputError as error:
            refused.append(str(error))
        except Exception as error:
            raise AssertionError(what) from error
    assert len(refused) > 500
    assert [words for words in refused if not words.startswith("s.yaml")] == []
