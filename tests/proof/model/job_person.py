"""What is done to a job from outside: cancel, pause, resume, retry, a second enqueue, and the audit (rules 7 and 8)."""

from collections.abc import Callable, Iterator
from typing import Final

from producer.sweep.lifecycle import RETRIABLE, planned_again
from producer.sweep.plans import JobStatus
from producer.sweep.sending import due_jobs
from tests.fakes.slot import plan_of_one
from tests.proof.model.engine import Move
from tests.proof.model.job_core import JobCore
from tests.proof.model.job_world import GONE, VISIBLE, Hand, Message, World, spend
from tests.proof.model.ledger import JOB, NONE, V_S
from worker.contract.endings import ended_unclaimed

Moves = Iterator[Move[World]]
PLAN: Final = plan_of_one(JOB)
NOBODY: Final = Hand()


def person_moves(model: JobCore, world: World) -> Moves:
    """Yield what the person does next, and what of it may go wrong."""
    hand = world.person
    if hand.at == "":
        yield from _begin(world)
        return
    yield from _STEPS[hand.at](model, world, "person")
    left = spend(world.left, "crash")
    if left:
        gone = _done(world._replace(left=left), "person")  # the laptop does not come back
        yield Move("the person's command is killed", model.tidy(gone), fault=True)


def audit_moves(model: JobCore, world: World) -> Moves:
    """Yield what the audit does next: it begins at count 0, and counts again before it sends."""
    if not model.audits or not model.rules.audited:
        return
    if world.audit.at:
        yield from _STEPS[world.audit.at](model, world, "audit")
        left = spend(world.left, "crash")
        if left:
            yield Move("the audit is killed", model.tidy(world._replace(audit=NOBODY, left=left)), fault=True)
        return
    ended = world.manifest != NONE and model.ledger[world.manifest].terminal
    if not ended and world.hold != "paused" and _empty(world):
        at = "end" if world.hold == "cancelled" else "look"
        yield Move("an audit begins: the queue is empty", world._replace(audit=Hand(at)))


def second_message(model: JobCore, world: World) -> Moves:
    """Yield the fault of an enqueue that was started twice."""
    left = spend(world.left, "twice")
    if left:
        yield Move("the job is sent a second time", _sent(model, world._replace(left=left)), fault=True)


def _begin(world: World) -> Moves:
    if not world.wishes:
        return
    wish = world.wishes[0]
    if wish == "cancel" and world.hold != "paused":
        yield Move("a person cancels: writes the hold", world._replace(hold="cancelled", person=Hand("end")))
    elif wish == "pause" and not world.hold:
        yield Move("a person pauses: writes the hold", world._replace(hold="paused", person=Hand("withdraw")))
    elif wish == "resume" and world.hold in {"", "paused"}:
        yield Move("a person resumes: deletes the hold", world._replace(hold="", person=Hand("look")))
    elif wish == "retry" and world.hold != "paused":
        yield Move("a person retries: deletes the hold", world._replace(hold="", person=Hand("retry")))


def _end(model: JobCore, world: World, who: str) -> Moves:
    """Read the manifest, and end the job where no worker has it."""
    seen = model.ledger.find(world.manifest)
    if seen is not None and (seen.terminal or (seen.status == "running" and not world.old)):
        yield Move(f"the {who} finds the job {seen.status}", _with(world, who, Hand("withdraw")))
        return
    nonce = model.unused_nonce(world)
    write = model.ledger.number(ended_unclaimed(JOB, seen, "cancelled", "cancelled", nonce=nonce))
    hand = Hand("put", fresh=True, write=write, then="unclaimed")
    yield Move(f"the {who} reads the manifest", _with(world, who, hand))


def _retry(model: JobCore, world: World, who: str) -> Moves:
    seen = model.ledger.find(world.manifest)
    if seen is None or seen.status not in RETRIABLE:
        yield Move(f"the {who} finds nothing to retry", _with(world, who, Hand("look")))
        return
    write = model.ledger.number(planned_again(seen, model.unused_nonce(world)))
    yield Move(f"the {who} reads the manifest", _with(world, who, Hand("put", fresh=True, write=write, then="retry")))


def _put(model: JobCore, world: World, who: str) -> Moves:
    hand = world.person if who == "person" else world.audit
    back = Hand("retry" if hand.then == "retry" else "end")
    if not hand.fresh and model.rules.conditional:
        yield Move(f"the {who}'s write is refused", model.tidy(_with(world, who, back)))
        return
    after, wrong = model.stored(world, hand.write, hand.then)
    on = Hand("look" if hand.then == "retry" else "withdraw")
    status = model.ledger[hand.write].status
    yield Move(f"the {who} writes that the job is {status}", model.tidy(_with(after, who, on)), wrong=wrong)
    left = spend(world.left, "lost")
    if left:
        lost = model.tidy(_with(after._replace(left=left), who, back))
        yield Move(f"the {who} writes that the job is {status}; the answer is lost", lost, fault=True, wrong=wrong)


def _withdraw(model: JobCore, world: World, who: str) -> Moves:
    """Delete what nobody has received yet: only then is the receipt of its sending good."""
    if who == "person":
        messages = tuple(message if message.received else Message() for message in world.messages)
        world = world._replace(messages=messages)
    yield Move(f"the {who} withdraws messages", _done(world, who))


def _look(model: JobCore, world: World, who: str) -> Moves:
    """Read the manifest; then (the audit counts again) send."""
    hand = Hand("send", seen=world.manifest, old=world.old)
    yield Move(f"the {who} reads the manifests", _with(world, who, hand))


def _send(model: JobCore, world: World, who: str) -> Moves:
    hand = world.person if who == "person" else world.audit
    if who == "audit" and not _empty(world):
        yield Move("the audit finds messages after all", _done(world, who))
    elif _due(model, world, hand, 0.0 if who == "person" else V_S):
        yield Move(f"the {who} sends a message", _done(_sent(model, world), who))
    else:
        yield Move(f"the {who} finds nothing to send", _done(world, who))


def _due(model: JobCore, world: World, hand: Hand, held_for_s: float) -> bool:
    def ask() -> bool:
        manifest = model.ledger.find(hand.seen)
        age_s = V_S if hand.old else 0.0
        statuses = {} if manifest is None else {JOB.id: JobStatus(manifest.status, manifest.epoch, age_s)}
        return bool(due_jobs(PLAN, statuses, {}, model.hold(world), held_for_s=held_for_s))

    return model.ledger.ask(("due", hand.seen, hand.old, world.hold, held_for_s), ask)


def _sent(model: JobCore, world: World) -> World:
    """Return the world with one more message, in a place that nobody remembers another one by."""
    known = {hand.message for hand in world.workers}
    if world.manifest != NONE:
        known.add(int(model.ledger[world.manifest].message_id[1:] or -1))
    free = [place for place, message in enumerate(world.messages) if message.state == GONE]
    free.sort(key=lambda place: place in known)
    return model.with_message(world, free[0], Message(VISIBLE)) if free else world


def _done(world: World, who: str) -> World:
    after = _with(world, who, NOBODY)
    return after._replace(wishes=world.wishes[1:]) if who == "person" else after


def _with(world: World, who: str, hand: Hand) -> World:
    return world._replace(person=hand) if who == "person" else world._replace(audit=hand)


def _empty(world: World) -> bool:
    return all(message.state == GONE for message in world.messages)


_STEPS: Final[dict[str, Callable[[JobCore, World, str], Moves]]] = {
    "end": _end,
    "retry": _retry,
    "put": _put,
    "withdraw": _withdraw,
    "look": _look,
    "send": _send,
}
