"""Claims about how numbers and sets are written."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.words import (
    duration,
    label_keys,
    number,
    plural,
    set_label,
    set_values,
    short,
    sparkline,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5_900, "98 min"),
        (6_000, "1 h 40"),
        (3_600 * 47, "47 h 00"),
        (3_600 * 100, "4 d 04"),
    ],
)
def test_a_length_of_time_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@settings(deadline=None)
@given(st.floats(0, 3600 * 24 * 99))
def test_a_length_of_time_fits_its_column(seconds: float) -> None:
    assert len(duration(seconds)) <= 7


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (950, "950"),
        (999.7, "1.0k"),
        (5_000, "5.0k"),
        (45_040, "45.0k"),
        (200_000, "200k"),
        (1.5e6, "1.50M"),
        (5e7, "50.0M"),
    ],
)
def test_a_count_is_short(count: float, text: str) -> None:
    assert short(count) == text


@settings(deadline=None)
@given(st.floats(0, 5e11))
def test_a_count_fits_its_column(count: float) -> None:
    assert len(short(count)) <= 5


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (-0.2, "0"), (-120.4, "−120"), (212.4, "212"), (-0.0, "0"), (7, "7")]
)
def test_a_return_has_a_visible_minus(value: float | None, text: str) -> None:
    assert number(value) == text


def test_a_sparkline_spans_its_own_range() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == "▁▂▃▄▅▆▇█"
    assert sparkline([0, 10], 8, ascii_only=True) == "_#"


def test_a_sparkline_shows_the_newest_values() -> None:
    assert sparkline([9, 0, 1], 2) == "▁█"


@pytest.mark.parametrize(("values", "text"), [([], ""), ([1.0], ""), ([3.0, 3.0, 3.0], "▄▄▄")])
def test_a_sparkline_of_nothing_moves_nothing(values: list[float], text: str) -> None:
    assert sparkline(values, 8) == text


@settings(deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), max_size=50), st.integers(1, 30))
def test_a_sparkline_never_exceeds_its_width(values: list[float], width: int) -> None:
    assert len(sparkline(values, width)) <= width


def test_the_most_telling_key_comes_first_and_a_constant_one_is_left_out() -> None:
    sets = [{"gamma": 0.99, "batch_size": size, "tau": tau} for size, tau in ((128, 0.1), (256, 0.2), (128, 0.3))]
    keys = label_keys(sets)
    assert keys == ("tau", "batch_size")
    assert set_label(sets[0], keys) == "tau=0.1 batch_size=128"


def test_a_single_set_is_told_by_all_it_has() -> None:
    assert label_keys([{"tau": 0.1}]) == ("tau",)


def test_values_are_written_as_a_person_would() -> None:
    differs = {
        "learning_rate": 0.00073456,
        "policy_kwargs.net_arch": [400, 300],
        "env.kwargs.enable_wind": True,
        "ent_coef": "auto",
    }
    assert set_label(differs, list(differs)) == (
        "learning_rate=0.0007346 net_arch=400×300 env.kwargs.enable_wind=true ent_coef=auto"
    )


def test_where_there_is_no_room_for_names_the_values_stand_alone() -> None:
    assert set_values({"tau": 0.01, "env.kwargs.enable_wind": True}, ["tau", "gamma", "env.kwargs.enable_wind"]) == (
        "0.01 – true"
    )


def test_a_set_that_differs_in_nothing_is_the_common_one() -> None:
    assert set_label({}, ["tau"]) == "common"


@pytest.mark.parametrize(
    ("count", "noun", "verb", "text"),
    [
        (1, "job", "", "1 job"),
        (2_000, "job", "", "2,000 jobs"),
        (1, "VM", "are", "1 VM is"),
        (0, "VM", "are", "0 VMs are"),
        (1, "set", "have", "1 set has"),
        (1, "set", "lack", "1 set lacks"),
        (2, "set", "lack", "2 sets lack"),
    ],
)
def test_a_count_agrees_with_its_noun_and_its_verb(count: int, noun: str, verb: str, text: str) -> None:
    assert plural(count, noun, verb) == text
