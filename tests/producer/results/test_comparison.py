"""Claims about what is said of two sweeps side by side."""

from typing import Any

import pytest

from producer.results.comparison import compared
from producer.results.leaderboard import leaderboards
from producer.results.progress import SweepProgress
from producer.results.statistics import difference_interval
from tests.producer.results.test_leaderboard import Scores, finished


def said(first: SweepProgress, second: SweepProgress) -> str:
    pair = [first, second]
    (sentence,) = compared(leaderboards(pair), [sweep.sweep for sweep in pair])
    return sentence


def lunar(scores: Scores, **common: Any) -> SweepProgress:
    return finished(scores, "lunar", **common)


def other(scores: Scores, **common: Any) -> SweepProgress:
    return finished(scores, "other", **common)


def test_the_best_of_each_are_compared_and_few_seeds_do_not_tell_them_apart() -> None:
    sentence = said(lunar({0.01: (180, 221, 235), 0.02: (0, 1, 2)}), other({0.03: (150, 200, 199)}))
    assert sentence == (
        "lunar: tau=0.01 with 212 (180, 221, 235; 3 seeds) is 29 above other: tau=0.03 with 183 (150, 199, 200; 3 "
        "seeds). The test does not tell them apart (Welch's P 0.28). About 17 seeds a set would, if the difference is "
        "real. Exploratory: a leader was chosen among others of its sweep, which flatters it."
    )


def test_the_better_one_comes_first_whichever_sweep_is_named_first() -> None:
    sentence = said(lunar({0.01: (0, 10, 20)}), other({0.01: (200, 210, 220)}))
    assert sentence.startswith("other: tau=0.01 with 210 (200, 210, 220; 3 seeds) is 200 above lunar: tau=0.01")
    assert "The test tells them apart" in sentence


def test_sweeps_of_one_set_each_were_not_chosen_from_anything() -> None:
    assert "Exploratory" not in said(lunar({0.01: (0, 10, 20)}), other({0.01: (200, 210, 220)}))


def test_from_five_seeds_on_the_difference_has_its_interval() -> None:
    ours, theirs = (200, 210, 220, 230, 240), (190, 200, 210, 220, 230)
    sentence = said(lunar({0.01: ours}), other({0.01: theirs}))
    assert "is 10 above" in sentence
    assert "(Welch's P 0.35; 95 % interval −13 to 33)" in sentence
    found = difference_interval(ours, theirs)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((-13.06, 33.06), abs=0.01)


def test_below_five_seeds_on_either_side_and_without_any_spread_there_is_no_interval() -> None:
    assert difference_interval([1, 2, 3, 4], [1, 2, 3, 4, 5]) is None
    assert difference_interval([1, 1, 1, 1, 1], [2, 2, 2, 2, 2]) is None


def test_one_seed_each_says_nothing_of_chance() -> None:
    sentence = said(lunar({0.01: (100,)}), other({0.01: (90,)}))
    assert sentence == (
        "lunar: tau=0.01 with 100 (1 seed) is 10 above other: tau=0.01 with 90 (1 seed). There is no spread between "
        "seeds to judge the difference by."
    )


def test_equal_means_are_level_and_as_good_as_tied() -> None:
    sentence = said(lunar({0.01: (100, 120, 110)}), other({0.01: (110, 120, 100)}))
    assert "are level. The test does not tell them apart" in sentence
    assert "More than 50 seeds a set would be needed: treat them as tied." in sentence


def test_each_environment_is_compared_by_itself_and_those_of_one_sweep_only_are_not() -> None:
    deep = lunar({0.01: (0, 10, 20)}).plan.common.environment.model_copy(update={"kwargs": {"gravity": -5.0}})
    both = [lunar({0.01: (0, 10, 20)}), other({0.01: (0, 10, 20)}, environment=deep)]
    assert list(compared(leaderboards(both), ["lunar", "other"])) == []


def test_one_sweep_is_compared_with_nothing() -> None:
    one = lunar({0.01: (0, 10, 20), 0.02: (0, 1, 2)})
    assert list(compared(leaderboards([one]), ["lunar"])) == []
