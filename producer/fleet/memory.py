"""What a producer remembers from tick to tick, all of it seen by itself and timed by its own monotonic clock (rule 11).

A producer that has just begun knows nothing of the past: it may raise at once, and judges nobody before it has watched
for as long as the rules ask.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from producer.fleet.look import Look, Policy

UNCHANGED_TICKS = 3
"""A slot is not dead before so many successful ticks found its report as it was."""


@dataclass(frozen=True, slots=True)
class Silence:
    """How long a slot's report has been the same."""

    etag: str
    """Empty where there is no report."""
    since_s: float
    ticks: int = 0
    """Successful ticks after the first that found it so."""


@dataclass(frozen=True, slots=True)
class Empty:
    """How long the set has had capacity and not one instance, under one ETag."""

    etag: str
    since_s: float


@dataclass(frozen=True, slots=True)
class Raises:
    """How raises of the capacity went since the number of running instances last grew."""

    in_vain: int = 0
    last_s: float = 0.0
    running: int = 0
    """Running instances at the last raise."""
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Memory:
    """Observations of one producer."""

    looked_s: float | None = None
    """When the last tick looked; None where none did, or where it failed."""
    first_seen_s: Mapping[str, float] = field(default_factory=dict)
    silences: Mapping[tuple[str, int], Silence] = field(default_factory=dict)
    zero_since_s: float | None = None
    """Since when every look found no message."""
    empty: Empty | None = None
    audited: bool = False
    """Whether the audit could read every sweep since the count went to 0, and found nothing to send again."""
    without_commit_s: float = 0.0
    """For how long instances ran, with work in the queue, and nothing was committed (rule 13)."""
    booked_out: frozenset[str] = frozenset()
    """Instances that are still listed as Deleting, and that the capacity no longer counts."""
    raises: Raises = Raises()

    def after_failure(self) -> "Memory":
        """Return what is left after a tick whose look failed.

        What was measured as silence may have been ours: it starts over (rule 11). When instances appeared and how
        raises went stays true.
        """
        return Memory(first_seen_s=self.first_seen_s, booked_out=self.booked_out, raises=self.raises)

    def after_audit(self, resent: int, *, whole: bool = True) -> "Memory":
        """Return this after an audit.

        One that sent messages again has ended the quiet. One that could not read a sweep, and so was not `whole`, knows
        nothing of its jobs: it is no reason to drain, and is made again.
        """
        if resent:
            return replace(self, audited=False, zero_since_s=None)
        return replace(self, audited=whole)

    def after_raise(self, look: Look, *, refused: bool) -> "Memory":
        """Return this after a raise that Azure accepted or refused."""
        running = sum(instance.running for instance in look.state.instances)
        return replace(self, raises=Raises(self.raises.in_vain + 1, look.read_s, running, refused))

    def after_hold(self) -> "Memory":
        """Return this after the fleet was put on hold: when that is lifted, patience begins anew."""
        return replace(self, without_commit_s=0.0)

    def zero_confirmed(self, look: Look, policy: Policy) -> bool:
        """Return whether two looks, far enough apart, and all between them found no message."""
        apart_s = policy.durations.zero_looks_apart_s
        return self.zero_since_s is not None and look.read_s - self.zero_since_s >= apart_s

    def empty_confirmed(self, look: Look, policy: Policy) -> bool:
        """Return whether the set had no instance, and nobody wrote it, for as long as `zero_confirmed` asks."""
        return self.empty is not None and look.read_s - self.empty.since_s >= policy.durations.zero_looks_apart_s

    def slot_is_dead(self, vm: str, slot: int, look: Look, policy: Policy) -> bool:
        """Return whether a slot has been silent for so long that nobody waits for its answer (rule 11).

        By the storage's clock, too: between the first read of a look and that of the slots a laptop may have slept, and
        what is new then would count as known since before.
        """
        silence, first_seen_s = self.silences.get((vm, slot)), self.first_seen_s.get(vm)
        report = look.slots.get(vm, {}).get(slot)
        if silence is None or first_seen_s is None:
            return False
        if report is not None and report.age_s < policy.durations.dead_after_s:
            return False
        return (
            silence.ticks >= UNCHANGED_TICKS
            and look.read_s - silence.since_s >= policy.durations.dead_after_s
            and look.read_s - first_seen_s >= policy.durations.boot_grace_s
        )

    def raise_again_s(self, policy: Policy) -> float:
        """Return when, by our monotonic clock, the next raise is due: the more were in vain, the later."""
        if not self.raises.in_vain:
            return 0.0
        pause_s = policy.durations.tick_s * 2.0 ** min(self.raises.in_vain - 1, 10)
        return self.raises.last_s + min(pause_s, policy.durations.dead_after_s)


def observe(memory: Memory, look: Look, policy: Policy) -> Memory:
    """Return what is remembered after this look."""
    return Memory(
        looked_s=look.read_s,
        first_seen_s={
            instance.name: memory.first_seen_s.get(instance.name, look.read_s) for instance in look.state.instances
        },
        silences=_silences(memory, look, policy),
        zero_since_s=(look.read_s if memory.zero_since_s is None else memory.zero_since_s) if not look.count else None,
        empty=_empty(memory, look),
        audited=memory.audited and not look.count,
        without_commit_s=_without_commit_s(memory, look, policy),
        booked_out=_booked_out(memory, look),
        raises=_raises(memory, look),
    )


def _silences(memory: Memory, look: Look, policy: Policy) -> dict[tuple[str, int], Silence]:
    return {
        (instance.name, slot): _silence(memory, look, instance.name, slot)
        for instance in look.state.instances
        for slot in look.expected_slots(instance.name, policy)
    }


def _silence(memory: Memory, look: Look, vm: str, slot: int) -> Silence:
    report = look.slots.get(vm, {}).get(slot)
    etag = report.etag if report else ""
    before = memory.silences.get((vm, slot))
    if before is None or before.etag != etag:
        return Silence(etag, look.read_s)
    return replace(before, ticks=before.ticks + 1)


def _empty(memory: Memory, look: Look) -> Empty | None:
    if look.state.instances or not look.state.capacity:
        return None
    if memory.empty and memory.empty.etag == look.state.etag:
        return memory.empty
    return Empty(look.state.etag, look.read_s)


def _without_commit_s(memory: Memory, look: Look, policy: Policy) -> float:
    """Time counts while an instance runs and there is work; it is never longer than the last commit is old.

    A drought adds nothing and takes nothing away: with no instance there is nothing to blame. Nor does time add up
    that nobody watched, a closed laptop's.
    """
    if not look.count or look.hold:
        return 0.0
    running = any(instance.running for instance in look.state.instances)
    watched_s = 0.0
    if running and memory.looked_s is not None:
        watched_s = min(look.read_s - memory.looked_s, UNCHANGED_TICKS * policy.durations.tick_s)
    total_s = memory.without_commit_s + watched_s
    return total_s if look.commit_age_s is None else min(total_s, look.commit_age_s)


def _booked_out(memory: Memory, look: Look) -> frozenset[str]:
    """Azure goes on listing an instance that is being deleted; whether the capacity still counts it cannot be read.

    Where as many are listed beyond the capacity as are being deleted, it counts none of these. That stays true.
    """
    deleting = frozenset(instance.name for instance in look.state.instances if instance.deleting)
    if len(look.state.instances) - look.state.capacity >= len(deleting):
        return deleting
    return memory.booked_out & deleting


def _raises(memory: Memory, look: Look) -> Raises:
    running = sum(instance.running for instance in look.state.instances)
    if running > memory.raises.running or not look.count:
        return Raises(running=running)
    return memory.raises
