"""Real worker processes over a real Azurite, killed, paused, and behind a bad network (rows 3, 5 and 11), small."""

from tests.proof.herd import Herd
from tests.proof.rows import crash_azurite, kills, pauses, producers, soak
from tests.proof.stage import Stage


def test_workers_killed_at_random_lose_no_job_and_change_no_bit(stage: Stage, herd: Herd) -> None:
    found = kills.play(stage, herd, "small")
    assert list(found.failures) == []
    assert found.trials == 8


def test_a_holder_that_slept_until_others_had_its_job_overwrites_nothing(stage: Stage, herd: Herd) -> None:
    found = pauses.play(stage, herd, "small")
    assert list(found.failures) == []
    assert found.trials == 2


def test_a_bad_network_with_a_blackout_loses_no_job_and_changes_no_bit(stage: Stage, herd: Herd) -> None:
    found = soak.play(stage, herd, "small")
    assert list(found.failures) == []
    assert int(found.figures["requests: reset"]) > 0


def test_a_worker_that_is_killed_at_a_request_leaves_old_or_new_and_its_job_ends_once(stage: Stage, herd: Herd) -> None:
    found = crash_azurite.play(stage, herd, "small")
    assert list(found.failures) == []
    assert found.trials >= 3


def test_a_producer_that_is_killed_is_mended_by_the_same_command(stage: Stage, herd: Herd) -> None:
    found = producers.play(stage, herd, "small")
    assert list(found.failures) == []
    assert found.trials == 4
