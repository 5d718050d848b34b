"""One rule of the protocol broken at a time, in the real code: what the simulator has to notice.

Each mutant replaces one function, as somebody who did not know the rule might have written it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch

import producer.fleet.reconcile
import worker.fence
import worker.job_run
import worker.loop
from producer.fleet.look import Look, Policy
from producer.fleet.memory import Memory
from tests.simulator.scenario import Mishap, RequestMishap, Scenario, at_every_request, scenario_of
from tests.simulator.world import play
from worker import decisions
from worker.checkpoint import CheckpointStore
from worker.contract import names
from worker.contract.job import Job
from worker.contract.manifest import Manifest
from worker.contract.records import BlobStore
from worker.decisions import Adopt, Seen
from worker.fence import Fence
from worker.heartbeat import Heartbeat
from worker.lease import Lease
from worker.loop import Loop
from worker.presence import Presence
from worker.slot import Slot
from worker.vm import retire


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


def _discards_under_a_hold(message_id: str, seen: Seen | None, **rest: Any) -> decisions.Decision:
    decision = _on_message(message_id, seen, **rest)
    return decisions.Discard("on hold") if isinstance(decision, decisions.End) and rest["hold"] else decision


def _turn_with_flags_first(self: Loop) -> bool:
    slot = self._slot
    if self._is_flagged():
        return False
    message = slot.jobs.receive(slot.durations.visibility_timeout_s)
    self._answered()
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


_claimed = decisions.claimed


def _counts_evictions(job: Job, before: Manifest | None, **rest: Any) -> Manifest:
    after = _claimed(job, before, **rest)
    if before is None or before.status != "running":
        return after
    counts = after.counts.model_copy(update={"failures_in_a_row": after.counts.failures_in_a_row + 1})
    poisoned = counts.failures_in_a_row >= decisions.FAILURES_UNTIL_POISON
    return after.model_copy(update={"counts": counts, "status": "poisoned" if poisoned else "running"})


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


def _sleeps(scenario: Scenario, numbers: range) -> tuple[Scenario, ...]:
    """Return the scenario with a slot that sleeps at the first of these requests, at the second, and so on."""
    return tuple(replace(scenario, requests=(RequestMishap("slot", number, "sleep"),)) for number in numbers)


SLEEPS: Final = at_every_request("sleep", 90)
LONG: Final = Scenario("slots", timesteps=230, stride_s=0.4, machines=2)
ONE: Final = Scenario("slots", timesteps=130, competitor=False)
OTHER_CPU: Final = _sleeps(replace(ONE, competitor=True, mishaps=(Mishap(1.0, "other cpu", 1),)), range(1, 60))
"""The holder sleeps at any request of its first commit; its successor computes otherwise, and commits as well."""
RESTORES: Final = _sleeps(replace(ONE, timesteps=230, machines=2, mishaps=(Mishap(5.0, "kill slot"),)), range(100, 150))
"""The second holder sleeps at any request of its restore, while a third collects what that is to read."""
FLAGGED: Final = _sleeps(
    replace(ONE, timesteps=60, mishaps=(Mishap(7.0, "flag"), Mishap(7.5, "enqueue other"))), range(20, 80)
)
"""An idle slot sleeps at any request; meanwhile its VM is flagged, and a job comes."""
BUSY_FLAGGED: Final = (
    Scenario("fleet", watched=True, slots=2, jobs=1, timesteps=230, stride_s=0.4, mishaps=(Mishap(9.0, "flag"),)),
)
PAUSED: Final = tuple(
    replace(
        LONG,
        noise=noise,
        mishaps=(
            Mishap(at_s, "pause slot", 0, 5.0),
            Mishap(at_s + 1.5 + later_s, "pause"),
            Mishap(at_s + 5.5, "resume"),
        ),
    )
    for noise in range(1, 5)
    for at_s in (5.4, 6.4, 7.4)
    for later_s in (0.0, 1.0, 2.0, 3.0)
)
"""A holder stands still for longer than its message is hidden, while its sweep is paused and goes on."""
SLOW_NETWORK: Final = tuple(replace(ONE, jobs=3, timesteps=60, noise=noise, loss=0.2) for noise in range(1, 60))
SEEDS: Final = tuple(scenario_of(seed) for seed in range(200))


def _with(*mishaps: Mishap) -> tuple[Scenario, ...]:
    return (replace(LONG, mishaps=mishaps),)


KILLS: Final = tuple(Mishap(at_s, "kill slot") for at_s in (3.5, 8.0, 12.2, 16.4))


@dataclass(frozen=True)
class Mutant:
    """What is replaced, and the schedules that are to notice."""

    target: object
    name: str
    by: object
    scenarios: tuple[Scenario, ...]


MUTANTS: Final[Mapping[str, Mutant]] = {
    "no If-Match on the manifest": Mutant(worker.fence, "_put", _no_if_match, SLEEPS),
    "an own write that nobody knew of is taken back": Mutant(
        Fence, "write", _takes_back, at_every_request("unanswered", 90) + SEEDS
    ),
    "the message is deleted at the claim": Mutant(worker.job_run, "_claim", _deletes_early, (LONG,)),
    "the old pop receipt is used for ever": Mutant(Lease, "_update", _forgets_receipt, (LONG,)),
    "the lease is not renewed": Mutant(Lease, "renew", lambda self: None, (LONG,)),
    "garbage is what a listing shows": Mutant(CheckpointStore, "collect", _collects_by_listing, SLEEPS),
    "a job is taken from a living worker": Mutant(
        decisions, "on_message", _takes_running, _with(Mishap(5.0, "show message"))
    ),
    "a VM that vanished counts as a failure": Mutant(
        decisions, "claimed", _counts_evictions, (replace(LONG, machines=1, competitor=False, mishaps=KILLS),)
    ),
    "a manifest names what is not there": Mutant(CheckpointStore, "upload", _names_before_upload, (LONG,)),
    "blobs of two claims have one name": Mutant(names, "state", _state_without_nonce, OTHER_CPU),
    "a missing blob is corruption, whoever owns the job": Mutant(Fence, "still_mine", lambda self: True, RESTORES),
    "the hold is not read before a claim": Mutant(worker.loop, "hold_on", _reads_no_hold, _with(Mishap(5.0, "pause"))),
    "the message of a held job is deleted, and nothing written": Mutant(
        decisions, "on_message", _discards_under_a_hold, PAUSED
    ),
    "presence feeds the watchdog": Mutant(
        Presence, "__init__", _presence_by_the_slots_client, _with(Mishap(5.0, "hang"))
    ),
    "a retiring VM leaves whatever the queue holds": Mutant(
        retire, "decide", _leaves_at_any_count, (replace(LONG, kind="fleet", jobs=3, competitor=False),)
    ),
    "flags are read before the receive, not after": Mutant(Loop, "_turn", _turn_with_flags_first, FLAGGED),
    "a drained VM is deleted before its slots answered": Mutant(
        producer.fleet.reconcile, "_answered", _does_not_ask, BUSY_FLAGGED
    ),
    "the heartbeat is not joined": Mutant(Heartbeat, "join", lambda self: self._ended.set(), SLOW_NETWORK),
}


@contextmanager
def mutated(name: str) -> Iterator[None]:
    """Let the code be this mutant."""
    mutant = MUTANTS[name]
    with patch.object(mutant.target, mutant.name, mutant.by):
        yield


def first_found(name: str) -> tuple[int, str] | None:
    """Return how many schedules it took to notice a mutant, and what it broke; None where none noticed."""
    with mutated(name):
        for number, scenario in enumerate(MUTANTS[name].scenarios, start=1):
            broken = play(scenario).broken
            if broken:
                return number, broken[0]
    return None
