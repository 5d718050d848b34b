"""Time and money: evicted attempts are in it, and what checkpoints saved is what later attempts began with."""

import pytest

from producer.report.gather import gather
from producer.report.money import Bill, bill
from producer.results.cost import price_of
from producer.results.progress import ProgressReader
from tests.fakes.reported import lunar_plan, store_sweep
from tests.fakes.sweeps import Storage

PRICE = {"vm_size": "Standard_F8als_v6", "price_usd": 0.16}


def billed(storage: Storage, **target: object) -> Bill:
    gathered = gather(storage.blobs, ProgressReader(storage.blobs, "lunar", 120.0).read())
    return bill(gathered, ["a", "b"], price_of(storage.session(**target).target))


def test_a_job_that_was_evicted_shows_all_its_attempts_and_what_they_cost() -> None:
    # Job 0 trained 900 s to step 90,000 (94,000 reached), and 1,100 s from there to 200,000: two attempts.
    found = billed(store_sweep(lunar_plan(1, 1)), **PRICE)
    (job,) = found.jobs
    assert job.usd == pytest.approx(2_000 / 3600 * 0.16 / 8)
    assert job.kept_steps == 90_000
    assert job.kept_seconds == pytest.approx(2_000 * 90_000 / 204_000)
    assert job.lost_seconds == pytest.approx(2_000 * 4_000 / 204_000)
    assert [(row.attempt.ended, row.attempt.seconds) for row in found.attempts] == [("vanished", 900), ("done", 1_100)]
    assert [row.usd for row in found.attempts] == pytest.approx([900 / 3600 * 0.02, 1_100 / 3600 * 0.02])
    assert found.sentence.startswith(
        "1 job went on from a checkpoint. Begun anew each time, they would have made 90,000"
    )


def test_a_sweep_without_evictions_says_that_checkpoints_saved_nothing() -> None:
    plan = lunar_plan(1, 2)
    storage = store_sweep(plan, unfinished=(0,))
    found = billed(storage)
    assert found.attempts == ()
    assert found.cost is None
    assert found.sentence == "No job went on from a checkpoint, so checkpoints saved nothing here."
    assert [job.usd for job in found.jobs] == [None, None]
