"""Row 5: a worker or a producer dies before and after each of its requests, and others take over.

A scenario says how the ground is prepared, who makes requests, and how others recover; it is played once without a
crash to count its requests, and then once for every point.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from producer.session import Session
from producer.sweep.audit import audit
from producer.sweep.enqueue import enqueue
from producer.sweep.hold import cancel
from producer.sweep.lifecycle import delete, retry
from tests.fakes.producing import Gate, Killed, kill
from tests.fakes.trainer import TinyRun, tiny_job
from tests.proof.drain_points import MENDS, drain, new_ground
from tests.proof.steady import Ground, work
from tests.proof.torn import torn
from worker.contract import names
from worker.contract.errors import BadConfiguration, InputError
from worker.contract.job import Job
from worker.contract.plan import Plan, PlannedJob, PlannedSet
from worker.slot import Slot, Trainers

SWEEP = "tiny"
JOBS = tuple(tiny_job(SWEEP, seed, timesteps=12) for seed in range(3))
PLAN = Plan(
    sweep=SWEEP,
    common=JOBS[0].configuration,
    sets=(PlannedSet(differs={}),),
    jobs=tuple(PlannedJob(id=job.id, set=0, seed=job.seed) for job in JOBS),
)


@dataclass(frozen=True)
class Point:
    """Where the crash is: at the n-th request, before or after it was carried out."""

    at: int
    after: bool

    def __str__(self) -> str:
        return f"{'after' if self.after else 'before'} request {self.at}"


@dataclass(frozen=True)
class Scenario:
    """What is crashed, and what must be true of what others make of it."""

    prepare: Callable[[], Ground]
    act: Callable[[Ground, Gate], object]
    """Makes requests through the gate."""
    mend: Callable[[Ground], list[str]]
    """Recovers, and returns what is wrong then."""
    jobs: tuple[Job, ...] = JOBS


def points(scenario: Scenario) -> Iterator[Point]:
    """Yield every point of a scenario."""
    gate = Gate()
    scenario.act(scenario.prepare(), gate)
    yield from points_at(gate.passed)


def points_at(requests: int) -> Iterator[Point]:
    """Yield the points of so many requests: before and after each."""
    for at in range(1, requests + 1):
        yield from (Point(at, after=False), Point(at, after=True))


def crash(scenario: Scenario, point: Point) -> list[str]:
    """Play it with a crash; return what is wrong after it, and after others have recovered."""
    ground = scenario.prepare()
    with contextlib.suppress(Killed):
        scenario.act(ground, Gate(point.at, point.after, kill))
    wrong = [problem for job in scenario.jobs for problem in torn(ground.blobs, ground.find(job))]
    return [*wrong, *scenario.mend(ground), *ground.noticed()]


# ---- a worker ------------------------------------------------------------------------------------------------------

ONE = JOBS[:1]


def _one_job() -> Ground:
    ground = Ground()
    ground.enqueue(JOBS[0])
    return ground


def _two_messages() -> Ground:
    ground = _one_job()
    ground.jobs.send(JOBS[0].encode())
    return ground


def _evicted(ground: Ground, gate: Gate) -> None:
    """A notice comes in the middle: it commits, releases, and leaves."""

    def notice(slot: Slot) -> None:
        manifest = ground.find(JOBS[0])
        if manifest is not None and manifest.step >= 6:
            slot.stop.ask("evicted")

    work(ground.worker("vm-a", gate, at_step=notice))


def _drained(ground: Ground, gate: Gate) -> None:
    """The flag stands already: it gives its message back, and leaves."""
    ground.session().control.raise_flag("drain", "vm-a", "surplus")
    work(ground.worker("vm-a", gate))


def _one_is_done(ground: Ground) -> list[str]:
    ground.recover()
    return ground.wrong(JOBS[0])


# ---- a producer ----------------------------------------------------------------------------------------------------


def _enqueue(session: Session) -> None:
    enqueue(session, PLAN, lambda _: True)


def _enqueued() -> Ground:
    ground = Ground()
    _enqueue(ground.session())
    return ground


def _failing(pace: Callable[[], None]) -> Trainers:
    """Trainers that refuse every job but the first."""

    def build(job: Job) -> TinyRun:
        if job.seed:
            raise BadConfiguration("it never works")
        return TinyRun(job, pace)

    return Trainers(build=build, fingerprint={"cpu": "tiny"})


def _ended() -> Ground:
    """A sweep with one job done and two failed."""
    ground = _enqueued()
    work(ground.worker("vm-0", trainers=_failing))
    assert not ground.jobs.count()
    return ground


def _again(command: Callable[[Session], object]) -> Callable[[Ground], None]:
    """Two laptops repeat the command, one after the other."""

    def repeat(ground: Ground) -> None:
        for _ in range(2):
            with contextlib.suppress(InputError):  # the first one, or the one that died, may have left nothing to do
                command(ground.session())

    return repeat


def _all_done(mend: Callable[[Ground], None], ends: tuple[int, ...] = (1, 1, 1)) -> Callable[[Ground], list[str]]:
    def then(ground: Ground) -> list[str]:
        mend(ground)
        ground.recover()
        return [problem for job, times in zip(JOBS, ends, strict=True) for problem in ground.wrong(job, times)]

    return then


def _audited(ground: Ground) -> list[str]:
    """Nobody repeats it: workers train what was sent, and the audit finds the rest of what was planned."""
    ground.recover()
    audit(ground.session())
    ground.recover()
    planned = ground.blobs.get(names.SWEEPS, names.plan(SWEEP)) is not None
    if planned:
        return [problem for job in JOBS for problem in ground.wrong(job)]
    return ["there are manifests without a plan"] if any(ground.find(job) for job in JOBS) else []


def _is_gone(ground: Ground) -> list[str]:
    _again(lambda session: delete(session, SWEEP))(ground)
    ground.recover()
    left = [blob.name for place in names.CONTAINERS for blob in ground.blobs.list(place, f"{SWEEP}/")]
    return [f"{name} is left" for name in left]


def _all_cancelled(ground: Ground) -> list[str]:
    _again(lambda session: cancel(session, SWEEP))(ground)
    ground.recover()
    wrong = []
    for job in JOBS:
        manifest = ground.find(job)
        if manifest is None or manifest.status != "cancelled":
            wrong.append(f"{job.id} is {manifest.status if manifest else 'unclaimed'}")
        if ground.watched.ends[names.manifest(job.sweep, job.id)] != 1:
            wrong.append(f"{job.id} ended more than once")
    return wrong


SCENARIOS = {
    "a job from claim to deletion": Scenario(
        _one_job, lambda ground, gate: work(ground.worker("vm-a", gate)), _one_is_done, ONE
    ),
    "a job with two messages": Scenario(
        _two_messages, lambda ground, gate: work(ground.worker("vm-a", gate)), _one_is_done, ONE
    ),
    "an eviction": Scenario(_one_job, _evicted, _one_is_done, ONE),
    "a worker that is drained": Scenario(_one_job, _drained, _one_is_done, ONE),
    "enqueue": Scenario(Ground, lambda ground, gate: _enqueue(ground.session(gate)), _all_done(_again(_enqueue))),
    "enqueue, left to the audit": Scenario(Ground, lambda ground, gate: _enqueue(ground.session(gate)), _audited),
    "retry": Scenario(
        _ended,
        lambda ground, gate: retry(ground.session(gate), SWEEP),
        _all_done(_again(lambda session: retry(session, SWEEP)), (1, 2, 2)),
    ),
    "cancel": Scenario(_enqueued, lambda ground, gate: cancel(ground.session(gate), SWEEP), _all_cancelled),
    **{name: Scenario(new_ground, drain, mend, ()) for name, mend in MENDS.items()},
    "delete": Scenario(_ended, lambda ground, gate: delete(ground.session(gate), SWEEP), _is_gone),
}
