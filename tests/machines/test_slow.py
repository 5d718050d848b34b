"""Under the real watchdog: what is slow, and not hung, is left alone, however long it takes."""

import pytest

from tests.machines.machine import PACE
from tests.machines.slow import SLOWED_S, Slow

pytestmark = pytest.mark.timeout(900)


def test_a_restore_longer_than_the_watchdog_waits_is_not_killed(slow: Slow) -> None:
    assert slow.restored_s > 2 * PACE.watchdog_s, "else nothing was tried"
    first, second = slow.manifest.attempts
    assert (first.ended, second.from_step) == ("vanished", first.to_step)


def test_a_final_evaluation_longer_than_the_watchdog_waits_is_not_killed(slow: Slow) -> None:
    assert slow.evaluating.status == "running", f"it was over within {SLOWED_S} s at a tenth of its speed"
    assert slow.evaluating.attempt_count == 2
    assert slow.manifest.status == "done"


def test_only_the_kill_of_the_test_ended_a_life_of_the_slot_and_nothing_counts_against_the_job(slow: Slow) -> None:
    assert slow.results == ["signal"]
    assert slow.manifest.counts.failures_in_a_row == 0
    assert all(attempt.exact for attempt in slow.manifest.attempts)
