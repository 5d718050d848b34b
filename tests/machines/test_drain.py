"""The retire service under the real systemd, from within its sandbox: it stops a slot that does not answer."""

import pytest

from tests.machines.drain import Drained

pytestmark = pytest.mark.timeout(900)


def test_a_busy_slot_is_stopped_and_has_given_its_job_back_before_its_vm_deletes_itself(drained: Drained) -> None:
    attempt = drained.manifest.attempts[-1]
    assert drained.manifest.status == "released", "else the VM went while its slot trained"
    assert attempt.ended in {"stopped", "drained"}
    assert attempt.to_step == attempt.reached_step > 0


def test_its_message_is_there_for_others_and_the_set_is_at_zero(drained: Drained) -> None:
    assert (drained.messages, drained.capacity) == (1, 0)
