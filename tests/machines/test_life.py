"""The units under the real systemd: what is done to a slot or its VM costs its job time, and nothing else."""

import pytest

from producer.emulator.states import Power
from tests.machines.life import Life
from worker.exit_status import LEAVES, STOPPED

pytestmark = pytest.mark.timeout(900)


def test_a_slot_that_is_stopped_commits_gives_its_job_back_and_ends_in_time(life: Life) -> None:
    expected = {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": str(STOPPED)}
    assert expected.items() <= life.stopped.items(), "else systemd had to kill it"
    attempt = life.given_back.attempts[-1]
    assert (life.given_back.status, attempt.ended) == ("released", "stopped")
    assert life.given_back.generations[0].step == attempt.to_step == attempt.reached_step > 0


def test_a_slot_that_is_killed_is_started_again_and_goes_on_with_its_job(life: Life) -> None:
    expected = {"ActiveState": "active", "NRestarts": "1"}
    assert expected.items() <= life.killed.items()
    _, killed, after, *_ = life.manifest.attempts
    assert (killed.ended, after.worker, after.from_step) == ("vanished", killed.worker, killed.to_step)


def test_a_vm_that_powers_itself_off_is_stopped_and_its_job_goes_on_on_another(life: Life) -> None:
    assert life.poweroff is Power.STOPPED
    _, _, cut, after, *_ = life.manifest.attempts
    assert (cut.ended, cut.worker) == ("vanished", f"{life.vms[0]}/0")
    assert (after.worker, after.from_step) == (f"{life.vms[1]}/0", cut.to_step)


def test_after_a_notice_a_slot_commits_and_is_not_started_again(life: Life) -> None:
    expected = {"ActiveState": "inactive", "SubState": "dead", "ExecMainStatus": str(LEAVES), "NRestarts": "0"}
    assert expected.items() <= life.preempted.items(), "a slot of a dying VM would take its own job back"
    evicted = life.manifest.attempts[3]
    assert (evicted.ended, evicted.to_step) == ("evicted", evicted.reached_step)


def test_none_of_it_counts_against_the_job_or_changes_a_bit_of_its_result(life: Life, straight: str) -> None:
    assert life.manifest.counts.failures_in_a_row == 0
    assert life.manifest.status == "done"
    assert len(life.manifest.attempts) == 5
    assert len(set(life.vms)) == 3
    assert all(attempt.exact for attempt in life.manifest.attempts)
    assert life.digest == straight


def test_idle_the_last_vm_deletes_itself_and_the_set_is_at_zero(life: Life) -> None:
    assert life.left == 0
