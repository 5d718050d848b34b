"""Row 3, small: workers killed and paused over a real Azurite."""

from tests.proof.rows import kills, pauses
from tests.proof.stage import Stage


def test_workers_killed_at_random_lose_no_job_and_change_no_bit(stage: Stage) -> None:
    found = kills.play(stage, "small")
    assert list(found.failures) == []
    assert found.trials == 8


def test_a_holder_that_slept_until_others_had_its_job_overwrites_nothing(stage: Stage) -> None:
    found = pauses.play(stage, "small")
    assert list(found.failures) == []
    assert found.trials == 2
