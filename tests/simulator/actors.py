"""Who acts on a simulated fleet from outside: laptops with the real commands, and the wake."""

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from email.utils import format_datetime
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from producer.emulator.wake import HttpAnswer, HttpCall, Wake
from producer.fleet.memory import Memory
from producer.fleet.scaler import Scaler
from producer.session import Session
from producer.sweep import hold, lifecycle
from producer.sweep.audit import audit
from producer.sweep.confirm import confirm
from producer.sweep.enqueue import enqueue
from tests.fakes.sweeps import make_plan
from tests.fakes.trainer import tiny_job
from tests.fakes.wake_cloud import JSON, deployed_wake
from tests.simulator.cloud import Blobs, Queue, ScaleSetClient, patch
from tests.simulator.network import Client
from tests.simulator.scheduler import EPOCH, Process, SimulatedRuntime
from worker.contract import names
from worker.contract.errors import FleetError, InputError, SetChanged, StorageError, Throttled
from worker.contract.plan import Plan
from worker.contract.plans import find_plan
from worker.contract.settings import Target

if TYPE_CHECKING:
    from tests.simulator.world import World

MAIN, OTHER = "main", "other"
AMPLE_USD: Final = 1e6
A_SLOT_SECOND_USD: Final = 1.0
FRESHNESS_S, PULSE_AGE_S, CLEAR_DELAY_S, REST_S, INTERVAL_S = 1, 60, 20, 720, 20.0
"""The wake's times, as all times are shrunk here."""


@lru_cache(maxsize=256)
def sweep_plan(name: str, jobs: int, timesteps: int) -> Plan:
    """Return the plan of a sweep: one set, so many seeds."""
    configuration = tiny_job(timesteps=timesteps).configuration
    return make_plan([{}], range(jobs), name=name, common=configuration, budget_usd=AMPLE_USD)


class Laptop:
    """A person's machine; every command is a process of its own."""

    def __init__(self, world: "World", name: str) -> None:
        self._world = world
        self.name = name
        self.processes: list[Process] = []
        self._ordinal = 0
        self.closed_until_s = 0.0

    def run(self, what: str, command: Callable[[Session, Scaler], object]) -> Process:
        """Run a command; an error that it tells the person is an outcome like any other."""
        world = self._world
        self._ordinal += 1
        name = f"{self.name}#{self._ordinal}"
        process = world.process(name, skew_s=world.skew_s())
        client = world.client(Client(name, "laptop", process, process.kill, since_s=world.now_s))
        self.processes = [*(one for one in self.processes if one.alive), process]

        def main() -> None:
            world.tell(name, f"runs {what}")
            try:
                command(*self._session(process, client))
            except (InputError, StorageError, FleetError) as error:
                world.tell(name, f"fails: {error}")
                world.commands_failed += 1
            else:
                world.tell(name, "has done it")
            process.alive = False

        process.spawn("main", main)
        return process

    def _session(self, process: Process, client: Client) -> tuple[Session, Scaler]:
        world = self._world
        session = Session(
            target=world.target,
            durations=world.durations,
            blobs=Blobs(world.cloud, client),
            jobs=Queue(world.cloud, client, world.cloud.jobs),
            poison=Queue(world.cloud, client, world.cloud.poison),
            runtime=SimulatedRuntime(process, world.nonce),
            user=self.name,
        )
        return session, Scaler(session, ScaleSetClient(world.cloud, client), audit)

    def kill(self) -> None:
        """Kill whatever runs."""
        for process in self.processes:
            process.kill()

    def close_lid(self, seconds: float) -> None:
        for process in self.processes:
            process.pause(seconds)


# ---- commands -------------------------------------------------------------------------------------------------------

Command = Callable[["World", int], Callable[[Session, Scaler], object]]


def _closing(world: "World", scaler: Scaler) -> None:
    """The ticks that end whatever sends messages."""
    if world.has_set:
        scaler.ensure_capacity(lambda line: None)


def enqueue_command(plan: Plan, world: "World", *, update: bool = False) -> Callable[[Session, Scaler], object]:
    """Return `enqueue`."""

    def run(session: Session, scaler: Scaler) -> None:
        found = enqueue(session, plan, lambda _: True, update=update)
        if found.hold is None or found.hold.jobs:
            _closing(world, scaler)

    return run


