"""Rows that damage, kill and drop, small."""

import pytest

from tests.proof.crash_points import SCENARIOS, points
from tests.proof.row import Row, told
from tests.proof.rows import broken_machine, corruption, crash_points, lost_replies, poison
from tests.proof.stage import Stage


@pytest.mark.parametrize("row", [crash_points.ROW, corruption.ROW, poison.ROW], ids=lambda row: row.key)
def test_the_promise_holds_in_a_few_trials(row: Row) -> None:
    found = row.run("small", told)
    assert list(found.failures) == []
    assert found.trials > 20


def test_the_promise_is_held_to_all_crash_points_that_there_are() -> None:
    assert crash_points.ROW.wanted == sum(len(list(points(scenario))) for scenario in SCENARIOS.values())


def test_an_answer_lost_after_the_fact_costs_no_claim(stage: Stage) -> None:
    found = lost_replies.play(stage, "small")
    assert list(found.failures) == []
    assert found.trials == 6


def test_a_restarted_azurite_a_full_disk_under_it_and_a_full_disk_of_a_worker_lose_nothing(stage: Stage) -> None:
    found = broken_machine.play(stage, "small")
    assert list(found.failures) == []
