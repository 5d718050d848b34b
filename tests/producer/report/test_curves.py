"""What a learning curve shows: seeds, a band only where it may, evictions where they happened."""

from dataclasses import replace
from typing import Any

import pytest

from producer.report.curves import Frame, RunCurve, SetCurves, description, draw, run_curve, set_curves
from producer.report.gather import Details, gather
from producer.results.progress import ProgressReader
from producer.sweep.confirm import with_fresh_seeds
from tests.fakes.plans import jobs_of
from tests.fakes.reported import lunar_plan, store_sweep
from tests.fakes.sweeps import attempt, running


def run(seed: int, *values: float, **more: Any) -> RunCurve:
    points = tuple((10 * (number + 1), value) for number, value in enumerate(values))
    return replace(RunCurve(seed, finished=True, points=points, evicted_at=(), inexact_at=()), **more)


def a_set(*runs: RunCurve) -> SetCurves:
    return SetCurves(0, "tau=0.01", 1, runs)


@pytest.mark.parametrize(("seeds", "banded"), [(1, None), (2, False), (4, False), (5, True), (8, True)])
def test_a_band_begins_at_five_seeds_and_a_mean_at_two(seeds: int, banded: bool | None) -> None:
    spread = a_set(*(run(seed, -100.0 + seed, 200.0 + seed) for seed in range(seeds))).spread
    if banded is None:
        assert spread == ()
        return
    assert [point.step for point in spread] == [10, 20]
    assert spread[0].mean == pytest.approx(-100 + (seeds - 1) / 2)
    assert [point.low is not None for point in spread] == [banded, banded]


def test_the_band_is_the_t_interval_of_the_mean_at_each_step() -> None:
    (point,) = a_set(*(run(seed, value) for seed, value in enumerate((200.0, 210.0, 220.0, 230.0, 240.0)))).spread
    # 2.776 is the t quantile at 97.5 % with 4 degrees of freedom; 15.81 the standard deviation.
    half = 2.776 * 15.811 / 5**0.5
    assert (point.low, point.high) == pytest.approx((220 - half, 220 + half), abs=0.01)


def test_the_mean_is_over_finished_seeds_at_steps_that_all_have() -> None:
    unfinished = run(2, 900.0, finished=False)
    spread = a_set(run(0, 1.0, 2.0, 3.0), run(1, 3.0, 4.0), unfinished).spread
    assert [(point.step, point.mean) for point in spread] == [(10, 2.0), (20, 3.0)]


def test_evictions_and_inexact_resumes_stand_where_they_happened() -> None:
    plan = lunar_plan(1, 1)
    (job,) = jobs_of(plan)
    attempts = (
        attempt(1, (0, 90_000), "vanished", reached_step=94_000),
        attempt(2, (90_000, 120_000), "evicted"),
        attempt(3, (120_000, 150_000), "stopped"),
        attempt(4, (150_000, 150_000), exact=False),
    )
    curve = run_curve(7, Details(running(job, 150_000, attempts=attempts)))
    assert curve.evicted_at == (94_000, 120_000)
    assert curve.inexact_at == (150_000,)
    assert not curve.finished
    words = description(a_set(curve))
    assert "Seed 7 was evicted at step 94,000 and 120,000." in words
    assert "Seed 7 went on inexactly from step 150,000." in words
    assert "There is no band" not in words


def test_the_marks_are_in_the_plot() -> None:
    marked = draw(a_set(run(0, 1.0, 2.0, evicted_at=(15,)), run(1, 2.0, 3.0)), Frame(20, 0.0, 4.0, None))
    plain = draw(a_set(run(0, 1.0, 2.0), run(1, 2.0, 3.0)), Frame(20, 0.0, 4.0, None))
    assert "var(--warn)" in marked
    assert "var(--warn)" not in plain


def test_one_frame_holds_all_runs_and_the_line_of_success() -> None:
    frame = Frame.around([a_set(run(0, -50.0, 100.0))], 20, 200.0)
    assert frame.low < -50 < 200 < frame.high
    assert Frame.around([], 20, 200.0).low < Frame.around([], 20, 200.0).high
    flat = Frame.around([a_set(run(0, 5.0, 5.0))], 20, None)
    assert flat.low < 5 < flat.high


def test_sets_come_by_rank_and_fresh_seeds_are_no_part_of_a_mean() -> None:
    plan = with_fresh_seeds(lunar_plan(3, 3), [0], 5)
    storage = store_sweep(plan, unfinished=(3, 4, 5))
    found = set_curves(gather(storage.blobs, ProgressReader(storage.blobs, "lunar", 120.0).read()))
    assert [one.rank for one in found] == [1, 2, None]
    assert {len(one.runs) for one in found} == {3}
    assert found[2].index == 1
    assert not any(run.finished for run in found[2].runs)
