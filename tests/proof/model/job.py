"""The job model: what workers do with a job, move by move, by the code's own decisions (rules 1 to 9)."""

from collections.abc import Callable, Iterator
from typing import Final

from tests.proof.model.engine import Move
from tests.proof.model.job_around import faults_of, network, time
from tests.proof.model.job_core import IDLE, JobCore
from tests.proof.model.job_person import audit_moves, person_moves, second_message
from tests.proof.model.job_world import HIDDEN, VISIBLE, Hand, Late, Message, World, spend
from tests.proof.model.ledger import JOB, NONE, V_S, generation
from worker import decisions
from worker.contract.endings import ended_unclaimed
from worker.contract.manifest import Manifest, Outcome

Moves = Iterator[Move[World]]
Change = Callable[[Manifest], Manifest]


class JobModel(JobCore):
    """One job and all that is done with it."""

    def moves(self, world: World) -> Moves:
        """Yield what any worker, the network, time and chance can do."""
        for number, hand in enumerate(world.workers):
            yield from _WORKER[hand.at](self, world, number, hand)
            yield from faults_of(self, world, number, hand)
        yield from network(self, world)
        yield from time(self, world)
        yield from person_moves(self, world)
        yield from audit_moves(self, world)
        yield from second_message(self, world)

    # ---- a worker's moves ------------------------------------------------------------------------------------------

    def _idle(self, world: World, number: int, hand: Hand) -> Moves:
        for place, message in enumerate(world.messages):
            if message.state != VISIBLE:
                continue
            taken = self.with_message(world, place, Message(HIDDEN, received=True))
            others = tuple(other._replace(lease=other.lease and other.message != place) for other in taken.workers)
            taken = taken._replace(workers=others)
            got = Hand("got", message=place, lease=True)
            yield Move(f"{self.name(number)} receives message {place}", self.put_hand(taken, number, got))
            left = spend(world.left, "lost")
            if left:
                lost = taken._replace(left=left)
                yield Move(f"the answer of {self.name(number)}'s receive of {place} is lost", lost, fault=True)

    def _got(self, world: World, number: int, hand: Hand) -> Moves:
        seen = hand._replace(at="seen", seen=world.manifest, old=world.old, fresh=True)
        yield Move(f"{self.name(number)} reads the manifest", self.put_hand(world, number, seen))

    def _seen(self, world: World, number: int, hand: Hand) -> Moves:
        """Read the hold and decide."""
        hold, name, message = self.hold(world), self.name(number), f"m{hand.message}"
        decision = self.ledger.ask(
            ("on_message", message, hand.seen, hand.old, world.hold, number),
            lambda: self.rules.on_message(
                message,
                self.ledger.seen(hand.seen, old=hand.old),
                planned=True,
                hold=hold,
                worker=name,
                visibility_timeout_s=V_S,
            ),
        )
        match decision:
            case decisions.Claim() if self.rules.leased_before_claim and not hand.lease:
                yield Move(f"{name} finds that others have its message", self.tidy(self.put_hand(world, number, IDLE)))
                return
            case decisions.Claim():
                write, then = self._claim(world, hand, number), "claim"
                if world.hold:
                    yield Move(f"{name} claims", world, wrong="A job was claimed under a hold")
            case decisions.End(status, reason):
                nonce = self.unused_nonce(world)
                before = self.ledger.find(hand.seen)
                write = self.ledger.number(
                    ended_unclaimed(JOB, before, status, reason, nonce=nonce, message_id=message)
                )
                then = "unclaimed"
            case decisions.Hide():
                yield Move(f"{name} hides message {hand.message}", self.put_hand(world, number, IDLE))
                return
            case _:
                delete = Hand("delete", message=hand.message, lease=hand.lease)
                yield Move(f"{name} decides: {decision}", self.put_hand(world, number, delete))
                return
        ready = hand._replace(at="put", seen=NONE, old=False, write=write, then=then)
        wrong = "A healthy job was poisoned" if self.ledger[write].status == "poisoned" and not self.broken else ""
        yield Move(f"{name} decides: {decision}", self.put_hand(world, number, ready), wrong=wrong)

    def _claim(self, world: World, hand: Hand, number: int) -> int:
        nonce = self.unused_nonce(world)
        return self.ledger.ask(
            ("claimed", hand.seen, nonce, number, hand.message),
            lambda: self.ledger.number(
                self.rules.claimed(
                    JOB,
                    self.ledger.find(hand.seen),
                    nonce=nonce,
                    worker=self.name(number),
                    message_id=f"m{hand.message}",
                    release="r",
                    utc="",
                )
            ),
        )

    def _put(self, world: World, number: int, hand: Hand) -> Moves:
        """Write a manifest, with each way in which that can go."""
        what = f"{self.name(number)} writes {self.short(hand.write)}"
        refused = self.put_hand(world, number, hand._replace(at="again"))
        accepted = hand.fresh or not self.rules.conditional
        if not accepted:
            yield Move(f"{what}: refused", refused)
        else:
            done, wrong = self.stored(world, hand.write, hand.then)
            yield Move(what, self._written(done, number, hand, hand.write), wrong=wrong)
            left = spend(world.left, "lost")
            if left:
                lost = done._replace(left=left)
                again = self.put_hand(lost, number, hand._replace(at="again", fresh=False))
                yield Move(f"{what}; the answer is lost, and the SDK's retry refused", again, fault=True, wrong=wrong)
                failed = self._failed(lost, number, hand._replace(fresh=False))
                yield Move(f"{what}; the answer is lost, and so are all retries", failed, fault=True, wrong=wrong)
        left = spend(world.left, "lost")
        if left:
            failed = self._failed(world._replace(left=left), number, hand)
            yield Move(f"{what}: it never arrives", failed, fault=True)
        left = spend(world.left, "late")
        if left and world.late is None:
            late = world._replace(left=left, late=Late(hand.write, hand.fresh, hand.then))
            yield Move(f"{what}: on its way for long", self._failed(late, number, hand), fault=True)

    def _written(self, world: World, number: int, hand: Hand, stored: int) -> World:
        """Return the world after a write that this worker knows to be stored."""
        then, base = hand.then, stored if self.ledger[stored].generations else NONE
        after = hand._replace(fresh=True, mine=stored, write=NONE, then="")
        if then == "unclaimed":
            after = Hand("delete", message=hand.message, lease=hand.lease)
        elif then == "claim":
            after = after._replace(at="restore", base=base, reached=self.ledger[stored].step)
        elif then == "commit":
            after = after._replace(at="collect", seen=hand.mine, base=base)
        else:
            after = after._replace(at="settle" if then == "end" else "ending" if hand.end else "train")
        return self.tidy(self.put_hand(world, number, after))

    def _failed(self, world: World, number: int, hand: Hand) -> World:
        """Return the world after a write of which nothing is known: each caller in the code has its own way on."""
        if hand.then in {"claim", "unclaimed"}:
            after = IDLE  # the message is hidden for a while
        else:  # trains on, or tries again; the next write decides
            after = hand._replace(at="ending" if hand.end else "train", write=NONE, then="")
        return self.tidy(self.put_hand(world, number, after))

    def _again(self, world: World, number: int, hand: Hand) -> Moves:
        """Read the manifest after a refusal, and decide."""
        kind, stored = self.ledger.ask(
            ("refused", hand.write, world.manifest), lambda: self._refused(hand.write, world.manifest)
        )
        what = f"{self.name(number)} reads the manifest again: {kind.__name__}"
        if kind is decisions.Lost:
            mine = world.manifest != NONE and self.ledger[world.manifest].nonce == self.ledger[hand.write].nonce
            wrong = "A worker gave up a claim that is its own" if mine else ""
            yield Move(what, self.tidy(self.put_hand(world, number, IDLE)), wrong=wrong)
        elif kind is decisions.Rebase and hand.then not in {"claim", "unclaimed"}:
            rebased = hand._replace(at="put", fresh=True, mine=stored)
            rebased = rebased._replace(write=self._next(rebased))
            yield Move(what, self.tidy(self.put_hand(world, number, rebased)))
        else:
            yield Move(what, self._written(world, number, hand, stored))

    def _refused(self, write: int, stored: int) -> tuple[type, int]:
        decision = self.rules.on_refused_write(self.ledger[write], self.ledger.seen(stored, old=False))
        return type(decision), NONE if isinstance(decision, decisions.Lost) else self.ledger.number(
            decision.seen.manifest
        )

    def _next(self, hand: Hand) -> int:
        """Return what this claim's next write makes of the manifest as it knows it."""
        mine = self.ledger[hand.mine]
        if hand.then == "beat" or mine.status != "running":
            return hand.mine
        if hand.then == "commit":
            key = ("commit", hand.mine, hand.base, hand.reached)
            return self.ledger.ask(key, lambda: self.ledger.number(self._committed(hand)))
        changes: dict[str, Change] = {
            "done": lambda manifest: decisions.done(manifest, self.steps, Outcome()),
            "evicted": lambda manifest: self.rules.given_back(manifest, "evicted"),
            "held": lambda manifest: self.rules.given_back(manifest, "held"),
            "cancelled": lambda manifest: decisions.finished(manifest, "cancelled", "held", Outcome()),
            "failed": lambda manifest: self.rules.failed(manifest, "failed", "it raised"),
        }
        return self.ledger.ask((hand.end, hand.mine), lambda: self.ledger.number(changes[hand.end](mine)))

    def _committed(self, hand: Hand) -> Manifest:
        mine, base = self.ledger[hand.mine], self.ledger.find(hand.base)
        newest = base.generations[0] if base else None
        nonce = mine.nonce if self.rules.named_by_claim else "all"
        return decisions.committed(mine, generation(hand.reached, nonce, newest), newest, {})

    def _restore(self, world: World, number: int, hand: Hand) -> Moves:
        """Restore from the manifest that this claim wrote."""
        name = self.name(number)
        if self.ledger.blobs(hand.mine) <= world.blobs:
            yield Move(f"{name} restores", self.put_hand(world, number, hand._replace(at="train")))
            return
        mine = self.ledger[world.manifest].nonce == self.ledger[hand.mine].nonce
        if mine or not self.rules.asked_before_corrupt:
            yield Move(f"{name} finds a blob missing", world, wrong="A whole checkpoint was taken for lost")
        yield Move(f"{name} finds that it lost the job", self.tidy(self.put_hand(world, number, IDLE)))

    def _train(self, world: World, number: int, hand: Hand) -> Moves:
        name = self.name(number)
        if self.broken:
            yield from self._breaks(world, number, hand)
            return
        if hand.reached < self.steps:
            yield from self._upload(world, number, hand)
        else:
            yield self._ends(world, number, hand, "done", f"{name} has published its result")
        yield from self._beat(world, number, hand)
        left = spend(world.left, "stop")
        if left:
            yield self._ends(world._replace(left=left), number, hand, "evicted", f"{name} is told to stop")

    def _beat(self, world: World, number: int, hand: Hand) -> Moves:
        """The heartbeat, which runs beside all else until the claim has ended: the next write, and the lease."""
        if world.old or not hand.fresh:
            beat = hand._replace(at="put", then="beat")
            beat = beat._replace(write=self._next(beat))
            yield Move(f"{self.name(number)}'s heartbeat is due", self.put_hand(world, number, beat))
        message = world.messages[hand.message]
        if hand.lease and message.state == VISIBLE:
            renewed = self.with_message(world, hand.message, message._replace(state=HIDDEN))
            yield Move(f"{self.name(number)} renews its lease", renewed)

    def _breaks(self, world: World, number: int, hand: Hand) -> Moves:
        name = self.name(number)
        yield self._ends(world, number, hand, "failed", f"{name}'s training raises")
        if hand.fresh:  # the supervisor writes it, if the manifest still bears the nonce
            killed = self.ledger.ask(
                ("killed", hand.mine),
                lambda: self.ledger.number(self.rules.failed(self.ledger[hand.mine], "killed", "out of memory")),
            )
            after, wrong = self.stored(world, killed, "end")
            yield Move(f"{name} is killed, and its supervisor says so", self.put_hand(after, number, IDLE), wrong=wrong)

    def _upload(self, world: World, number: int, hand: Hand) -> Moves:
        name, step = self.name(number), hand.reached + 1
        if world.hold and hand.held:
            yield Move(f"{name} trains on", world, wrong="A job went on under a hold")
        ready = hand._replace(at="put", then="commit", reached=step)
        ready = ready._replace(write=self._next(ready))
        new = self.ledger.blobs(ready.write) - self.ledger.blobs(hand.mine)
        overwritten = new & self.ledger.blobs(world.manifest) and not self.owns(world, hand)
        wrong = "A live blob was overwritten" if overwritten else ""
        blobs = world.blobs | new if self.rules.uploaded_first else world.blobs
        if not self.rules.collected_last:
            blobs -= self._garbage(hand.mine, ready.write)
        after = self.put_hand(world._replace(blobs=blobs), number, ready)
        yield Move(f"{name} uploads step {step}", after, wrong=wrong or self.missing(after))

    def _garbage(self, before: int, after: int) -> frozenset[str]:
        return self.ledger.ask(
            ("garbage", before, after), lambda: self.rules.garbage(self.ledger[before], self.ledger[after])
        )

    def _collect(self, world: World, number: int, hand: Hand) -> Moves:
        """After a commit: delete by name what it dropped."""
        if not self.rules.uploaded_first:
            world = world._replace(blobs=world.blobs | self.ledger.blobs(hand.mine))
        at = "hold" if self.rules.hold_at_commit else "train"
        after = world._replace(blobs=world.blobs - self._garbage(hand.seen, hand.mine))
        after = self.put_hand(after, number, hand._replace(at=at, seen=NONE, held=bool(world.hold)))
        yield Move(f"{self.name(number)} collects garbage", self.tidy(after), wrong=self.missing(after))

    def _hold(self, world: World, number: int, hand: Hand) -> Moves:
        """After a commit: read the hold."""
        name = self.name(number)
        if not world.hold:
            yield Move(f"{name} reads the hold", self.put_hand(world, number, hand._replace(at="train", held=False)))
        elif world.hold == "cancelled":
            yield self._ends(world, number, hand, "cancelled", f"{name} sees that the job is cancelled")
        else:
            yield self._ends(world, number, hand, "held", f"{name} sees that the sweep is paused")

    def _ends(self, world: World, number: int, hand: Hand, end: str, label: str) -> Move[World]:
        if not self.rules.deleted_last and end == "done" and hand.lease:
            world = self.with_message(world, hand.message, Message())
        return Move(label, self.put_hand(world, number, hand._replace(at="ending", end=end)))

    def _ending(self, world: World, number: int, hand: Hand) -> Moves:
        """Write how the claim ends, again and again, while the heartbeat goes on."""
        yield from self._beat(world, number, hand)
        ready = hand._replace(then="end")
        write = self._next(ready)
        if self.ledger[hand.mine].status != "running":
            settle = hand._replace(at="settle")
            yield Move(f"{self.name(number)} finds that its end is written", self.put_hand(world, number, settle))
            return
        ready = ready._replace(at="put", write=write)
        wrong = "A healthy job was poisoned" if self.ledger[write].status == "poisoned" and not self.broken else ""
        yield Move(f"{self.name(number)} is about to end: {hand.end}", self.put_hand(world, number, ready), wrong=wrong)

    def _settle(self, world: World, number: int, hand: Hand) -> Moves:
        """Delete the message of a job that has ended, or give it back."""
        manifest = self.ledger[hand.mine]
        if manifest.terminal:
            # What is left of the checkpoint is listed and deleted: nobody starts a job again that is done.
            blobs = frozenset[str]() if manifest.status == "done" else world.blobs
            delete = Hand("delete", message=hand.message, lease=hand.lease)
            ended = self.put_hand(world._replace(blobs=blobs), number, delete)
            yield Move(f"{self.name(number)} knows that the job has ended", self.tidy(ended), wrong=self.missing(ended))
            return
        if hand.lease:
            world = self.with_message(world, hand.message, world.messages[hand.message]._replace(state=VISIBLE))
        yield Move(f"{self.name(number)} gives its message back", self.tidy(self.put_hand(world, number, IDLE)))

    def _delete(self, world: World, number: int, hand: Hand) -> Moves:
        name, gone = self.name(number), self.put_hand(world, number, IDLE)
        stands, wrong = self.ledger.find(world.manifest), ""
        if hand.lease:
            gone = self.with_message(gone, hand.message, Message())
            runs = stands is not None and stands.status == "running" and stands.message_id == f"m{hand.message}"
            wrong = "A message was deleted by which a job runs" if runs else ""
        yield Move(f"{name} deletes message {hand.message}", self.tidy(gone), wrong=wrong)
        left = spend(world.left, "lost")
        if left:
            kept = self.put_hand(world._replace(left=left), number, IDLE)
            yield Move(f"{name}'s delete of message {hand.message} never arrives", self.tidy(kept), fault=True)

    def _hung(self, world: World, number: int, hand: Hand) -> Moves:
        if self.rules.follows_progress:
            yield Move(f"the watchdog kills {self.name(number)}", self.tidy(self.put_hand(world, number, IDLE)))


_WORKER: Final[dict[str, Callable[[JobModel, World, int, Hand], Moves]]] = {
    "": JobModel._idle,
    "got": JobModel._got,
    "seen": JobModel._seen,
    "put": JobModel._put,
    "again": JobModel._again,
    "restore": JobModel._restore,
    "train": JobModel._train,
    "ending": JobModel._ending,
    "collect": JobModel._collect,
    "hold": JobModel._hold,
    "settle": JobModel._settle,
    "delete": JobModel._delete,
    "hung": JobModel._hung,
}
