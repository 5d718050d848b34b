"""The sweep model: enqueue, audit, retry and delete on laptops that may be killed, beside one worker (rules 7 and 8).

What is abstracted, and why that hides nothing:

- **One job, one worker** that claims and ends it: what workers do to each other is in the job model. ETags are bits, as
  there.
- **Receipts**: a message that was received once can no longer be withdrawn.
- **Commands** are followed request by request; a killed one may or may not be given again, by any laptop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from producer.sweep.enqueue import merged
from producer.sweep.lifecycle import RETRIABLE, planned_again
from producer.sweep.plans import JobStatus, all_terminal
from producer.sweep.sending import due_jobs
from tests.proof.model.engine import Move
from tests.proof.model.ledger import JOB, NONE, V_S, Ledger
from tests.proof.model.sweep_world import PLAN, TOMBSTONE, Hand, Sweep, SweepRules
from worker import decisions
from worker.contract.errors import InputError
from worker.contract.manifest import Outcome


@dataclass(frozen=True)
class SweepModel:
    """A sweep of one job; `wishes` are given as commands in this order, by either laptop."""

    begins: Sweep
    rules: SweepRules = field(default_factory=SweepRules)
    ledger: Ledger = field(default_factory=Ledger)

    def start(self) -> Sweep:
        """Return a storage account without sweeps, and what people will want."""
        return self.begins

    def settled(self, sweep: Sweep) -> bool:
        """Return whether nothing is under way, and the job has ended or the whole sweep is gone."""
        rest = not (sweep.waiting or sweep.hidden or sweep.worker.at or any(hand.at for hand in sweep.laptops))
        gone = not sweep.plan and sweep.manifest == NONE
        return rest and (gone or (sweep.plan == "planned" and self._terminal(sweep.manifest)))

    def moves(self, sweep: Sweep) -> Iterator[Move[Sweep]]:
        """Yield what each laptop, the worker and time do."""
        for number, hand in enumerate(sweep.laptops):
            if hand.at:
                yield from _STEPS[hand.command, hand.at](self, sweep, number, hand)
                if sweep.kills:
                    gone = _put(sweep, number, Hand())._replace(kills=sweep.kills - 1)
                    yield Move(f"{hand.command} is killed before: {hand.at}", gone, fault=True)
            else:
                yield from self._begin(sweep, number)
        yield from self._work(sweep)
        if sweep.hidden:
            yield Move("a message is visible again", sweep._replace(hidden=sweep.hidden - 1, waiting=sweep.waiting + 1))
        if not sweep.old and sweep.worker.at != "trains" and self._status(sweep.manifest) == "running":
            yield Move("the manifest is older than V", sweep._replace(old=True))

    def _begin(self, sweep: Sweep, number: int) -> Iterator[Move[Sweep]]:
        if sweep.wishes:
            wish, firsts = sweep.wishes[0], {"enqueue": self.rules.steps[0], "retry": "unmark", "delete": "find plan"}
            begun = _put(sweep, number, Hand(wish, firsts[wish]))._replace(wishes=sweep.wishes[1:])
            yield Move(f"a person wants to {wish}", begun)
        if sweep.plan == "tombstone" and not any(hand.command == "delete" for hand in sweep.laptops):
            yield Move("a person wants to delete, once more", _put(sweep, number, Hand("delete", "find plan")))
        busy = any(hand.command == "audit" for hand in sweep.laptops)
        empty = not (sweep.waiting or sweep.hidden or sweep.worker.at)
        marked = sweep.complete and not (sweep.reopened and self.rules.doubts)
        if self.rules.audits and not busy and empty and sweep.plan == "planned" and not marked:
            yield Move("an audit begins", _put(sweep, number, Hand("audit", "statuses")))

    def _status(self, number: int) -> str:
        return "" if number == NONE else self.ledger[number].status

    def _terminal(self, number: int) -> bool:
        return number != NONE and self.ledger[number].terminal

    def statuses(self, seen: int, *, old: bool) -> dict[str, JobStatus]:
        """Return what a listing of the manifests says."""
        manifest = self.ledger.find(seen)
        if manifest is None:
            return {}
        return {JOB.id: JobStatus(manifest.status, manifest.epoch, V_S if old else 0.0)}

    def due(self, hand: Hand, recorded: int, held_for_s: float) -> bool:
        """Return whether the job needs a message, as the code decides."""
        sent = {JOB.id: recorded} if recorded >= 0 else {}

        def ask() -> bool:
            return bool(due_jobs(PLAN, self.statuses(hand.seen, old=hand.old), sent, None, held_for_s=held_for_s))

        return self.ledger.ask(("due", hand.seen, hand.old, recorded, held_for_s), ask)

    # ---- the worker ----

    def _work(self, sweep: Sweep) -> Iterator[Move[Sweep]]:
        worker = sweep.worker
        if worker.at and sweep.deaths:
            dead = sweep._replace(worker=Hand(), hidden=sweep.hidden + 1, deaths=sweep.deaths - 1)
            yield Move("the worker dies", dead, fault=True)
        match worker.at:
            case "" if sweep.waiting:
                taken = sweep._replace(waiting=sweep.waiting - 1, undelivered=max(0, sweep.undelivered - 1))
                yield Move("the worker receives a message", taken._replace(worker=Hand(at="got")))
            case "got":
                read = Hand(at="read", seen=sweep.manifest, old=sweep.old, fresh=True)
                yield Move("the worker reads the manifest", sweep._replace(worker=read))
            case "read":
                yield self._decide(sweep, worker)
            case "claims":
                yield self._claim(sweep, worker)
            case "trains":
                yield self._end(sweep, worker)
            case "deletes":
                yield Move("the worker deletes its message", sweep._replace(worker=Hand()))
            case _:
                return

    def _decide(self, sweep: Sweep, worker: Hand) -> Move[Sweep]:
        planned = worker.seen != NONE or sweep.plan == "planned" or not self.rules.planned_only
        decision = decisions.on_message(
            "m0",
            self.ledger.seen(worker.seen, old=worker.old),
            planned=planned,
            hold=None,
            worker="vm1/0",
            visibility_timeout_s=V_S,
        )
        label = f"the worker reads the plan, and decides: {type(decision).__name__}"
        if isinstance(decision, decisions.Claim):
            wrong = "A job was claimed that no plan names" if worker.seen == NONE and sweep.plan != "planned" else ""
            return Move(label, sweep._replace(worker=worker._replace(at="claims")), wrong=wrong)
        return Move(label, sweep._replace(worker=Hand(at="deletes")))

    def _claim(self, sweep: Sweep, worker: Hand) -> Move[Sweep]:
        if not worker.fresh:
            back = sweep._replace(worker=Hand(), hidden=sweep.hidden + 1)
            return Move("the worker's claim is refused", back)
        before = self.ledger.find(worker.seen)
        manifest = decisions.claimed(JOB, before, nonce="a" * 16, worker="vm1/0", message_id="m0", release="r", utc="")
        after = self.stored(sweep, self.ledger.number(manifest))
        return Move("the worker claims the job", after._replace(worker=Hand(at="trains", fresh=True)))

    def _end(self, sweep: Sweep, worker: Hand) -> Move[Sweep]:
        if not worker.fresh:
            return Move("the worker finds that it lost the job", sweep._replace(worker=Hand(), hidden=sweep.hidden + 1))
        ended = decisions.finished(self.ledger[sweep.manifest], "failed", "failed", Outcome(reason="diverged"))
        after = self.stored(sweep, self.ledger.number(ended))
        return Move("the worker writes the terminal record", after._replace(worker=Hand(at="deletes")))

    def stored(self, sweep: Sweep, manifest: int) -> Sweep:
        """Return the sweep with another manifest: what anybody knew of the one before is old."""
        laptops = tuple(hand._replace(fresh=hand.fresh and hand.command == "delete") for hand in sweep.laptops)
        worker = sweep.worker._replace(fresh=False)
        return sweep._replace(manifest=manifest, old=False, laptops=laptops, worker=worker)


# ---- commands --------------------------------------------------------------------------------------------------------


def _put(sweep: Sweep, number: int, hand: Hand) -> Sweep:
    return sweep._replace(laptops=(*sweep.laptops[:number], hand, *sweep.laptops[number + 1 :]))


def _planned(sweep: Sweep, plan: str) -> Sweep:
    """Return the sweep with another plan: a delete that goes by an older one may not write it any more."""
    laptops = tuple(hand._replace(fresh=hand.fresh and hand.command != "delete") for hand in sweep.laptops)
    return sweep._replace(plan=plan, laptops=laptops)


def _next(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Sweep:
    """Return the sweep with an enqueue at its next step, or at its end."""
    steps = model.rules.steps
    place = steps.index(hand.at) + 1
    if place < len(steps) and not (hand.command == "retry" and hand.at == "record"):
        return _put(sweep, number, hand._replace(at=steps[place]))
    return _ended(sweep, number, hand)


def _ended(sweep: Sweep, number: int, hand: Hand) -> Sweep:
    """Return the sweep after a command: a retry takes back what it said."""
    closed = max(0, sweep.reopened - 1) if hand.command == "retry" else sweep.reopened
    return _put(sweep, number, Hand())._replace(reopened=closed)


def _find_plan(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    stored = {"": None, "planned": PLAN, "tombstone": TOMBSTONE}[sweep.plan]
    try:
        merged(stored, PLAN, update=False)
    except InputError:
        yield Move("enqueue finds a tombstone, and refuses", _put(sweep, number, Hand()))
    else:
        found = _next(model, sweep, number, hand._replace(plan=sweep.plan))
        yield Move(f"enqueue finds {'a plan' if sweep.plan else 'no plan'}", found)


def _write_plan(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    if hand.plan:
        yield Move("enqueue has its plan", _next(model, sweep, number, hand))
    elif sweep.plan:
        yield Move("enqueue's plan is refused: look again", _put(sweep, number, hand._replace(at="find plan")))
    else:
        yield Move("enqueue writes the plan", _next(model, _planned(sweep, "planned"), number, hand))


def _statuses(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    read = hand._replace(seen=sweep.manifest, old=sweep.old)
    yield Move(f"{hand.command} lists the manifests", _next(model, sweep, number, read))


def _records(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    found = sweep.recorded >= 0 and not model.due(hand, sweep.recorded, V_S)
    yield Move(f"{hand.command} lists its records", _next(model, sweep, number, hand._replace(records=found)))


def _send(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    if hand.records or not model.due(hand, -2, 0.0 if hand.command == "retry" else V_S):
        yield Move(f"{hand.command} has nothing to send", _ended(sweep, number, hand))
        return
    sent = sweep._replace(waiting=sweep.waiting + 1, undelivered=sweep.undelivered + 1, complete=False)
    yield Move(f"{hand.command} sends a message", _next(model, sent, number, hand))


def _record(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    manifest = model.ledger.find(hand.seen)
    recorded = sweep._replace(recorded=max(sweep.recorded, manifest.epoch if manifest else 0))
    yield Move(f"{hand.command} records what it sent", _next(model, recorded, number, hand))


def _audit(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    read = hand._replace(seen=sweep.manifest, old=sweep.old)
    ended = all_terminal(PLAN, model.statuses(sweep.manifest, old=sweep.old))
    at = "mark" if ended else "send"
    yield Move("the audit lists the manifests", _put(sweep, number, read._replace(at=at)))


def _audit_send(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    empty = not (sweep.waiting or sweep.hidden or sweep.worker.at)
    done = _put(sweep, number, Hand())
    if empty and model.due(hand, -2, V_S):
        sent = done._replace(waiting=sweep.waiting + 1, undelivered=sweep.undelivered + 1, complete=False)
        yield Move("the audit counts 0 again, and sends a message", sent)
    else:
        yield Move("the audit sends nothing", done)


def _mark(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    if sweep.reopened:
        yield Move("the audit finds a command under way, and sets no mark", _put(sweep, number, Hand()))
        return
    yield Move("the audit finds no command under way", _put(sweep, number, hand._replace(at="set mark")))


def _set_mark(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    marked = _put(sweep._replace(complete=True), number, hand._replace(at="look again"))
    yield Move("the audit marks the sweep as complete", marked)


def _look_again(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    ended = sweep.plan == "planned" and all_terminal(PLAN, model.statuses(sweep.manifest, old=sweep.old))
    ended = ended and not sweep.reopened
    done = _put(sweep, number, Hand())._replace(complete=sweep.complete and ended)
    yield Move(f"the audit looks again, and {'keeps the mark' if ended else 'takes it away'}", done)


def _unmark(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    if sweep.plan != "planned":
        yield Move("retry finds no plan, and refuses", _put(sweep, number, Hand()))
        return
    opened = sweep._replace(complete=False, reopened=sweep.reopened + model.rules.reopens)
    yield Move("retry says so, and takes the mark away", _put(opened, number, hand._replace(at="read")))


def _read(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    manifest = model.ledger.find(sweep.manifest)
    retriable = manifest is not None and manifest.status in RETRIABLE
    read = hand._replace(at="begin" if retriable else "check plan", seen=sweep.manifest, fresh=True)
    yield Move("retry reads the manifest", _put(sweep, number, read))


def _begin_anew(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    if not hand.fresh:
        yield Move("retry's write is refused: read again", _put(sweep, number, hand._replace(at="read")))
        return
    after = model.stored(sweep, model.ledger.number(planned_again(model.ledger[hand.seen], "b" * 16)))
    yield Move("retry writes that the job is planned", _put(after, number, hand._replace(at="check plan")))


def _check_plan(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    if sweep.plan != "planned":
        closed = sweep._replace(reopened=max(0, sweep.reopened - 1))
        yield Move("retry finds a tombstone, and sends nothing", _put(closed, number, Hand()))
        return
    # Epochs are levelled in this model, so that a record proves nothing to a retry: it sends once more than the code.
    read = hand._replace(at="send", seen=sweep.manifest, old=sweep.old, records=False)
    yield Move("retry lists the manifests", _put(sweep, number, read))


def _delete_find(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    if not sweep.plan:
        at = "blobs" if sweep.manifest != NONE else ""
        yield Move("delete finds no plan", _put(sweep, number, hand._replace(at=at) if at else Hand()))
    elif sweep.plan == "tombstone":
        yield Move("delete finds a tombstone", _put(sweep, number, hand._replace(at="withdraw", fresh=True)))
    else:
        yield Move("delete finds the plan", _put(sweep, number, hand._replace(at="ended?", fresh=True)))


def _delete_ended(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    ended = all_terminal(PLAN, model.statuses(sweep.manifest, old=sweep.old)) or not model.rules.only_ended
    after = hand._replace(at="bury" if model.rules.tombstone else "withdraw") if ended else Hand()
    yield Move(f"delete finds that the job has {'' if ended else 'not '}ended", _put(sweep, number, after))


def _bury(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    if not hand.fresh:
        yield Move("delete's tombstone is refused", _put(sweep, number, Hand()))
        return
    buried = _put(_planned(sweep, "tombstone"), number, hand._replace(at="begun?", fresh=True))
    yield Move("delete writes a tombstone", buried)


def _begun(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    begun = sweep.manifest != NONE and not model.ledger[sweep.manifest].terminal and model.rules.only_ended
    if begun and hand.fresh:
        back = _put(_planned(sweep, "planned"), number, Hand())
        yield Move("delete finds a job that began anew, and takes its tombstone back", back)
        return
    yield Move("delete looks again", _put(sweep, number, hand._replace(at="withdraw")))


def _withdraw(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    rest = sweep._replace(waiting=sweep.waiting - sweep.undelivered, undelivered=0) if sweep.recorded >= 0 else sweep
    yield Move("delete withdraws messages", _put(rest, number, hand._replace(at="blobs")))


def _blobs(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    stands = hand.fresh if sweep.plan else not hand.fresh
    left = sweep.manifest != NONE or sweep.recorded >= 0
    if not (left and stands):
        yield Move("delete finds nothing more", _put(sweep, number, hand._replace(at="plan")))
        return
    live = sweep.worker.at == "trains" and sweep.worker.fresh and sweep.plan == "planned"
    open_job = sweep.plan == "planned" and not model._terminal(sweep.manifest)
    gone = model.stored(sweep, NONE)._replace(recorded=-2, complete=False, reopened=0)
    yield Move(
        "delete deletes blobs", _put(gone, number, hand), wrong="A live blob was deleted" if live or open_job else ""
    )


def _delete_plan(model: SweepModel, sweep: Sweep, number: int, hand: Hand) -> Iterator[Move[Sweep]]:
    gone = _planned(sweep, "") if hand.fresh and sweep.plan else sweep
    yield Move("delete deletes the plan", _put(gone, number, Hand()))


_Step = Callable[[SweepModel, Sweep, int, Hand], Iterator[Move[Sweep]]]
_STEPS: Final[dict[tuple[str, str], _Step]] = {
    ("enqueue", "find plan"): _find_plan,
    ("enqueue", "write plan"): _write_plan,
    ("enqueue", "statuses"): _statuses,
    ("enqueue", "records"): _records,
    ("enqueue", "send"): _send,
    ("enqueue", "record"): _record,
    ("audit", "statuses"): _audit,
    ("audit", "send"): _audit_send,
    ("audit", "mark"): _mark,
    ("audit", "set mark"): _set_mark,
    ("audit", "look again"): _look_again,
    ("retry", "unmark"): _unmark,
    ("retry", "read"): _read,
    ("retry", "begin"): _begin_anew,
    ("retry", "check plan"): _check_plan,
    ("retry", "send"): _send,
    ("retry", "record"): _record,
    ("delete", "find plan"): _delete_find,
    ("delete", "ended?"): _delete_ended,
    ("delete", "bury"): _bury,
    ("delete", "begun?"): _begun,
    ("delete", "withdraw"): _withdraw,
    ("delete", "blobs"): _blobs,
    ("delete", "plan"): _delete_plan,
}
