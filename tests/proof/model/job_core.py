"""What all moves of the job model share: its rules, its settings, and what a stored manifest does to everybody."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.proof.model.job_world import GONE, STEPS, VISIBLE, Budget, Hand, Message, World
from tests.proof.model.ledger import JOB, NONE, Ledger, generation
from worker import decisions
from worker.contract.control import Hold
from worker.contract.manifest import Manifest

IDLE: Final = Hand()


@dataclass(frozen=True)
class JobRules:
    """The rules as the model keeps them. A test takes one away, and the model must find the hole."""

    on_message: Callable[..., decisions.Decision] = decisions.on_message
    claimed: Callable[..., Manifest] = decisions.claimed
    given_back: Callable[[Manifest, Any], Manifest] = decisions.given_back
    failed: Callable[[Manifest, Any, str], Manifest] = decisions.failed
    garbage: Callable[[Manifest, Manifest], frozenset[str]] = decisions.garbage
    on_refused_write: Callable[..., decisions.Adopt | decisions.Rebase | decisions.Lost] = decisions.on_refused_write
    conditional: bool = True
    """Manifests are written with If-Match (rule 2)."""
    named_by_claim: bool = True
    """Names of blobs carry the nonce (rule 2)."""
    uploaded_first: bool = True
    """What a manifest names is uploaded before it (rule 2)."""
    deleted_last: bool = True
    """A message goes after the terminal record (rule 1)."""
    collected_last: bool = True
    """Garbage goes after the commit (rule 9)."""
    asked_before_corrupt: bool = True
    """A missing blob is corruption only if the manifest is still mine (rule 9)."""
    follows_progress: bool = True
    """A trainer that hangs loses its message and its process (rule 5)."""
    hold_at_commit: bool = True
    """A running job looks for a hold at each commit (rule 8)."""
    never_expires: bool = True
    """Messages have no time to live (rule 15)."""
    leased_before_claim: bool = True
    """A claim begins with a renewal of the lease (rule 8)."""
    audited: bool = True
    """At count 0 what is not terminal is sent again (rule 7)."""


@dataclass(frozen=True)
class JobCore:
    """One job through two workers. `broken`: its training raises every time."""

    rules: JobRules = JobRules()
    left: Budget = field(default_factory=Budget)
    workers: int = 2
    messages: int = 1
    steps: int = STEPS
    """Commits until the job is done; three, so that a generation is dropped."""
    begun: bool = False
    """Whether somebody committed the first step already."""
    broken: bool = False
    wishes: tuple[str, ...] = ()
    audits: bool = False
    """Whether somebody audits. Without that nothing but the messages keeps the job alive."""
    ledger: Ledger = field(default_factory=Ledger)

    def start(self) -> World:
        """Return a job that was enqueued."""
        messages = tuple(Message(VISIBLE if n < self.messages else GONE) for n in range(3))
        begun = self._begun() if self.begun else NONE
        workers = (IDLE,) * self.workers
        return World(begun, False, messages, self.ledger.blobs(begun), workers, self.left, wishes=self.wishes)

    def _begun(self) -> int:
        job = decisions.claimed(JOB, None, nonce="f" * 16, worker="vm9/0", message_id="m9", release="r", utc="")
        first = decisions.committed(job, generation(1, job.nonce, None), None, {})
        return self.ledger.number(decisions.given_back(first, "evicted"))

    def settled(self, world: World) -> bool:
        """Return whether the job has ended (or waits for a person who paused it), and nothing is under way."""
        at_rest = all(hand.at == "" for hand in (*world.workers, world.person, world.audit)) and world.late is None
        ended = world.manifest != NONE and self.ledger[world.manifest].terminal
        empty = all(message.state == GONE for message in world.messages)
        return at_rest and empty and (ended or world.hold == "paused")

    def put_hand(self, world: World, number: int, hand: Hand) -> World:
        """Return the world with another state of a worker, less the blobs that nobody names any more."""
        workers = (*world.workers[:number], hand, *world.workers[number + 1 :])
        return world._replace(workers=workers)

    def tidy(self, world: World) -> World:
        """Leave out blobs that no manifest names."""
        if world.blobs <= self.ledger.blobs(world.manifest):
            return world
        named = set(self.ledger.blobs(world.manifest))
        for hand in (*world.workers, world.person, world.audit):
            for number in (hand.mine, hand.base, hand.write, hand.seen):
                named |= self.ledger.blobs(number)
        if world.late:
            named |= self.ledger.blobs(world.late.write)
        return world if world.blobs <= named else world._replace(blobs=world.blobs & named)

    def stored(self, world: World, write: int, then: str) -> tuple[World, str]:
        """Return the world after a manifest was stored, everybody's ETag being stale, and what is wrong with that."""
        wrong = self._wrong_write(world, write, then)
        stale = tuple(hand._replace(fresh=False) for hand in world.workers)
        late = world.late._replace(fresh=False) if world.late else None
        person, audit = world.person._replace(fresh=False), world.audit._replace(fresh=False)
        after = world._replace(manifest=write, old=False, workers=stale, late=late, person=person, audit=audit)
        return after, wrong or self.missing(after)

    def _wrong_write(self, world: World, write: int, then: str) -> str:
        if world.manifest == NONE:
            return ""
        before, after = self.ledger[world.manifest], self.ledger[write]
        if then == "retry":
            return "" if before.terminal else "A retry began a job that had not ended"
        same = before.nonce == after.nonce
        if before.terminal and not (same and before.status == after.status and before.outcome == after.outcome):
            return f"The terminal record was overwritten: {before.status} became {after.status}"
        if then in {"claim", "unclaimed"}:
            if same:
                return ""
            if before.status == "running" and not world.old and before.worker != after.worker:
                return f"{after.worker or 'A person'} took a job from {before.worker}, whose manifest was young"
            return "" if after.step >= before.step else "A claim lost a commit"
        if not same:
            return "A stale write was accepted"
        if after.status == "poisoned" and not self.broken:
            return "A healthy job was poisoned"
        return "" if after.step >= before.step else "A commit was lost"

    def missing(self, world: World) -> str:
        """Return what is wrong where the manifest names a blob that is not there."""
        gone = self.ledger.blobs(world.manifest) - world.blobs
        return f"A live blob is missing: {', '.join(sorted(gone))}" if gone else ""

    def unused_nonce(self, world: World) -> str:
        """Return a nonce that nobody knows: nonces are only compared, so one that all forgot serves again."""
        numbers = {world.manifest}
        for hand in (*world.workers, world.person, world.audit):
            numbers |= {hand.mine, hand.write, hand.seen, hand.base}
        if world.late:
            numbers.add(world.late.write)
        used = {self.ledger[number].nonce for number in numbers if number != NONE}
        return next(nonce for nonce in (f"{n:016x}" for n in range(1, 20)) if nonce not in used)

    def hold(self, world: World) -> Hold | None:
        """Return the hold that covers the job."""
        return Hold.model_validate({"kind": world.hold}) if world.hold else None

    def with_message(self, world: World, place: int, message: Message) -> World:
        """Return the world with another message in a place."""
        return world._replace(messages=(*world.messages[:place], message, *world.messages[place + 1 :]))

    def name(self, number: int) -> str:
        """Return a worker's name."""
        return f"vm{number + 1}/0"

    def short(self, number: int) -> str:
        manifest = self.ledger[number]
        return f"{manifest.status} step {manifest.step} nonce {manifest.nonce[-1]}"

    def owns(self, world: World, hand: Hand) -> bool:
        """Return whether the manifest bears the nonce of this claim."""
        return world.manifest != NONE and self.ledger[world.manifest].nonce == self.ledger[hand.mine].nonce
