"""The heartbeat: lease and manifest follow progress; a storage that is gone too long ends the job (rules 4 and 5)."""

from dataclasses import replace

import pytest

from tests.fakes.hand_runtime import InlineRuntime
from tests.fakes.manifests import OTHER_NONCE, claim
from tests.fakes.slot import World, listening, silent
from tests.fakes.trainer import tiny_job
from tests.fakes.trouble import Trouble
from worker import fence
from worker.attempt import Attempt
from worker.contract import names
from worker.contract.settings import Durations
from worker.contract.through import BlobsThrough, QueueThrough
from worker.heartbeat import Heartbeat
from worker.lease import Lease
from worker.liveness import Liveness
from worker.stop import StopRequest

DURATIONS = Durations()


class Beating:
    """A claim with a heartbeat, all on one virtual clock."""

    def __init__(self) -> None:
        self.runtime, self.trouble, self.world = InlineRuntime(), Trouble(), World()
        self.job = tiny_job()
        self.world.enqueue(self.job)
        jobs = QueueThrough(self.world.jobs, self.trouble.through)
        self.slot = replace(
            self.world.slot(blobs=BlobsThrough(self.world.blobs, self.trouble.through), jobs=jobs, durations=DURATIONS),
            runtime=self.runtime,
            liveness=Liveness(self.runtime),
            stop=StopRequest(self.runtime),
        )
        message = jobs.receive(120)
        assert message is not None
        self.lease = Lease(jobs, message, 120, self.runtime)
        self.claim = fence.create(self.slot.blobs, self.runtime, claim(self.job), None)
        self.attempt = Attempt(self.slot, self.claim, silent())
        self.heartbeat = Heartbeat(self.slot, self.claim, self.lease, self.attempt, silent())

    def live(self, seconds: float, *, progress: bool = True) -> None:
        """Let the heartbeat's thread run for so long, with progress every second or with none."""
        if progress:
            for second in range(int(seconds)):
                self.runtime.after(second, self.slot.liveness.beat)
        self.runtime.after(seconds, self.heartbeat._ended.set)
        self.heartbeat._task.join()


def test_lease_and_manifest_are_kept_young_while_there_is_progress() -> None:
    beating = Beating()
    etag = beating.world.blobs.get(names.SWEEPS, names.manifest(beating.job.sweep, beating.job.id))
    beating.live(3000)
    assert beating.lease.age_s() <= DURATIONS.lease_renewal_s * 1.25
    assert beating.claim.age_s() <= DURATIONS.manifest_write_s * 1.25
    assert beating.claim.manifest.seconds > 2900
    found = beating.world.blobs.get(names.SWEEPS, names.manifest(beating.job.sweep, beating.job.id))
    assert etag is not None
    assert found is not None
    assert found.etag != etag.etag


def test_without_progress_neither_lease_nor_manifest_is_renewed() -> None:
    beating = Beating()
    beating.live(1000, progress=False)
    assert beating.lease.age_s() >= 1000 - DURATIONS.visibility_timeout_s - DURATIONS.lease_renewal_s
    assert beating.claim.age_s() >= 1000 - DURATIONS.visibility_timeout_s - DURATIONS.manifest_write_s
    assert beating.attempt.stop.reason is None


def test_a_short_outage_is_lived_through() -> None:
    beating = Beating()
    beating.runtime.after(100, lambda: setattr(beating.trouble, "down", True))
    beating.runtime.after(1000, lambda: setattr(beating.trouble, "down", False))
    beating.live(1100)
    assert beating.trouble.refused > 10
    assert beating.attempt.stop.reason is None
    assert beating.claim.age_s() <= DURATIONS.manifest_write_s * 1.25


def test_an_outage_longer_than_the_patience_stops_the_job_and_not_the_slot() -> None:
    beating = Beating()
    beating.trouble.down = True
    beating.live(DURATIONS.storage_patience_s - 20)
    assert beating.attempt.stop.reason is None
    longer = Beating()
    longer.trouble.down = True
    longer.live(DURATIONS.storage_patience_s + 20)
    assert longer.attempt.stop.reason == "storage"
    assert longer.slot.stop.reason is None


def test_a_claim_that_lost_its_job_stops_as_lost_and_writes_no_more() -> None:
    beating = Beating()
    stolen = claim(before=beating.claim.manifest, nonce=OTHER_NONCE, worker="vm2/0")
    name = names.manifest(beating.job.sweep, beating.job.id)
    beating.world.blobs.put(names.SWEEPS, name, stolen.canonical())
    beating.live(300)
    assert beating.attempt.stop.reason == "lost"
    found = beating.world.blobs.get(names.SWEEPS, name)
    assert found is not None
    assert found.body == stolen.canonical()


def test_a_lost_lease_trains_on_under_the_fence() -> None:
    beating = Beating()
    beating.world.clock.now_s += 121
    assert beating.world.jobs.receive(120) is not None
    beating.live(600)
    assert beating.lease.lost
    assert beating.attempt.stop.reason is None
    assert beating.claim.age_s() <= DURATIONS.manifest_write_s * 1.25


def test_a_manifest_that_has_ended_is_not_brought_back_to_life() -> None:
    beating = Beating()
    beating.claim.write(lambda manifest: manifest.model_copy(update={"status": "done", "step": 60}))
    ended = beating.claim.manifest
    beating.live(600)
    assert beating.world.manifest(beating.job) == ended


def test_what_the_heartbeat_dies_of_is_said_and_stops_job_and_slot_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    beating = Beating()
    log, events = listening()
    slot = replace(beating.slot, log=log)
    monkeypatch.setattr(beating.lease, "renew", [].pop)
    heartbeat = Heartbeat(slot, beating.claim, beating.lease, beating.attempt, silent())
    for second in range(100):
        beating.runtime.after(second, slot.liveness.beat)
    heartbeat._task.join()
    assert (beating.attempt.stop.reason, slot.stop.reason) == ("stopped", "stopped")
    (event,) = events
    assert (event["event"], event["thread"]) == ("thread.raised", "heartbeat")
    assert "IndexError: pop from empty list" in str(event["trace"])
