"""One run: a scenario played to its end, and what it broke."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.simulator import actors
from tests.simulator.actors import COMMANDS, MAIN, Laptop, SimulatedWake
from tests.simulator.cloud import Cloud
from tests.simulator.known import Entry
from tests.simulator.machines import HistoryLogger, Machine, as_logger
from tests.simulator.mishaps import Mishaps
from tests.simulator.network import LATE_S, Client, Network
from tests.simulator.rules import Rules
from tests.simulator.scenario import Scenario
from tests.simulator.scheduler import Process, Scheduler, Thread
from worker.contract.job import Job
from worker.contract.log import Logger
from worker.contract.settings import Durations
from worker.job_log import LogBook
from worker.slot import THREAD_RAISED

SCALE: Final = 30
"""Times are those of Azure divided by this."""
DURATIONS: Final = Durations(
    visibility_timeout_s=120 / SCALE,
    lease_renewal_s=40 / SCALE,
    manifest_write_s=60 / SCALE,
    commit_s=60 / SCALE,
    idle_receive_min_s=0.3,
    idle_receive_max_s=0.5,
    slot_report_s=120 / SCALE,
    pulse_s=60 / SCALE,
    tick_s=30 / SCALE,
    read_to_write_s=30 / SCALE,
    zero_looks_apart_s=60 / SCALE,
    idle_before_retire_s=300 / SCALE,
    dead_after_s=600 / SCALE,
    boot_grace_s=1500 / SCALE,
    first_receive_after_pulse_s=60 / SCALE,
    fruitless_s=3600 / SCALE,
    storage_patience_s=3600 / SCALE,
    stop_deadline_s=20 / SCALE,
    watchdog_s=120 / SCALE,
    retry_base_s=15 / SCALE,
    retry_max_s=900 / SCALE,
    flag_lifetime_s=86_400 / SCALE,
    budget_look_s=60 / SCALE,
)
BUSY_S: Final = 25.0
"""Requests meet their fates for so long, or until all jobs have ended."""
QUIET_S: Final = 2400.0
"""After the last mishap all must be done and gone within so long: the wake's rest, and what comes before and after."""


@dataclass(frozen=True)
class Outcome:
    """How a run went."""

    broken: tuple[str, ...]
    history: Sequence[Entry]
    seconds: float
    """Of virtual time."""
    steps: int
    requests: int
    done: int
    """Jobs that finished."""


def play(scenario: Scenario) -> Outcome:
    """Play a scenario."""
    with World.of(scenario) as world:
        return world.play()


