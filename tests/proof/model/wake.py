"""The wake model: the deployed definition, stopped before each of its requests, beside VMs and a producer (rule 12).

What is abstracted, and why that hides nothing:

- **A run of the wake** is the answers that it has had so far: from these the definition itself says what it does next.
  After any answer the engine may be held up, so that what was read is too old when it PATCHes.
- **Time.** The pulse grows old only where nothing lives that pulses every minute. During the wake's delay of ten
  minutes whatever lives has pulsed. Between its last look at the pulse and a PATCH that is accepted lie 30 s at most,
  and between a VM's first pulse and its first receive 60 s at least: so no VM begins to receive in between.
- The memory of fruitless raises is left out: the schedules have it.
"""

import json
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final, NamedTuple

from producer.emulator.wake import HttpAnswer, HttpCall, Wake
from tests.fakes.wake_cloud import JSON, NO_BLOB, PRECONDITION, Cloud, deployed_wake
from tests.proof.model.engine import Move

NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
OLD_S: Final = 1900.0
HELD_UP_S: Final = 45.0


class Answer(NamedTuple):
    """What the wake was told, and whether the engine stood still after that."""

    value: int = 0
    """A capacity, a count, whether the pulse is old, or has another ETag than before, whether a PATCH passed."""
    held_up: bool = False
    failed: bool = False


class Call(NamedTuple):
    """What the wake does next."""

    what: str
    """`GET set`, `GET jobs`, …, `wait`, or `end`."""
    capacity: int = 0
    fresh: bool = False
    """Of a PATCH: whether it goes by what was read lately."""


class State(NamedTuple):
    """A state."""

    capacity: int = 0
    vms: tuple[str, ...] = ()
    """Each booting, pulsed (for the first time, just now), idle, working or dead."""
    waiting: int = 0
    to_come: int = 0
    old: bool = True
    """Whether the pulse is half an hour old."""
    answers: tuple[Answer, ...] = ()
    """What the wake has been told in this run."""
    set_fresh: bool = False
    """Whether the set is as the wake read it."""
    pulse_fresh: bool = False
    raising: str = ""
    """What a producer has done of its raise: read the set, written the pulse."""
    raise_fresh: bool = False
    evictions: int = 0
    deaths: int = 0
    failures: int = 0
    """Requests of the wake that may still fail."""


class _Pending(BaseException):
    """The wake is about to do this, and has not been answered yet."""

    def __init__(self, call: Call) -> None:
        super().__init__(call)
        self.call = call


class _Script:
    """Surroundings that answer as far as answers were given."""

    def __init__(self, answers: tuple[Answer, ...]) -> None:
        self._answers = list(reversed(answers))
        self._time = NOON
        self._pulses = 0

    def now(self) -> datetime:
        return self._time

    def wait(self, seconds: float) -> None:
        self._next(Call("wait"))
        self._time += timedelta(seconds=seconds)

    def send(self, call: HttpCall) -> HttpAnswer:
        what = f"{call.method} {Cloud.name(call)}"
        capacity = json.loads(call.body or b"{}").get("sku", {}).get("capacity", 0) if call.method == "PATCH" else 0
        answer = self._next(Call(what, capacity, call.headers.get("If-Match") == '"set"'))
        if answer.failed:
            raise OSError("no answer")
        return self._http(what, answer.value)

    def _next(self, call: Call) -> Answer:
        if not self._answers:
            raise _Pending(call)
        answer = self._answers.pop()
        self._time += timedelta(seconds=HELD_UP_S if answer.held_up else 1.0)
        return answer

    def _http(self, what: str, value: int) -> HttpAnswer:
        date = format_datetime(self._time, usegmt=True)
        if what == "GET set":
            return HttpAnswer(200, JSON, json.dumps({"etag": '"set"', "sku": {"capacity": value}}).encode())
        if what == "GET jobs":
            return HttpAnswer(200, {"Date": date, "x-ms-approximate-messages-count": str(value)})
        if what == "GET pulse":
            self._pulses += 1
            age_s = OLD_S if value or self._pulses > 1 else 0.0
            written = format_datetime(self._time - timedelta(seconds=age_s), usegmt=True)
            etag = '"another"' if self._pulses > 1 and value else '"pulse"'
            return HttpAnswer(200, {"Date": date, "Last-Modified": written, "ETag": etag})
        if what == "PATCH set":
            return HttpAnswer(200, JSON, b"{}") if value else PRECONDITION
        return NO_BLOB if what.startswith("GET") else HttpAnswer(201, {"Date": date})


