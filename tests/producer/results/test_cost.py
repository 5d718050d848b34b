"""Claims about money: what is counted, what is known, and when a budget holds a sweep."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.results.cost import Price, cost_of, lost_seconds, price_of, price_table
from producer.results.fleet_view import FleetView, SlotView
from producer.results.progress import JobProgress
from tests.fakes.sweeps import Storage, make_plan
from worker.contract.control import SeenSlot, SlotReport

PRICE = Price(usd=0.16, slots=8, regular_usd=0.48, upper_bound=False, source="the target's settings")
BOUND = Price(usd=0.48, slots=8, regular_usd=0.48, upper_bound=True, source="the regular price")
PLAN = make_plan([{"tau": 0.01}], seeds=[0], budget_usd=1.0)


def job(seconds: float, reached: int = 0, lost_steps: int = 0) -> JobProgress:
    return JobProgress(
        PLAN.jobs[0].id, 0, 0, 200_000, "running", reached=reached, lost_steps=lost_steps, seconds=seconds
    )


def test_the_spend_is_the_time_of_all_attempts_by_the_share_of_a_slot() -> None:
    cost = cost_of([job(3_600), job(7_200)], PRICE)
    assert cost.usd == pytest.approx(3 * 0.16 / 8)
    assert cost.saved_usd == pytest.approx(3 * (0.48 - 0.16) / 8)
    assert str(cost) == "0.06 $"


def test_without_a_spot_price_the_spend_is_an_upper_bound_and_nothing_is_said_to_be_saved() -> None:
    cost = cost_of([job(3_600)], BOUND)
    assert cost.saved_usd is None
    assert str(cost) == "≤ 0.06 $"


def test_what_evictions_cost_is_the_share_of_the_steps_made_twice() -> None:
    evicted = job(1_000, reached=80_000, lost_steps=20_000)
    assert lost_seconds(evicted) == pytest.approx(200)
    assert cost_of([evicted], PRICE).lost_usd == pytest.approx(200 / 3600 * 0.16 / 8)


def test_a_job_that_never_ran_lost_nothing() -> None:
    assert lost_seconds(job(0)) == 0


def test_boots_and_idle_slots_stand_apart_from_the_spend() -> None:
    living = SlotReport(vm="vm-1", slot=0, state="idle", idle_s=3_600, boot_seconds=90)
    dead = SlotReport(vm="vm-2", slot=0, state="idle", idle_s=9_999, boot_seconds=90)
    slots = (SlotView(SeenSlot(living, "", 1), alive=True), SlotView(SeenSlot(dead, "", 999), alive=False))
    cost = cost_of([job(3_600)], PRICE, FleetView(0, 0, slots))
    assert (cost.usd, cost.idle_usd, cost.boot_usd) == pytest.approx((0.02, 0.02, 90 / 3600 * 0.02))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e7), max_size=20), st.integers(1, 64))
def test_a_sweep_costs_the_sum_of_its_jobs(seconds: list[float], slots: int) -> None:
    price = Price(0.5, slots, None, upper_bound=False, source="")
    whole = cost_of([job(one) for one in seconds], price).usd
    assert math.isclose(whole, sum(cost_of([job(one)], price).usd for one in seconds), rel_tol=1e-9, abs_tol=1e-12)


# ---- prices ----------------------------------------------------------------------------------------------------------


def test_the_table_says_when_and_whence_it_is() -> None:
    table = price_table()
    assert table.as_of == "2026-06-18"
    assert "Retail Prices" in table.source
    assert table.regular["westeurope"]["Standard_F8als_v6"] == 0.585


def test_prices_grow_with_the_size_within_a_family() -> None:
    for sizes in price_table().regular.values():
        assert sizes["Standard_F2als_v6"] < sizes["Standard_F8als_v6"] < sizes["Standard_F64als_v6"]


def test_a_size_in_the_table_has_its_regular_price_as_an_upper_bound() -> None:
    price = price_of(Storage().session(vm_size="Standard_F8als_v6").target)
    assert price is not None
    assert (price.usd, price.slots, price.upper_bound) == (0.585, 8, True)
    assert price.source == "the regular price of Standard_F8als_v6 in westeurope on 2026-06-18"


def test_the_targets_own_price_wins_over_the_table() -> None:
    price = price_of(Storage().session(vm_size="Standard_F8als_v6", price_usd=0.1).target)
    assert price == Price(0.1, 8, 0.585, upper_bound=False, source="the target's settings")


def test_the_targets_own_regular_price_wins_over_the_table() -> None:
    price = price_of(Storage().session(vm_size="Standard_F8als_v6", regular_price_usd=0.7).target)
    assert price == Price(0.7, 8, 0.7, upper_bound=True, source="the regular price in the target's settings")


@pytest.mark.parametrize("size", ["", "Standard_Unheard_of"])
def test_an_unknown_size_has_no_price(size: str) -> None:
    assert price_of(Storage().session(vm_size=size).target) is None
