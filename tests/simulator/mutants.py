"""One rule of the protocol broken at a time, in the real code: what the simulator has to notice.

Each mutant replaces one function, as somebody who did not know the rule might have written it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

import producer.fleet.reconcile
import worker.fence
import worker.job_run
import worker.loop
from producer.fleet.look import Look, Policy
from producer.fleet.memory import Memory
from tests.simulator.scenario import scenario_of
from tests.simulator.world import play
from worker import decisions
from worker.checkpoint import CheckpointStore
from worker.contract import names
from worker.contract.manifest import Ended, Manifest
from worker.contract.records import BlobStore
from worker.decisions import Adopt, Seen
from worker.fence import Fence
from worker.heartbeat import Heartbeat
from worker.lease import Lease
from worker.loop import Loop
from worker.presence import Presence
from worker.slot import Slot
from worker.vm import retire

Replace = tuple[object, str, object]


def _no_if_match(blobs: BlobStore, manifest: Manifest, etag: str | None) -> Adopt:
    name = names.manifest(manifest.job.sweep, manifest.job.id)
    return Adopt(Seen(manifest, blobs.put(names.SWEEPS, name, manifest.canonical(), None, manifest.metadata()), 0.0))


def _takes_back(self: Fence, change: Callable[[Manifest], Manifest]) -> tuple[Manifest, Manifest]:
    """The write of a claim as it once was: over whatever of its own it finds."""
    before = self.manifest
    after = change(before)
    stands = worker.fence._put(self._blobs, after, self._etag)
    while not isinstance(stands, Adopt):
        stands = worker.fence._put(self._blobs, after, stands.seen.etag)
    self.manifest, self._etag = after, stands.seen.etag
    self._written_s = self._runtime.monotonic()
    return before, after


def _turn_with_flags_first(self: Loop) -> bool:
    slot = self._slot
    if self._is_flagged():
        return False
    message = slot.jobs.receive(slot.durations.visibility_timeout_s)
    slot.signs.idle()
    if message is None:
        return False
    self._handle(message, Lease(slot.jobs, message, slot.durations.visibility_timeout_s, slot.runtime))
    return True


_claim = worker.job_run._claim


def _deletes_early(slot: Slot, job: Any, lease: Lease, seen: Seen | None) -> Fence:
    claim = _claim(slot, job, lease, seen)
    lease.delete()
    return claim


_update = Lease._update


def _forgets_receipt(self: Lease, seconds: float) -> None:
    receipt = self._receipt
    _update(self, seconds)
    self._receipt = receipt


def _collects_by_listing(self: CheckpointStore, garbage: object) -> None:
    manifest = self._fence.manifest
    keep = frozenset[str]().union(*(generation.blob_names() for generation in manifest.generations))
    for blob in self._blobs.list(names.CHECKPOINTS, names.checkpoint(self._job.sweep, self._job.id)):
        if blob.name not in keep:
            self._blobs.delete(names.CHECKPOINTS, blob.name)


_on_message = decisions.on_message


def _takes_running(message_id: str, seen: Seen | None, **rest: Any) -> decisions.Decision:
    return _on_message(message_id, seen, **{**rest, "visibility_timeout_s": 0.0})


def _counts_evictions(manifest: Manifest, ended: Ended, reason: str = "") -> Manifest:
    return decisions.failed(manifest, ended, reason or str(ended))


_upload = CheckpointStore.upload


def _names_before_upload(self: CheckpointStore, snapshot: Any, base: Any) -> Any:
    """Names a state that is yet to be uploaded."""
    generation = _upload(self, snapshot, base)
    self._blobs.delete(names.CHECKPOINTS, generation.state.name)
    return generation


_retire_decide = retire.decide


def _leaves_at_any_count(look: retire.VmLook, state: retire.RetireState, durations: Any) -> retire.Step:
    return _retire_decide(replace(look, count=0), state, durations)


def _does_not_ask(vm: str, look: Look, memory: Memory, policy: Policy) -> bool:
    return True


def _state_without_nonce(sweep: str, job: str, nonce: str, step: int, serial: int) -> str:
    return f"{names.checkpoint(sweep, job)}state-{step:09d}-{serial}"


def _reads_no_hold(*_: object) -> None:
    return None


_presence = Presence.__init__


def _presence_by_the_slots_client(self: Presence, slot: Slot, supervisor: Any) -> None:
    _presence(self, replace(slot, presence_blobs=slot.blobs), supervisor)


MUTANTS: Final[Mapping[str, tuple[Replace, ...]]] = {
    "no If-Match on the manifest": ((worker.fence, "_put", _no_if_match),),
    "an own write that nobody knew of is taken back": ((Fence, "write", _takes_back),),
    "flags are read before the receive, not after": ((Loop, "_turn", _turn_with_flags_first),),
    "the message is deleted at the claim": ((worker.job_run, "_claim", _deletes_early),),
    "the old pop receipt is used for ever": ((Lease, "_update", _forgets_receipt),),
    "the lease is not renewed": ((Lease, "renew", lambda self: None),),
    "garbage is what a listing shows": ((CheckpointStore, "collect", _collects_by_listing),),
    "a job is taken from a living worker": ((decisions, "on_message", _takes_running),),
    "an eviction counts as a failure": ((decisions, "given_back", _counts_evictions),),
    "a manifest names what is not there": ((CheckpointStore, "upload", _names_before_upload),),
    "blobs of two claims have one name": ((names, "state", _state_without_nonce),),
    "a missing blob is corruption, whoever owns the job": ((Fence, "still_mine", lambda self: True),),
    "the hold is not read before a claim": ((worker.loop, "hold_on", _reads_no_hold),),
    "a drained VM is deleted before its slots answered": ((producer.fleet.reconcile, "_answered", _does_not_ask),),
    "presence feeds the watchdog": ((Presence, "__init__", _presence_by_the_slots_client),),
    "the heartbeat is not joined": ((Heartbeat, "join", lambda self: self._ended.set()),),
    "a retiring VM leaves whatever the queue holds": ((retire, "decide", _leaves_at_any_count),),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Let the code be this mutant."""
    with ExitStack() as stack:
        for replaced in MUTANTS[name]:
            stack.enter_context(patch.object(*replaced))
        yield


def first_found(name: str, seeds: range) -> tuple[int, str] | None:
    """Return the first of these seeds that notices a mutant, and what it says; None where none does."""
    with mutated(name):
        for seed in seeds:
            broken = play(scenario_of(seed)).broken
            if broken:
                return seed, broken[0]
    return None
