"""A slot without its role, under the real systemd: it is not ready, and its start goes on for as long as that takes."""

import pytest

from tests.machines.denied import Denied

pytestmark = pytest.mark.timeout(900)


def test_a_slot_that_may_not_receive_starts_for_longer_than_a_start_may_take_and_is_not_killed(denied: Denied) -> None:
    assert denied.waiting == {"ActiveState": "activating", "SubState": "start", "Result": "success"}


def test_as_soon_as_its_role_is_known_it_is_ready(denied: Denied) -> None:
    assert denied.served == {"ActiveState": "active", "SubState": "running", "Result": "success"}


def test_the_dead_mans_switch_counts_it_as_a_worker_only_then(denied: Denied) -> None:
    assert (denied.ready_while_waiting, denied.ready_when_served) == ("False", "True")
