"""Claims about which jobs a worker finds planned."""

import pytest

from tests.fakes.slot import plan_of_one
from tests.fakes.storage import MemoryBlobs
from tests.fakes.trainer import tiny_job
from worker.contract import names
from worker.contract.errors import StorageUnavailable
from worker.contract.records import Stored
from worker.plans import Plans

JOB = tiny_job(timesteps=250)
NAME = names.plan(JOB.sweep)


class CountedBlobs(MemoryBlobs):
    """Counts whole reads."""

    reads = 0

    def get(self, container: str, name: str, beat: object = None) -> Stored | None:
        self.reads += 1
        return super().get(container, name)


@pytest.fixture
def blobs() -> CountedBlobs:
    blobs = CountedBlobs(lambda: 0.0)
    blobs.put(names.SWEEPS, NAME, plan_of_one(JOB).canonical())
    return blobs


def test_a_job_of_another_seed_is_not_planned(blobs: CountedBlobs) -> None:
    plans = Plans(blobs)
    assert plans.names(JOB)
    assert not plans.names(tiny_job(seed=9, timesteps=250))


def test_a_plan_that_stays_is_read_once(blobs: CountedBlobs) -> None:
    plans = Plans(blobs)
    assert [plans.names(JOB) for _ in range(3)] == [True] * 3
    assert blobs.reads == 1


def test_a_job_whose_sweep_was_deleted_meanwhile_is_planned_no_more(blobs: CountedBlobs) -> None:
    plans = Plans(blobs)
    assert plans.names(JOB)
    blobs.delete(names.SWEEPS, NAME)
    assert not plans.names(JOB)


def test_a_tombstone_plans_nothing(blobs: CountedBlobs) -> None:
    plans = Plans(blobs)
    assert plans.names(JOB)
    blobs.put(names.SWEEPS, NAME, plan_of_one(JOB).model_copy(update={"deleted": True}).canonical())
    assert not plans.names(JOB)


def test_a_job_that_an_update_added_is_planned(blobs: CountedBlobs) -> None:
    plans, added = Plans(blobs), tiny_job(seed=9, timesteps=250)
    assert not plans.names(added)
    blobs.put(names.SWEEPS, NAME, plan_of_one(added).canonical())
    assert plans.names(added)


def test_a_plan_that_cannot_be_read_discards_no_message(blobs: CountedBlobs) -> None:
    blobs.put(names.SWEEPS, NAME, b'{"schema": 99}')
    with pytest.raises(StorageUnavailable, match="cannot be read by this release"):
        Plans(blobs).names(JOB)