@dataclass(frozen=True)
class WakeModel:
    """A set of one VM, jobs that come one by one, a producer that may raise, and the wake."""

    definition: Wake
    begins: State = field(default_factory=lambda: State(to_come=1))
    pulses: bool = True
    """Living VMs pulse (rule 12)."""
    waits_to_receive: bool = True
    """A VM's first receive comes a minute after its first pulse (rule 12)."""
    producer: bool = False
    calls: dict[Hashable, Call] = field(default_factory=dict)

    def start(self) -> State:
        """Return the state to begin with."""
        return self.begins

    def settled(self, state: State) -> bool:
        """Return whether all is done and nothing runs."""
        return not (state.capacity or state.vms or state.waiting or state.to_come)

    def moves(self, state: State) -> Iterator[Move[State]]:
        """Yield what the wake, the VM, a producer and people do."""
        yield from self._wake(state)
        yield from self._vms(state)
        if self.producer:
            yield from self._producer(state)
        if state.to_come:
            yield Move("a job is enqueued", state._replace(waiting=state.waiting + 1, to_come=state.to_come - 1))
        if not state.old and not self._alive(state):
            yield Move("the pulse is half an hour old", state._replace(old=True))

    def _alive(self, state: State) -> bool:
        return self.pulses and any(vm in {"pulsed", "idle", "working"} for vm in state.vms)

    # ---- the wake ----

    def call(self, answers: tuple[Answer, ...]) -> Call:
        """Return what the definition does next."""
        if answers not in self.calls:
            self.calls[answers] = self._ask(answers)
        return self.calls[answers]

    def _ask(self, answers: tuple[Answer, ...]) -> Call:
        try:
            self.definition.run(_Script(answers))
        except _Pending as pending:
            return pending.call
        return Call("end")

    def _wake(self, state: State) -> Iterator[Move[State]]:
        call = self.call(state.answers)
        if call.what == "end":
            yield Move("the wake's run ends", state._replace(answers=(), set_fresh=False, pulse_fresh=False))
            return
        if state.failures and call.what != "wait":
            failed = state._replace(failures=state.failures - 1, answers=(*state.answers, Answer(failed=True)))
            yield Move(f"the wake: {call.what} fails", failed, fault=True)
        label = f"the wake: {call.what} {call.capacity if call.what.startswith('PATCH') else ''}".rstrip()
        after, value, wrong = self._answered(state, call)
        for held_up in (False, True):
            told = after._replace(answers=(*state.answers, Answer(value, held_up)))
            if held_up and call.what not in {"GET pulse", "PUT pulse", "GET jobs"}:
                continue
            what = f"{label}, then it is held up" if held_up else label
            yield Move(f"{what} ({value})", told, fault=held_up, wrong=wrong)

    def _answered(self, state: State, call: Call) -> tuple[State, int, str]:
        """Return the state after a request, the answer's value, and what is wrong."""
        match call.what:
            case "GET set":
                return state._replace(set_fresh=True), state.capacity, ""
            case "GET jobs":
                return state, state.waiting + state.vms.count("working"), ""
            case "GET pulse":
                again = any(self.call(state.answers[:n]).what == "GET pulse" for n in range(len(state.answers)))
                return (
                    (state, int(not state.pulse_fresh), "")
                    if again
                    else (
                        state._replace(pulse_fresh=True),
                        int(state.old),
                        "",
                    )
                )
            case "wait":
                return (_pulsed(state) if self._alive(state) else state), 0, ""
            case "PUT pulse":
                return _pulsed(state), 0, ""
            case "PATCH set":
                if not (call.fresh and state.set_fresh):
                    return state, 0, ""
                return _patched(state, call.capacity), 1, _wrong(state, call.capacity)
            case _:
                return state, 0, ""

    def _about_to_clear(self, state: State) -> bool:
        call = self.call(state.answers)
        lately = bool(state.answers) and not state.answers[-1].held_up
        return call.what == "PATCH set" and not call.capacity and call.fresh and lately

    # ---- the others ----

    def _vms(self, state: State) -> Iterator[Move[State]]:
        if state.capacity > len(state.vms):
            yield Move("a VM appears", state._replace(vms=(*state.vms, "booting")))
        for place, vm in enumerate(state.vms):
            yield from self._vm(state, place, vm)
            others = (*state.vms[:place], *state.vms[place + 1 :])
            gone = _changed(state._replace(vms=others, capacity=state.capacity - 1))
            back = gone._replace(waiting=gone.waiting + (vm == "working"))
            if state.evictions:
                yield Move("the VM is evicted", back._replace(evictions=state.evictions - 1), fault=True)
            if vm == "idle" and not state.waiting:
                yield Move("the VM retires", gone)
            if state.deaths and vm != "dead":
                dead = state._replace(vms=_with(state, place, "dead"), deaths=state.deaths - 1)
                yield Move("the VM dies", dead._replace(waiting=state.waiting + (vm == "working")), fault=True)

    def _vm(self, state: State, place: int, vm: str) -> Iterator[Move[State]]:
        match vm:
            case "booting":
                first = state._replace(vms=_with(state, place, "pulsed"))
                yield Move("the VM has booted, and pulses", _pulsed(first) if self.pulses else first)
            case "pulsed" if not (self.waits_to_receive and self._about_to_clear(state)):
                yield Move("the VM begins to receive", state._replace(vms=_with(state, place, "idle")))
            case "idle" if state.waiting:
                works = state._replace(vms=_with(state, place, "working"), waiting=state.waiting - 1)
                yield Move("the VM claims a job", works)
            case "working":
                yield Move("the VM finishes its job", state._replace(vms=_with(state, place, "idle")))
            case _:
                return

    def _producer(self, state: State) -> Iterator[Move[State]]:
        """An enqueue's raise, as reconcile has it; what it reads and asks is in the fleet model."""
        if state.raising == "" and state.waiting and not state.capacity:
            yield Move("a producer reads the set", state._replace(raising="read", raise_fresh=True))
        elif state.raising == "read":
            yield Move("the producer writes the pulse", _pulsed(state)._replace(raising="pulsed"))
        elif state.raising == "pulsed":
            done = _patched(state, 1) if state.raise_fresh else state
            yield Move("the producer PATCHes 1", done._replace(raising="", raise_fresh=False))


def _with(state: State, place: int, vm: str) -> tuple[str, ...]:
    return (*state.vms[:place], vm, *state.vms[place + 1 :])


def _changed(state: State) -> State:
    return state._replace(set_fresh=False, raise_fresh=False)


def _pulsed(state: State) -> State:
    return state._replace(old=False, pulse_fresh=False)


def _patched(state: State, capacity: int) -> State:
    """Return the state after a PATCH; who goes by one to 0 gives its job back."""
    if capacity >= len(state.vms):
        return _changed(state._replace(capacity=capacity))
    back = state.waiting + state.vms.count("working")
    return _changed(state._replace(capacity=capacity, vms=state.vms[:capacity], waiting=back))


def _wrong(state: State, capacity: int) -> str:
    return "The wake deleted a VM that worked" if capacity < len(state.vms) and "working" in state.vms else ""


def the_wake(most: int = 1, **parameters: int) -> Wake:
    """Return the deployed wake, for a set of at most so many VMs with one slot each."""
    wake = deployed_wake()
    assert wake is not None
    return wake.with_parameters(maxInstances=most, slotsPerInstance=1, **parameters)
