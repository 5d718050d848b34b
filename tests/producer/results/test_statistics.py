"""Claims about the statistics, against published values, SciPy's references and cases worked by hand."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from producer.results import statistics

SCORES = [180.0, 221.0, 235.0, 198.0, 240.0]
TEN = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 1000.0]
finite = st.floats(-1e4, 1e4, allow_nan=False)


def test_below_five_runs_a_mean_has_no_interval() -> None:
    assert statistics.mean_interval(SCORES[:4]) is None


def test_the_interval_of_a_mean_is_that_of_scipys_t_test() -> None:
    interval = statistics.mean_interval(SCORES)
    expected = stats.ttest_1samp(SCORES, 0.0).confidence_interval(0.95)
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert (interval.method, interval.runs) == ("t", 5)


def test_the_interquartile_mean_drops_a_quarter_at_each_end_and_needs_ten_runs() -> None:
    assert statistics.interquartile_mean(TEN) == pytest.approx((30 + 40 + 50 + 60 + 70 + 80) / 6)
    assert statistics.interquartile_mean(TEN[:9]) is None


def test_the_interval_of_an_interquartile_mean_is_bca_and_the_same_every_time() -> None:
    interval = statistics.iqm_interval(TEN)
    assert interval is not None
    assert interval.method == "BCa"
    assert interval.low < 55.0 < interval.high
    assert interval == statistics.iqm_interval(TEN)


def test_equal_runs_have_no_bootstrap_interval() -> None:
    assert statistics.iqm_interval([7.0] * 10) is None


def test_welchs_p_is_that_of_its_formula() -> None:
    first, second = [212.0, 180.0, 221.0], [150.0, 190.0, 140.0, 160.0]
    spread = [stats.tvar(first) / 3, stats.tvar(second) / 4]
    t = (sum(first) / 3 - sum(second) / 4) / math.sqrt(sum(spread))
    freedom = sum(spread) ** 2 / (spread[0] ** 2 / 2 + spread[1] ** 2 / 3)
    (p,) = statistics.welch(first, [second])
    assert p == pytest.approx(2 * stats.t.sf(abs(t), freedom))


def test_every_set_is_tested_against_the_leader_where_that_can_be_done() -> None:
    leader, sets = [3.0, 4.0, 5.0], [[1.0, 2.0, 2.5], [1.0], [2.0, 2.0], [3.5, 4.5]]
    p_values = statistics.welch(leader, sets)
    assert p_values[1] is None
    for index in (0, 3):
        assert p_values[index] == pytest.approx(stats.ttest_ind(leader, sets[index], equal_var=False).pvalue)
    # Against a set without spread only the leader's counts: t = (4 − 2) / √(1/3) with 2 degrees of freedom.
    assert p_values[2] == pytest.approx(2 * stats.t.sf(2 * math.sqrt(3), 2))
    assert statistics.welch(leader, []) == ()


@pytest.mark.parametrize(
    ("first", "second"), [([1.0], [2.0, 3.0]), ([2.0, 2.0], [1.0, 1.0]), ([0.1 + 0.2, 0.3], [0.3, 0.1 + 0.2])]
)
def test_without_spread_there_is_no_test(first: list[float], second: list[float]) -> None:
    assert statistics.welch(first, [second]) == (None,)


def test_holm_corrects_as_in_the_textbook() -> None:
    assert statistics.holm([0.01, 0.04, None, 0.03, 0.005]) == pytest.approx((0.03, 0.06, None, 0.06, 0.02))


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=30))
def test_a_corrected_p_is_never_below_the_raw_one_and_keeps_the_order(raw: list[float | None]) -> None:
    corrected = statistics.holm(raw)
    assert [p is None for p in corrected] == [p is None for p in raw]
    pairs = sorted((p, q) for p, q in zip(raw, corrected, strict=True) if p is not None and q is not None)
    assert all(p <= q <= 1 for p, q in pairs)
    assert [q for _, q in pairs] == sorted(q for _, q in pairs)


def test_the_share_of_leading_is_that_of_the_draws_worked_out_by_hand() -> None:
    # Two draws from (0, 1) have a mean of 0, 0.5 or 1 in 1, 2 and 1 of 4 cases; 0.4 is beaten by the last two.
    shares = statistics.rank_one_shares([[0.0, 1.0], [0.4, 0.4]])
    assert shares is not None
    assert shares[0] == pytest.approx(0.75, abs=0.02)


def test_a_set_with_one_run_makes_the_share_of_leading_unknown() -> None:
    assert statistics.rank_one_shares([[1.0, 2.0], [3.0]]) is None


def test_a_set_that_is_alone_has_no_share_of_leading() -> None:
    assert statistics.rank_one_shares([[1.0, 2.0]]) is None


@settings(deadline=None)
@given(st.lists(st.lists(finite, min_size=2, max_size=6), min_size=2, max_size=6))
def test_shares_of_leading_add_up_to_one(sets: list[list[float]]) -> None:
    shares = statistics.rank_one_shares(sets)
    assert shares is not None
    assert sum(shares) == pytest.approx(1.0)


@pytest.mark.parametrize(("effect", "seeds"), [(0.8, 26), (1.0, 17), (1.2, 12), (1.5, 9), (2.0, 6)])
def test_seeds_for_an_effect_are_those_of_published_power_tables(effect: float, seeds: int) -> None:
    assert statistics.seeds_for_effect(effect) == seeds


def test_an_effect_of_half_a_deviation_needs_64_seeds_which_is_too_many() -> None:
    assert statistics.seeds_for_effect(0.5) is None


def test_the_seeds_to_separate_two_sets_come_from_their_pooled_deviation() -> None:
    # Variances 100 and 300 over 2 and 2 degrees of freedom pool to 200: an effect of 20 / √200.
    first, second = [110.0, 120.0, 130.0], [100.0 - math.sqrt(300), 100.0, 100.0 + math.sqrt(300)]
    assert statistics.seeds_to_separate(first, second) == statistics.seeds_for_effect(20 / math.sqrt(200))


@pytest.mark.parametrize(
    ("first", "second", "seeds"),
    [([1.0, 2.0], [1.0, 2.0], None), ([1.0], [5.0, 6.0], None), ([2.0, 2.0], [1.0, 1.0], 2)],
)
def test_what_cannot_be_separated_says_so(first: list[float], second: list[float], seeds: int | None) -> None:
    assert statistics.seeds_to_separate(first, second) == seeds


@settings(deadline=None)
@given(st.floats(0.6, 1e6))
def test_a_larger_effect_never_needs_more_seeds(effect: float) -> None:
    fewer, more = statistics.seeds_for_effect(effect * 1.1), statistics.seeds_for_effect(effect)
    assert fewer is not None
    assert more is not None
    assert 2 <= fewer <= more


@pytest.mark.parametrize(("sets", "errors"), [(1, 0.0), (2, 0.5642), (3, 0.8463), (10, 1.5388), (20, 1.8675)])
def test_the_best_of_equals_looks_as_much_better_as_normal_order_statistics_say(sets: int, errors: float) -> None:
    assert statistics.best_of_equals(sets) == pytest.approx(errors, abs=1e-4)
