"""Row 8: what must be poisoned, and what must never be."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.fakes.producing import Gate, Killed
from tests.fakes.trainer import TinyRun, tiny_job
from tests.proof.steady import DURATIONS, Ground, SteadyRuntime, work
from worker.contract import names
from worker.contract.errors import Diverged, MessageRejected, NewerSchema, StorageUnavailable
from worker.contract.job import Job, decode
from worker.loop import Loop
from worker.slot import Slot, Trainers

JOB: Final = tiny_job("poison", timesteps=30)
ROUNDS: Final = 10_000
"""Deliveries until a storage that fails half of all requests has let a job through, and many more."""
LATE: Final = DURATIONS.model_copy(update={"commit_s": 1e6})
"""No commit of its own accord."""


def _ground(job: Job = JOB, **durations: Any) -> Ground:
    ground = Ground(**durations)
    ground.enqueue(job)
    return ground


# ---- texts that are no jobs ----------------------------------------------------------------------------------------

EXTREMES: Final[tuple[Any, ...]] = (
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1e308,
    "",
    "../../etc/passwd",
    "a\u0000b",
    "𝕏" * 100,
    [],
    {},
    [[[[[]]]]],
    {"__reduce__": ["os.system", "true"]},
    "NaN",
)


def mutated(chance: random.Random, text: str) -> str:
    """Return a text that began as a job's message."""
    how = chance.choice(
        (_bytes_changed, _cut, _value_changed, _value_changed, _key_changed, _torn_number, _random_text)
    )
    return how(chance, text)


def _bytes_changed(chance: random.Random, text: str) -> str:
    body = bytearray(text.encode())
    for _ in range(chance.randint(1, 4)):
        body[chance.randrange(len(body))] = chance.randrange(1, 128)
    return body.decode()


def _cut(chance: random.Random, text: str) -> str:
    start, stop = sorted(chance.sample(range(len(text) + 1), 2))
    return chance.choice((text[start:stop], text[:start] + text[stop:], text + text[start:stop]))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _value_changed(chance: random.Random, text: str) -> str:
    content = json.loads(text)
    *path, last = chance.choice(list(_places(content)))
    place = content
    for key in path:
        place = place[key]
    place[last] = chance.choice(EXTREMES)
    return json.dumps(content)


def _key_changed(chance: random.Random, text: str) -> str:
    content = json.loads(text)
    *path, last = chance.choice([path for path in _places(content) if isinstance(path[-1], str)])
    place = content
    for key in path:
        place = place[key]
    place[chance.choice(("", "id", "schema_version", "more", last.upper()))] = place.pop(last)
    return json.dumps(content)


def _torn_number(chance: random.Random, text: str) -> str:
    digits = [index for index, char in enumerate(text) if char.isdigit()]
    index = chance.choice(digits)
    return text[:index] + chance.choice(("NaN", "Infinity", "1e999", "--1", "9" * 500, "0x1", "")) + text[index + 1 :]


def _random_text(chance: random.Random, _: str) -> str:
    alphabet = '{}[]":,0123456789.eE+-nulltrefasNI \\\t\u00e9\u2028'
    text = "".join(chance.choice(alphabet) for _ in range(chance.randint(0, 200)))
    return chance.choice((text, "[" * 5000, '{"a":' * 3000, "{" + text))


@dataclass
class Fuzzed:
    """What became of the messages."""

    fates: Counter[str]
    wrong: list[str]


def fuzz(count: int, seed: int, tell: Callable[[Fuzzed], None]) -> Fuzzed:
    """Let a slot receive mutated messages, one at a time; nothing but a planned job is ever trained."""
    chance = random.Random(seed)
    ground = Ground()
    slot = ground.worker("vm-a", trainers=_none_may_train)
    loop = Loop(slot)
    found = Fuzzed(Counter(), [])
    text = JOB.encode()
    for number in range(count):
        message = mutated(chance, text)
        expected = _expected(message)
        ground.jobs.send(message)
        try:
            loop._turn()
            fate = _fate(ground)
        except BaseException as error:  # noqa: BLE001 - that is what it is about
            fate = repr(error)
        if fate != expected:
            found.wrong.append(f"message {number} of seed {seed}: {fate}, not {expected}")
        found.fates[fate] += 1
        if ground.jobs.count() or slot.stop.reason:
            ground = Ground()
            loop = Loop(slot := ground.worker("vm-a", trainers=_none_may_train))
        tell(found)
    return found


def _none_may_train(_pace: Callable[[], None]) -> Trainers:
    def build(job: Job) -> TinyRun:
        raise AssertionError(f"{job.id} was trained, and no plan names it")

    return Trainers(build=build, fingerprint={})


def _expected(text: str) -> str:
    """Say what must become of a text, of which no plan knows."""
    try:
        decode(text)
    except NewerSchema:
        return "hidden, and the VM drains"
    except MessageRejected:
        return "on the poison queue"
    return "deleted: no plan names it"


def _fate(ground: Ground) -> str:
    manifests = [blob for blob in ground.blobs.list(names.SWEEPS, "") if "/manifests/" in blob.name]
    assert not manifests, "a manifest came into being"
    poisoned = ground.poison.count()
    if poisoned:
        ground.poison._entries.clear()
    if ground.jobs.count():
        return "hidden, and the VM drains" if ground.session().control.flags("vm-a").drain else "left in the queue"
    return "on the poison queue" if poisoned else "deleted: no plan names it"


# ---- jobs that never end well --------------------------------------------------------------------------------------