def _some_jobs(session: Session, which: int) -> Sequence[str]:
    stored = find_plan(session.blobs, MAIN)
    if stored is None:
        raise InputError(f"There is no sweep {MAIN}.")
    jobs = sorted(stored.plan.by_id)
    return jobs[which % len(jobs) :][:2]


def _more(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    world.planned_jobs = min(world.planned_jobs + 1, 6)
    return enqueue_command(sweep_plan(MAIN, world.planned_jobs, world.scenario.timesteps), world, update=True)


def _again(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    return enqueue_command(sweep_plan(MAIN, world.planned_jobs, world.scenario.timesteps), world)


def _other(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    return enqueue_command(sweep_plan(OTHER, 1 + which % 2, 60), world)


def _confirm(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    def run(session: Session, scaler: Scaler) -> None:
        confirm(session, MAIN, [0], 1 + which % 2, lambda _: True)
        _closing(world, scaler)

    return run


def _budget(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    plan = sweep_plan(MAIN, world.planned_jobs, world.scenario.timesteps)
    return enqueue_command(plan.model_copy(update={"budget_usd": 2.0 + 3.0 * which}), world)


def _pause(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    return lambda session, _: hold.pause(session, MAIN)


def _resume(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    def run(session: Session, scaler: Scaler) -> None:
        hold.resume(session, MAIN)
        _closing(world, scaler)

    return run


def _cancel(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    return lambda session, _: hold.cancel(session, MAIN)


def _cancel_jobs(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    return lambda session, _: hold.cancel(session, MAIN, _some_jobs(session, which))


def _retry(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    def run(session: Session, scaler: Scaler) -> None:
        found = lifecycle.retry(session, MAIN)
        if found.hold is None or found.hold.jobs:
            _closing(world, scaler)

    return run


def _retry_cancelled(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    def run(session: Session, scaler: Scaler) -> None:
        found = lifecycle.retry(session, MAIN, cancelled=True)
        if found.hold is None or found.hold.jobs:
            _closing(world, scaler)

    return run


def _delete(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    return lambda session, _: lifecycle.delete(session, (MAIN, OTHER)[which % 2])


def _audit(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    return lambda session, _: audit(session) if session.jobs.count() == 0 else None


def _scale_once(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    return lambda _, scaler: scaler.tick(Memory())


def watch_command(world: "World") -> Callable[[Session, Scaler], object]:
    """Return `scale --watch`."""
    return lambda session, scaler: scaler.watch(session.runtime.event(), lambda report: None)


def _resume_fleet(world: "World", which: int) -> Callable[[Session, Scaler], object]:
    def run(session: Session, scaler: Scaler) -> None:
        session.control.resume_fleet()
        _closing(world, scaler)

    return run


COMMANDS: Final[dict[str, Command]] = {
    "enqueue again": _again,
    "enqueue more": _more,
    "enqueue other": _other,
    "confirm": _confirm,
    "budget": _budget,
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
    "cancel jobs": _cancel_jobs,
    "retry": _retry,
    "retry cancelled": _retry_cancelled,
    "delete": _delete,
    "audit": _audit,
    "scale once": _scale_once,
    "resume fleet": _resume_fleet,
}


def finish(world: "World") -> Callable[[Session, Scaler], object]:
    """Return what a person does who wants all of it done: end deletions, lift pauses, call again what died."""

    def run(session: Session, scaler: Scaler) -> None:
        for sweep in (MAIN, OTHER):
            stored = find_plan(session.blobs, sweep)
            if stored is None:
                continue
            if stored.plan.deleted:
                lifecycle.delete(session, sweep)
                continue
            found = hold.find_hold(session, sweep)
            if found is not None and found.cancels_all:
                hold.cancel(session, sweep)
            elif found is not None and found.hold.kind == "paused":
                hold.resume(session, sweep)
            enqueue(session, stored.plan.model_copy(update={"budget_usd": AMPLE_USD}), lambda _: True)
        session.control.resume_fleet()
        _closing(world, scaler)

    return run


# ---- the wake -------------------------------------------------------------------------------------------------------


@cache
def _deployed() -> Wake:
    wake = deployed_wake()
    assert wake is not None
    return wake


class SimulatedWake:
    """The deployed workflow on its schedule, over this cloud."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._wake = _deployed().with_parameters(
            freshness_s=FRESHNESS_S,
            pulseAge_s=PULSE_AGE_S,
            clearDelay_s=CLEAR_DELAY_S,
            rest_s=REST_S,
            maxInstances=world.target.max_instances,
            slotsPerInstance=world.target.slots_per_instance,
        )
        self._process = world.process("wake")
        self._client = world.client(Client("wake", "wake", self._process, lambda: None))
        self._process.spawn("runs", self._run)

    def _run(self) -> None:
        while True:
            run = self._wake.run(self)
            if run.status != "Succeeded":
                self._world.tell("wake", f"fails: {run.code} {run.message}")
            self._world.scheduler.sleep(INTERVAL_S)

    # ---- what the engine asks ----

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._world.now_s)

    def wait(self, seconds: float) -> None:
        self._world.scheduler.sleep(seconds)

    def send(self, call: HttpCall) -> HttpAnswer:
        path = call.uri.partition("?")[0]
        network, cloud = self._world.network, self._world.cloud
        try:
            if "virtualMachineScaleSets" in path:
                return network.request(self._client, "arm", lambda: self._set(call))
            if path.endswith("/jobs"):
                return network.request(self._client, "queue", lambda: self._count(cloud.jobs.count()))
            return network.request(self._client, "blobs", lambda: self._blob(call, path.rpartition("/")[2]))
        except (StorageError, FleetError) as error:
            raise TimeoutError(str(error)) from error

    def _count(self, count: int) -> HttpAnswer:
        return HttpAnswer(200, {**self._date(), "x-ms-approximate-messages-count": str(count)})

    def _set(self, call: HttpCall) -> HttpAnswer:
        cloud = self._world.cloud
        if call.method == "PATCH":
            capacity = json.loads(call.body or b"")["sku"]["capacity"]
            try:
                patch(cloud, self._client, capacity, call.headers["If-Match"])
            except Throttled:
                return HttpAnswer(429, {**JSON, "Retry-After": "60"}, b'{"error":{"code":"OperationNotAllowed"}}')
            except SetChanged:
                return HttpAnswer(412, JSON, b'{"error":{"code":"ConditionNotMet"}}')
            except FleetError:
                return HttpAnswer(409, JSON, b'{"error":{"code":"SkuNotAvailable"}}')
        try:
            state = cloud.scale_set.read()
        except FleetError:
            return HttpAnswer(429, {**JSON, "Retry-After": "60"}, b'{"error":{"code":"OperationNotAllowed"}}')
        document = {
            "etag": state.etag,
            "sku": {"capacity": state.capacity},
            "properties": {"provisioningState": "Succeeded"},
        }
        return HttpAnswer(200, JSON, json.dumps(document).encode())

    def _blob(self, call: HttpCall, name: str) -> HttpAnswer:
        cloud = self._world.cloud
        if call.method == "PUT":
            metadata = {key[10:]: text for key, text in call.headers.items() if key.startswith("x-ms-meta-")}
            etag = cloud.blobs.put(names.CONTROL, name, call.body or b"", None, metadata)
            cloud.rules.blob_put(self._client, names.CONTROL, name, call.body or b"")
            return HttpAnswer(201, {**self._date(), "ETag": etag})
        found = cloud.blobs.get(names.CONTROL, name)
        if found is None:
            return HttpAnswer(404, self._date(), b"<Error><Code>BlobNotFound</Code></Error>")
        modified = format_datetime(self.now() - timedelta(seconds=found.age_s), usegmt=True)
        metadata = {f"x-ms-meta-{key}": text for key, text in found.metadata.items()}
        return HttpAnswer(200, {**self._date(), "ETag": found.etag, "Last-Modified": modified, **metadata}, found.body)

    def _date(self) -> dict[str, str]:
        return {"Date": format_datetime(self.now(), usegmt=True)}


def target(machines: int, slots: int, *, wake: bool) -> Target:
    """Return the target of a simulated fleet."""
    return Target(
        kind="local",
        subscription_id="s",
        resource_group="g",
        scale_set="workers",
        blob_endpoint="https://blob",
        queue_endpoint="https://queue",
        max_instances=machines,
        slots_per_instance=slots,
        wake="wake" if wake else "",
        price_usd=A_SLOT_SECOND_USD * slots * 3600,
    )
