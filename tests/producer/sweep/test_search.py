"""Draws depend on their place alone; grids are whole."""

import itertools
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from producer.sweep.parameters import ONE_MINUS_GAMMA, nested
from producer.sweep.search import ZOO, Choices, Distribution, Range, draw, draws, grid, grid_size, uniform
from worker.contract.job import Configuration, EnvironmentSpec, Hyperparameters


def ranges() -> st.SearchStrategy[Range]:
    edges = st.tuples(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6)).map(sorted).filter(lambda two: two[0] < two[1])
    return st.builds(lambda edge, log: Range(low=edge[0], high=edge[1], log=log), edges, st.booleans()) | st.builds(
        lambda low, more, log: Range.model_validate({"low": low, "high": low + more, "log": log, "int": True}),
        st.integers(1, 1000),
        st.integers(1, 1000),
        st.booleans(),
    )


def spaces() -> st.SearchStrategy[dict[str, Distribution]]:
    choices = st.lists(st.integers(), min_size=1, max_size=5, unique=True).map(
        lambda some: Choices(choices=tuple(some))
    )
    return st.dictionaries(st.sampled_from(list("abcdefgh")), ranges() | choices, min_size=1)


@given(spaces(), st.integers(0, 2**63 - 1), st.integers(0, 20), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_raising_count_keeps_the_earlier_draws(
    space: dict[str, Distribution], seed: int, count: int, more: int
) -> None:
    assert list(draws(seed, count + more, space))[:count] == list(draws(seed, count, space))


@given(spaces(), ranges(), st.integers(0, 2**63 - 1))
@settings(max_examples=40, deadline=None)
def test_adding_a_parameter_keeps_the_draws_of_the_others(
    space: dict[str, Distribution], another: Range, seed: int
) -> None:
    before = list(draws(seed, 5, space))
    after = list(draws(seed, 5, {"another": another, **space}))
    assert [{name: value for name, value in one.items() if name != "another"} for one in after] == before


@given(ranges(), st.integers(0, 2**63 - 1), st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_a_draw_lies_within_its_range_and_keeps_its_type(distribution: Range, seed: int, index: int) -> None:
    value = draw(seed, index, "x", distribution)
    assert isinstance(value, int if distribution.integer else float)
    assert distribution.low <= value <= distribution.high


def test_draws_are_the_same_in_every_release() -> None:
    """A job's id follows from its draws: were these to change, every stored sweep would be another one."""
    assert uniform(1, 0, "tau") == 0.6058205519269667
    tau = Range(low=1e-3, high=8e-2, log=True)
    assert [draw(1, index, "tau", tau) for index in range(3)] == [0.014221, 0.0129744, 0.00519451]
    assert [draw(1, index, "n", Range.model_validate({"low": 1, "high": 10, "int": True})) for index in range(6)] == [
        draw(1, index, "n", Choices(choices=tuple(range(1, 11)))) for index in range(6)
    ]


@pytest.mark.parametrize("log", [False, True])
def test_draws_are_spread_evenly(log: bool) -> None:
    values = [draw(3, index, "x", Range(low=1e-4, high=1.0, log=log)) for index in range(4000)]
    middle = 1e-2 if log else (1 + 1e-4) / 2
    below = sum(value < middle for value in values if isinstance(value, float))
    assert abs(below - 2000) < 150  # five standard deviations


@pytest.mark.parametrize("log", [False, True])
def test_every_whole_number_is_drawn(log: bool) -> None:
    distribution = Range.model_validate({"low": 1, "high": 4, "int": True, "log": log})
    assert {draw(0, index, "x", distribution) for index in range(200)} == {1, 2, 3, 4}


def test_every_choice_is_drawn() -> None:
    nets: tuple[Any, ...] = ([64, 64], [256, 256], {"pi": [8], "qf": [16]})
    drawn = [draw(0, index, "net", Choices(choices=nets)) for index in range(100)]
    assert all(net in drawn for net in nets)


def test_a_grid_holds_every_combination_once_and_the_last_changes_fastest() -> None:
    space: Mapping[str, Distribution] = {
        "a": Choices(choices=(1, 2)),
        "b": Range(low=0.1, high=0.3, step=0.1),
        "c": Range.model_validate({"low": 5, "high": 7, "int": True}),
    }
    points = [tuple(point.values()) for point in grid(space)]
    assert points == list(itertools.product((1, 2), (0.1, 0.2, 0.3), (5, 6, 7)))
    assert grid_size(space) == len(points)


def test_a_range_without_step_is_no_axis_of_a_grid() -> None:
    assert grid_size({"a": Range(low=0.1, high=0.3)}) == 0


@pytest.mark.parametrize(
    "content",
    [
        {"low": 1, "high": 1},
        {"low": 2, "high": 1},
        {"low": 0, "high": 1, "log": True},
        {"low": 1, "high": 2, "log": True, "step": 0.1},
        {"low": 1, "high": 2, "step": 0},
        {"low": 0.5, "high": 2, "int": True},
        {"low": True, "high": 2},
        {"low": 1, "high": 2, "median": 1.5},
        {"low": float("nan"), "high": 2},
    ],
)
def test_a_range_that_is_none_is_refused(content: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Range.model_validate(content)


def test_a_choice_stands_once() -> None:
    with pytest.raises(ValidationError, match="twice"):
        Choices(choices=([1, 2], [1, 2]))


def test_all_of_the_zoos_space_can_be_trained() -> None:
    for drawn in draws(0, 200, ZOO):
        gamma = {"gamma": 1 - float(str(drawn.pop(ONE_MINUS_GAMMA)))}
        Configuration(
            environment=EnvironmentSpec(id="LunarLanderContinuous-v3"),
            timesteps=1000,
            trainer="sb3",
            hyperparameters=Hyperparameters.model_validate(nested({**drawn, **gamma})),
        )
