"""The lease of a message: every renewal's receipt is the next one's, and a lost one ends nothing (rules 2 and 3)."""

import pytest

from tests.fakes.hand_runtime import HandRuntime
from tests.fakes.slot import Clock
from tests.fakes.storage import MemoryQueue
from tests.fakes.trouble import Trouble
from worker.contract.errors import StorageUnavailable
from worker.contract.through import QueueThrough
from worker.lease import Lease


class Held:
    """A message that is leased for 120 s."""

    def __init__(self) -> None:
        self.clock, self.runtime, self.trouble = Clock(), HandRuntime(), Trouble()
        self.queue = MemoryQueue(self.clock)
        self.queue.send("job")
        message = self.queue.receive(120)
        assert message is not None
        self.lease = Lease(QueueThrough(self.queue, self.trouble.through), message, 120, self.runtime)


def test_a_renewal_hides_the_message_again_each_time() -> None:
    held = Held()
    for _ in range(3):
        held.clock.now_s += 100
        held.lease.renew()
    held.clock.now_s += 119
    assert held.queue.receive(30) is None
    held.clock.now_s += 1
    assert held.queue.receive(30) is not None


def test_a_renewal_makes_the_lease_young_and_a_failed_one_does_not() -> None:
    held = Held()
    held.runtime.now_s += 50
    held.trouble.down = True
    with pytest.raises(StorageUnavailable):
        held.lease.renew()
    assert held.lease.age_s() == 50.0
    assert not held.lease.lost
    held.trouble.down = False
    held.lease.renew()
    assert held.lease.age_s() == 0.0


@pytest.mark.parametrize("after_s", [0.0, 30.0])
def test_a_message_given_back_is_visible_when_it_was_said(after_s: float) -> None:
    held = Held()
    held.lease.give_back(after_s)
    held.clock.now_s += max(after_s - 1, 0)
    assert (held.queue.receive(30) is None) == (after_s > 0)
    held.clock.now_s += 31
    assert held.queue.receive(30) is not None


def test_a_renewal_after_loss_never_resurrects_the_lease() -> None:
    held = Held()
    held.clock.now_s += 121
    other = held.queue.receive(120)
    assert other is not None
    held.lease.renew()
    assert held.lease.lost
    held.trouble.down = True  # from here on nothing is asked of the queue
    held.lease.renew()
    held.lease.give_back()
    held.lease.delete()
    assert held.queue.count() == 1


def test_a_deletion_with_a_stale_receipt_leaves_the_message_to_its_holder() -> None:
    held = Held()
    held.clock.now_s += 121
    assert held.queue.receive(120) is not None
    held.lease.delete()
    assert held.lease.lost
    assert held.queue.count() == 1