class World:
    """Everything there is in one run."""

    def __init__(self, scenario: Scenario, directory: Path) -> None:
        self.scenario = scenario
        self.directory = directory
        self.chance = Random(scenario.noise)
        self.scheduler = Scheduler(Random(scenario.noise + 1) if scenario.noise else None)
        self.scheduler.on_crash = self._crashed
        self.network = Network(self.scheduler, scenario)
        self.rules = Rules(lambda: self.scheduler.now_s)
        self.network.told = self.rules.tell
        self.cloud = Cloud(self.scheduler, self.network, self.rules, lowers_late=scenario.lowers_late)
        self.rules.blobs = self.cloud.blobs
        self.rules.machines = self
        self.rules.healthy = lambda job: job not in self.sick
        self.rules.visibility_timeout_s = DURATIONS.visibility_timeout_s
        self.rules.undisturbed = scenario.undisturbed
        self.durations = DURATIONS
        self.target = actors.target(scenario.machines, scenario.slots, wake=scenario.wake)
        self.has_set = scenario.kind == "fleet"
        self.release = "r1"
        self.fingerprint = "cpu"
        self.closed = False
        self.calm = False
        self.commands_failed = 0
        self.planned_jobs = scenario.jobs
        plan = actors.sweep_plan(MAIN, scenario.jobs, scenario.timesteps)
        self.sick = {planned.id for planned in plan.jobs[: scenario.sick_jobs]} if scenario.jobs > 1 else set()
        self.machines: dict[str, Machine] = {}
        self.processes: list[Process] = []
        self.laptops = [Laptop(self, "ada"), Laptop(self, "bob")]
        self._nonces = 0
        self._machines_made = 0
        self.mishaps = Mishaps(self)
        self.cloud.scale_set.booted = self._booted
        self.cloud.scale_set.killed = self._killed

    @classmethod
    @contextmanager
    def of(cls, scenario: Scenario) -> "Iterator[World]":
        """Make a world, and clear it away."""
        memory = Path("/dev/shm")
        directory = Path(tempfile.mkdtemp(prefix="tranquility-", dir=memory if memory.is_dir() else None))
        world = cls(scenario, directory)
        try:
            yield world
        finally:
            world.scheduler.unwind(world.processes)
            shutil.rmtree(directory)

    # ---- what all in it ask for ------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return self.scheduler.now_s

    def nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:016x}"

    def skew_s(self) -> float:
        return self.chance.uniform(-4000.0, 4000.0) if self.scenario.noise else 0.0

    def process(self, name: str, *, booted_s: float = 0.0, skew_s: float = 0.0) -> Process:
        process = Process(self.scheduler, name, skew_s=skew_s, booted_s=booted_s)
        self.processes.append(process)
        return process

    def client(self, client: Client) -> Client:
        self.rules.clients.append(client)
        return client

    def new_directory(self) -> Path:
        directory = self.directory / str(self._machines_made)
        self._machines_made += 1
        directory.mkdir()
        return directory

    def logger(self, who: str, book: LogBook | None = None) -> Logger:
        def told(event: str, fields: Mapping[str, object]) -> None:
            self.rules.log(who, event, fields)
            if event == THREAD_RAISED:
                self.rules.breaks(who, f"dies of {fields['error']}:\n{fields['trace']}")

        return as_logger(HistoryLogger(told, book))

    def tell(self, who: str, what: str) -> None:
        self.rules.tell(who, what)

    def sick_from(self, job: Job) -> int | None:
        return self.scenario.timesteps // 2 if job.id in self.sick else None

    def works(self, vm: str) -> str:
        """See `rules.Machines`."""
        machine = self.machines.get(vm)
        return machine.works_on() if machine else ""

    # ---- the play --------------------------------------------------------------------------------------------------

    def play(self) -> Outcome:
        """Play the scenario, then let everything come to its end."""
        began_s = self.now_s
        scenario = self.scenario
        self.laptops[0].run("enqueue", actors.enqueue_command(self._plan(), self))
        self._set_up()
        for mishap in scenario.mishaps:
            self.scheduler.at(began_s + mishap.at_s, partial(self.mishaps.happens, mishap))
        last_s = max((mishap.at_s for mishap in scenario.mishaps), default=0.0)
        restless_s = began_s + last_s + 1.0

        def may_calm_down() -> bool:
            return bool(self.rules.broken) or (self.now_s >= restless_s and not self.rules.left_to_do())

        self.scheduler.run(max(restless_s, began_s + BUSY_S), may_calm_down)
        if not self.rules.broken:
            self._calm_down()
            self._await_the_end()
        self.closed = True
        return Outcome(
            tuple(self.rules.broken),
            self.rules.history,
            self.now_s - began_s,
            self.scheduler.steps,
            self.network.requests,
            self.rules.done,
        )

    def _plan(self) -> Any:
        return actors.sweep_plan(MAIN, self.scenario.jobs, self.scenario.timesteps)

    def _set_up(self) -> None:
        if self.has_set:
            if self.scenario.wake:
                SimulatedWake(self)
            if self.scenario.watched:
                self.laptops[0].run("scale --watch", actors.watch_command(self))
        else:
            for _ in range(self.scenario.machines):
                self._replace()
        if self.scenario.competitor:
            self.scheduler.after(8.0, self._competitor_comes)

    def _competitor_comes(self) -> None:
        if not self.calm:
            self.machines["competitor"] = Machine(self, "competitor", 1, fleet=False)

    def _replace(self) -> None:
        """Without a scale set, somebody puts a new VM where one was."""
        name = f"vm{len(self.machines)}"
        self.machines[name] = Machine(self, name, self.scenario.slots, fleet=False)

    def _booted(self, name: str) -> None:
        if self.mishaps.unborn:
            self.mishaps.unborn -= 1
            self.tell(name, "runs, and its software never comes up")
            return
        self.tell(name, "boots")
        self.machines[name] = Machine(self, name, self.scenario.slots)

    def _killed(self, name: str) -> None:
        machine = self.machines.get(name)
        if machine is not None:
            machine.die()

    def _crashed(self, thread: Thread, error: BaseException) -> None:
        self.rules.breaks(thread.name, f"dies of {error!r}")

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _calm_down(self) -> None:
        """Nothing goes wrong from here on, and a person wants all of it done."""
        self.tell("world", "is calm from here on")
        self.calm = True
        self.rules.undisturbed = False  # the competitor goes, with whatever it holds
        self.network.heal()
        self.cloud.scale_set.droughts = 0
        self.cloud.scale_set.faults.clear()
        self.cloud.scale_set.read_faults.clear()
        self.mishaps.unborn = 0
        for message_id in self.mishaps.newer:  # done by the newer release
            self.cloud.jobs.drop(message_id)
            self.rules.forget_message(message_id)
        for machine in self.machines.values():
            machine.heal()
        for laptop in self.laptops:
            laptop.kill()
        competitor = self.machines.get("competitor")
        if competitor is not None:
            competitor.die()
        # What a killed laptop had sent may arrive until then; a person who looks before would see too little.
        self.scheduler.run(self.now_s + LATE_S + 1.0)
        failed = self.commands_failed
        process = self.laptops[0].run("what is left", actors.finish(self))
        self.scheduler.run(self.now_s + QUIET_S / 2, lambda: not process.alive or bool(self.rules.broken))
        if process.alive or self.commands_failed > failed:
            self.rules.breaks("ada", "a person cannot end what was begun, though nothing is wrong any more")
        if self.has_set and self.scenario.watched:
            self.laptops[0].run("scale --watch", actors.watch_command(self))
        elif not self.has_set:
            self._audit_again()

    def _audit_again(self) -> None:
        """Without a producer that watches, a person looks now and then."""
        if not self.closed:
            self.laptops[1].run("audit", COMMANDS["audit"](self, 0))
            self.scheduler.after(10.0, self._audit_again)

    def _await_the_end(self) -> None:
        began_s = self.now_s
        if not self.scheduler.run(began_s + QUIET_S, lambda: bool(self.rules.broken) or self._is_over()):
            self.rules.breaks("world", f"is not at rest {QUIET_S:.0f} s after the last mishap: {self._what_is_left()}")

    def _is_over(self) -> bool:
        return not self._what_is_left()

    def _what_is_left(self) -> str:
        left = self.rules.left_to_do()
        count = self.cloud.jobs.count()
        if count:
            left.append(f"{count} messages")
        if self.has_set:
            if self.cloud.scale_set.capacity:
                left.append(f"capacity {self.cloud.scale_set.capacity}")
            left += [f"{name} is there" for name in self.cloud.scale_set.names]
        return ", ".join(left)

    def take_away(self, machine: Machine) -> None:
        """A machine goes, and where no scale set is in charge somebody puts another in its place."""
        if not machine.alive or self.closed:
            return
        if machine.name == "competitor":
            machine.die()
            self.scheduler.after(3.0, self._competitor_comes)
        elif self.has_set:
            self.cloud.scale_set.evict(machine.name)
        else:
            machine.die()
            self.scheduler.after(2.0, self._replace)

    def all_names(self) -> Sequence[str]:
        """See `rules.Machines`."""
        return [name for name, machine in self.machines.items() if machine.alive]
