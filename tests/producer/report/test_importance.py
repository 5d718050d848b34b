"""Parameter importance: none below 20 sets, the parameter that matters first, and noise called noise."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from producer.report.importance import Importance, draw, importance
from producer.report.parameters import parameters
from producer.results.leaderboard import Leaderboard
from tests.fakes.reported import ranked

Differs = Mapping[str, Any]


def board(count: int, score: Callable[[Differs], float], seed: int = 0) -> Leaderboard:
    rng = np.random.default_rng(seed)
    sets: list[dict[str, Any]] = [
        {
            "tau": float(10 ** rng.uniform(-3, -1)),
            "gamma": float(rng.choice([0.98, 0.99])),
            "learning_rate": ["lin_0.001", 0.0003][rng.integers(2)],
        }
        for _ in range(count)
    ]
    return ranked([(one, [score(one)]) for one in sets])


def by_tau(differs: Differs) -> float:
    return float(-80 * abs(np.log10(differs["tau"]) + 2))


def test_below_twenty_sets_it_says_why_there_is_none() -> None:
    found = board(19, by_tau)
    assert importance(found, parameters(found)) == (
        "There is no parameter importance: 19 sets have results, and below 20 it would mostly be chance."
    )


def test_the_parameter_that_decides_comes_first_and_the_others_get_next_to_nothing() -> None:
    found = board(40, by_tau)
    result = importance(found, parameters(found))
    assert isinstance(result, Importance)
    assert result.shares[0][0] == "tau"
    assert result.shares[0][1] > 0.5
    assert all(abs(share) < 0.1 for _, share, _ in result.shares[1:])
    assert result.explained > 0.5
    assert "explains" in result.sentence
    assert "tau" in draw(result, "importance")


def test_noise_is_called_noise() -> None:
    rng = np.random.default_rng(1)
    found = board(30, lambda _: float(rng.normal()))
    result = importance(found, parameters(found))
    assert isinstance(result, Importance)
    assert result.explained <= 0
    assert "what follows is noise" in result.sentence


def test_equal_scores_and_a_single_parameter_have_none() -> None:
    flat = board(20, lambda _: 5.0)
    assert "all sets have the same score" in str(importance(flat, parameters(flat)))
    single = ranked([({"tau": 0.001 * number}, [float(number)]) for number in range(1, 21)])
    assert "fewer than two hyperparameters" in str(importance(single, parameters(single)))


def test_parameters_are_numbers_words_or_logarithms() -> None:
    found = ranked(
        [
            ({"tau": 0.001, "policy_kwargs.net_arch": [64, 64], "gamma": 0.99}, [1.0]),
            ({"tau": 0.1, "policy_kwargs.net_arch": [400, 300], "gamma": 0.98}, [3.0]),
            ({"tau": 0.01, "policy_kwargs.net_arch": [64, 64], "gamma": 0.99}, [2.0]),
        ]
    )
    tau, net_arch, gamma = sorted(parameters(found), key=lambda one: ("tau", "net_arch", "gamma").index(one.name))
    assert tau.logarithmic
    assert tau.positions == pytest.approx((1.0, 0.5, 0.0))
    assert not gamma.logarithmic
    assert [text for _, text in net_arch.ticks] == ["400×300", "64×64"]
    assert net_arch.positions == (0.0, 1.0, 1.0)