class _Crash(Exception):
    """Of a trainer."""


def _crashing(at_step: int, error: Callable[[], BaseException]) -> Callable[[Callable[[], None]], Trainers]:
    def make(pace: Callable[[], None]) -> Trainers:
        def build(job: Job) -> TinyRun:
            def step() -> None:
                pace()
                if run.step >= at_step:
                    raise error()

            run = TinyRun(job, step)
            return run

        return Trainers(build=build, fingerprint={"cpu": "tiny"})

    return make


def crashes_always(at_step: int, commits: bool) -> list[str]:
    """Train a job that raises at one step; return what is wrong with its end.

    With commits the first attempt makes progress before it fails, and no other does.
    """
    ground = _ground(durations=DURATIONS if commits else LATE)
    for _ in range(12):
        work(ground.worker("vm-a", trainers=_crashing(at_step, _Crash)))
        ground.clock.now_s += 2000
    manifest = ground.manifest(JOB)
    failed = [attempt for attempt in manifest.attempts if attempt.ended == "failed"]
    moved = [attempt for attempt in failed if attempt.to_step > attempt.from_step]
    wrong = [] if manifest.status == "poisoned" else [f"it is {manifest.status}"]
    if len(failed) != 3 or manifest.attempt_count != 3 or len(moved) != (commits and at_step > 0):
        wrong.append(f"{len(failed)} attempts failed, of {manifest.attempt_count}; {len(moved)} made progress")
    if ground.poison.count() != 1 or ground.jobs.count():
        wrong.append(f"{ground.poison.count()} messages on the poison queue, {ground.jobs.count()} on the other")
    return [*wrong, *ground.watched.broken]


def diverges() -> list[str]:
    """Train a job whose loss is not finite."""
    ground = _ground()
    work(ground.worker("vm-a", trainers=_crashing(5, lambda: Diverged("the loss is not finite"))))
    manifest = ground.manifest(JOB)
    wrong = [] if manifest.status == "failed" else [f"it is {manifest.status}"]
    if not manifest.outcome.reason.startswith("diverged") or manifest.attempt_count != 1:
        wrong.append(f"after {manifest.attempt_count} attempts: {manifest.outcome.reason}")
    if ground.jobs.count() or ground.poison.count():
        wrong.append("a message is left")
    return wrong


# ---- jobs that are in order ----------------------------------------------------------------------------------------


def preempted(times: int, every: int) -> list[str]:
    """Evict a job's worker with a notice every few steps (0: before its first step), so often; then let it end."""
    job = tiny_job("poison", 1, timesteps=(every + 1) * times + 20)
    ground = _ground(job)
    for _ in range(times):
        claimed_at = ground.find(job)
        start = claimed_at.step if claimed_at else 0

        def notice(slot: Slot, start: int = start) -> None:
            seen = ground.find(job)
            if seen is not None and seen.step >= start + every:
                slot.stop.ask("evicted")

        work(ground.worker("vm-a", at_step=notice))
    manifest = ground.manifest(job)
    wrong = [] if manifest.eviction_count == times else [f"{manifest.eviction_count} evictions, not {times}"]
    ground.recover()
    return [*wrong, *ground.wrong(job), *ground.noticed()]


def evicted_before_its_first_commit(times: int) -> list[str]:
    """Cut the power so often in the middle of the job's first steps, and then let it end."""
    ground = _ground(durations=LATE)

    def die(slot: Slot) -> None:
        if slot.signs.report().job:
            raise Killed

    for _ in range(times):
        try:
            work(ground.worker("vm-a", at_step=die))
        except Killed:
            ground.clock.now_s += LATE.visibility_timeout_s + 1
    manifest = ground.manifest(JOB)
    wrong = [] if manifest.epoch == times else [f"{manifest.epoch} claims, not {times}"]
    ground.recover()
    return [*wrong, *ground.wrong(JOB), *ground.noticed()]


class _Flapping(Gate):
    """Storage that fails now and then, before or after it has done what was asked."""

    def __init__(self, seed: int, share: float) -> None:
        super().__init__()
        self._chance = random.Random(seed)
        self._share = share

    def through(self, request: Callable[[], Any]) -> Any:
        """Carry a request out, or fail, or both."""
        if self._chance.random() < self._share / 2:
            raise StorageUnavailable("an outage")
        answer = request()
        if self._chance.random() < self._share / 2:
            raise StorageUnavailable("an outage, after the fact")
        return answer


def flaps(seed: int, share: float) -> list[str]:
    """Train over storage that fails this share of all requests, until the job has ended."""
    ground = _ground()
    for _ in range(ROUNDS):
        if not ground.jobs.count():
            break
        slot = ground.worker("vm-a", _Flapping(seed, share))
        assert isinstance(slot.runtime, SteadyRuntime)
        _run_for_a_while(slot)
        ground.clock.now_s += ground.durations.visibility_timeout_s + 1
        seed += 1_000_003
    events = ground.events
    wrong = [
        f"{events[event]} × {event}" for event in ("job.raised", "ownership.lost", "checkpoint.lost") if events[event]
    ]
    if ground.poison.count():
        wrong.append("poisoned")
    return [*wrong, *ground.wrong(JOB), *ground.watched.broken]


def _run_for_a_while(slot: Slot) -> None:
    """Run the loop as the process does, until it has looked in vain a few times."""
    runtime = slot.runtime
    loop = Loop(slot)
    for _ in range(20):
        try:
            loop._turn()
        except StorageUnavailable:
            runtime.wait(slot.stop.event, 1.0)
