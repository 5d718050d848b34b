"""The fence: who may write a job's manifest, and what an ambiguous answer means (rules 2 and 3)."""

import threading
from collections.abc import Callable, Mapping

import pytest

from tests.fakes.manifests import NONCE, OTHER_NONCE, claim, generation
from tests.fakes.slot import Clock
from tests.fakes.storage import MemoryBlobs
from tests.fakes.trainer import tiny_job
from worker import decisions, fence
from worker.contract import names
from worker.contract.errors import ConditionFailed, OwnershipLost, StorageUnavailable
from worker.contract.manifest import Manifest
from worker.contract.records import Condition
from worker.contract.runtime import RealRuntime
from worker.decisions import Seen

JOB = tiny_job()
NAME = names.manifest(JOB.sweep, JOB.id)
RUNTIME = RealRuntime()
Change = Callable[[Manifest], Manifest]


class LostReplies(MemoryBlobs):
    """Applies a write, and answers as the SDK does after it sent the write once more: refused."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.lose = 0
        self.before_put: Callable[[], None] = lambda: None
        self.puts = 0

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        self.puts += 1
        self.before_put()
        etag = super().put(container, name, body, condition, metadata)
        if self.lose:
            self.lose -= 1
            raise ConditionFailed("The second request found what the first one wrote.")
        return etag


def seen(blobs: MemoryBlobs) -> Seen:
    found = fence.read_manifest(blobs, JOB.sweep, JOB.id)
    assert found is not None
    return found


def further(step: int) -> Callable[[Manifest], Manifest]:
    return lambda manifest: manifest.model_copy(update={"reached": step})


@pytest.mark.parametrize("again", [False, True])
def test_of_many_claims_at_once_one_wins(again: bool) -> None:
    blobs = MemoryBlobs(Clock())
    if again:
        fence.create(blobs, RUNTIME, claim(), None)
    found = fence.read_manifest(blobs, JOB.sweep, JOB.id)
    together, won, lost = threading.Barrier(8), list[str](), list[str]()

    def work(nonce: str) -> None:
        manifest = claim(before=found.manifest if found else None, nonce=nonce)
        together.wait(30)
        try:
            fence.create(blobs, RUNTIME, manifest, found)
        except OwnershipLost:
            lost.append(nonce)
        else:
            won.append(nonce)

    threads = [threading.Thread(target=work, args=(f"{number:016x}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 7)
    assert seen(blobs).manifest.nonce == won[0]
    assert seen(blobs).manifest.epoch == (2 if again else 1)


def test_a_claim_over_what_has_changed_since_it_was_seen_is_lost() -> None:
    blobs = MemoryBlobs(Clock())
    first = fence.create(blobs, RUNTIME, claim(), None)
    old = seen(blobs)
    first.write(further(5))
    with pytest.raises(OwnershipLost):
        fence.create(blobs, RUNTIME, claim(before=old.manifest, nonce=OTHER_NONCE), old)
    assert seen(blobs).manifest == first.manifest


def test_a_claim_whose_reply_was_lost_is_ours() -> None:
    blobs = LostReplies()
    blobs.lose = 1
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    claimed.write(further(5))  # with the ETag that was adopted
    assert blobs.puts == 2
    assert seen(blobs).manifest.reached == 5


def test_a_write_whose_reply_was_lost_is_adopted_and_not_repeated() -> None:
    blobs = LostReplies()
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    blobs.lose = 1
    claimed.write(further(5))
    assert blobs.puts == 2
    before, after = claimed.write(further(6))
    assert (before.reached, after.reached) == (5, 6)
    assert seen(blobs).manifest == claimed.manifest == after


def test_an_earlier_write_of_ours_that_comes_late_is_written_over() -> None:
    blobs = LostReplies()
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    late = claimed.manifest.model_copy(update={"reached": 3})

    def arrive() -> None:
        blobs.before_put = lambda: None
        MemoryBlobs.put(blobs, names.SWEEPS, NAME, late.canonical())

    blobs.before_put = arrive
    claimed.write(further(5))
    assert seen(blobs).manifest.reached == 5
    claimed.write(further(6))
    assert seen(blobs).manifest.reached == 6


def test_changes_of_our_own_without_end_are_an_outage() -> None:
    blobs = LostReplies()
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    late = claimed.manifest.model_copy(update={"reached": 3})

    def arrive() -> None:
        MemoryBlobs.put(blobs, names.SWEEPS, NAME, late.canonical())

    blobs.before_put = arrive
    with pytest.raises(StorageUnavailable, match="in a row"):
        claimed.write(further(5))
    assert blobs.puts == 1 + fence.REWRITES
    blobs.before_put = lambda: None
    claimed.write(further(6))
    assert seen(blobs).manifest.reached == 6


class Unanswered(MemoryBlobs):
    """Applies the next write, and never says so."""

    def __init__(self) -> None:
        super().__init__(Clock())
        self.silent = False

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        etag = super().put(container, name, body, condition, metadata)
        if self.silent:
            self.silent = False
            raise StorageUnavailable("The connection broke.")
        return etag


def test_a_commit_that_nobody_knew_of_is_not_taken_back_by_the_next_heartbeat() -> None:
    blobs = Unanswered()
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    blobs.silent = True
    with pytest.raises(StorageUnavailable):
        claimed.write(lambda manifest: decisions.committed(manifest, generation(5), None, {}))
    before, after = claimed.write(further(7))
    assert [one.step for one in before.generations] == [5]
    assert (after.step, after.reached) == (5, 7)
    assert seen(blobs).manifest == after


@pytest.mark.parametrize("again", [further(9), lambda manifest: decisions.failed(manifest, "failed", "it raised")])
def test_an_end_that_nobody_knew_of_stands_whatever_this_claim_writes_next(again: Change) -> None:
    blobs = Unanswered()
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    blobs.silent = True
    with pytest.raises(StorageUnavailable):
        claimed.write(lambda manifest: decisions.failed(manifest, "failed", "it raised"))
    end = seen(blobs)
    for _ in range(2):
        assert claimed.write(again)[1] == end.manifest
    assert seen(blobs) == end
    assert end.manifest.counts.failures_in_a_row == 1


def test_another_nonce_fences_whoever_was_silent() -> None:
    blobs = MemoryBlobs(Clock())
    silent = fence.create(blobs, RUNTIME, claim(), None)
    quick = fence.create(blobs, RUNTIME, claim(before=silent.manifest, nonce=OTHER_NONCE, worker="vm2/0"), seen(blobs))
    for _ in range(2):
        with pytest.raises(OwnershipLost, match="Epoch 2 belongs to vm2/0"):
            silent.write(further(5))
    assert seen(blobs).manifest == quick.manifest
    assert quick.still_mine()
    assert not silent.still_mine()


def test_who_lost_its_job_to_a_person_is_told_so() -> None:
    blobs = MemoryBlobs(Clock())
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    ended = claimed.manifest.model_copy(update={"worker": "", "nonce": OTHER_NONCE, "status": "cancelled"})
    blobs.put(names.SWEEPS, NAME, ended.canonical())
    with pytest.raises(OwnershipLost, match="a person"):
        claimed.write(further(5))


def test_a_deleted_sweep_is_lost_and_not_brought_back() -> None:
    blobs = MemoryBlobs(Clock())
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    blobs.delete(names.SWEEPS, NAME)
    with pytest.raises(OwnershipLost, match="deleted"):
        claimed.write(further(5))
    assert not claimed.still_mine()
    assert blobs.get(names.SWEEPS, NAME) is None


def test_a_claim_never_changes_its_nonce() -> None:
    blobs = MemoryBlobs(Clock())
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    before = seen(blobs)
    with pytest.raises(OwnershipLost):
        claimed.write(lambda manifest: manifest.model_copy(update={"nonce": OTHER_NONCE}))
    assert claimed.manifest.nonce == NONCE
    assert seen(blobs) == before


@pytest.mark.parametrize("body", [b"", b"{}", b"not JSON", b'{"schema_version": 2}'])
def test_a_manifest_that_cannot_be_read_is_an_outage_and_stays(body: bytes) -> None:
    blobs = MemoryBlobs(Clock())
    blobs.put(names.SWEEPS, NAME, body)
    with pytest.raises(StorageUnavailable, match="cannot be read"):
        fence.read_manifest(blobs, JOB.sweep, JOB.id)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"schema_version": 2}'])
def test_a_claim_that_finds_an_unreadable_manifest_in_its_place_says_that_of_the_storage(body: bytes) -> None:
    blobs = MemoryBlobs(Clock())
    claimed = fence.create(blobs, RUNTIME, claim(), None)
    blobs.put(names.SWEEPS, NAME, body)
    with pytest.raises(StorageUnavailable, match="cannot be read"):
        claimed.write(further(5))
    found = blobs.get(names.SWEEPS, NAME)
    assert found is not None
    assert found.body == body


def test_a_job_that_was_never_claimed_has_no_manifest() -> None:
    assert fence.read_manifest(MemoryBlobs(Clock()), JOB.sweep, JOB.id) is None


def test_a_write_that_failed_leaves_the_claim_as_it_was() -> None:
    blobs = LostReplies()
    claimed = fence.create(blobs, RUNTIME, claim(), None)

    def down() -> None:
        raise StorageUnavailable("An outage.")

    blobs.before_put = down
    with pytest.raises(StorageUnavailable):
        claimed.write(further(5))
    assert claimed.manifest.reached == 0
    blobs.before_put = lambda: None
    assert claimed.write(further(6))[0].reached == 0


def test_writes_from_two_threads_lose_nothing_of_each_other() -> None:
    blobs = MemoryBlobs(Clock())
    claimed = fence.create(blobs, RUNTIME, claim(), None)

    def count() -> None:
        for _ in range(50):
            claimed.write(lambda manifest: manifest.model_copy(update={"lost_steps": manifest.lost_steps + 1}))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen(blobs).manifest.lost_steps == 200
