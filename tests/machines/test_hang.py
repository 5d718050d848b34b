"""A slot that hangs under the real systemd: killed by its watchdog, counted by its witness, and its job goes on."""

import pytest

from tests.machines.hang import Hung

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_hung_slot_is_killed_by_its_watchdog_which_counts_against_the_job(hang: dict[str, Hung], how: str) -> None:
    found = hang[how]
    assert found.results == ["watchdog"]
    first = found.after.attempts[0]
    assert (first.ended, first.reason) == ("killed", "no progress: the watchdog killed the slot")
    assert found.after.counts.failures_in_a_row == 1


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_its_job_goes_on_bit_for_bit_when_systemd_has_started_it_again(
    hang: dict[str, Hung], how: str, long_straight: str
) -> None:
    assert hang[how].digest == long_straight


def test_each_slot_has_a_core_of_its_own_and_no_rights(hang: dict[str, Hung]) -> None:
    assert {found.unit: found.cores for found in hang.values()} == {
        f"sweep-worker@{core}.service": {core} for core in (0, 1)
    }
    assert len({found.user for found in hang.values()}) == 1
    assert all(61184 <= found.user <= 65519 for found in hang.values()), "the range of systemd's dynamic users"
