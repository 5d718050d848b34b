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
from tests.simulator.machines import SEGFAULT, HistoryLogger, Machine, as_logger
from tests.simulator.network import LATE_S, Client, Network
from tests.simulator.rules import Entry, Rules
from tests.simulator.scenario import Mishap, Scenario
from tests.simulator.scheduler import Process, Scheduler, Thread
from worker.contract.errors import CapacityRefused, SetChanged, Throttled
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
NEWER: Final = '{"schema_version": 2}'
MOST_WITNESSED: Final = 2
"""Deaths that count against a job, in one run: with three in a row it would be poisoned by right."""


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
        self._unborn = 0
        self._newer: list[str] = []
        self._witnessed = 0
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
            self.scheduler.at(began_s + mishap.at_s, partial(self._happens, mishap))
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
        if self._unborn:
            self._unborn -= 1
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
        self._unborn = 0
        for message_id in self._newer:  # done by the newer release
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

    # ---- what goes wrong -------------------------------------------------------------------------------------------

    def _happens(self, mishap: Mishap) -> None:
        self.tell("world", f"--- {mishap.what} (which {mishap.which}, {mishap.seconds} s)")
        command = COMMANDS.get(mishap.what)
        if command is not None:
            laptop = self.laptops[mishap.which % 3 // 2]
            laptop.run(mishap.what, command(self, mishap.which))
        else:
            getattr(self, "_" + mishap.what.replace(" ", "_"))(mishap.which, mishap.seconds)

    def _some(self, which: int) -> Machine | None:
        """Return a machine that lives."""
        living = [machine for machine in self.machines.values() if machine.alive and not machine.dead_for_good]
        return living[which % len(living)] if living else None

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

    def _kill_slot(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        slot = machine.some_slot(which) if machine else None
        if slot:
            slot.kill()

    def _crash_slot(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        slot = machine.some_slot(which) if machine else None
        if slot and self._may_be_witnessed():
            slot.kill(SEGFAULT)

    def _may_be_witnessed(self) -> bool:
        self._witnessed += 1
        return self._witnessed <= MOST_WITNESSED

    def _hang(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine and self._may_be_witnessed():
            machine.hang(which)

    def _stop_slot(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        slot = machine.some_slot(which) if machine else None
        if slot:
            slot.terminate()

    def _evict(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine:
            self.take_away(machine)

    def _evict_with_notice(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine:
            self._announce(machine)

    def _announce(self, machine: Machine) -> None:
        event = {
            "EventId": f"e-{machine.name}",
            "EventType": "Preempt",
            "ResourceType": "VirtualMachine",
            "Resources": [machine.name],
            "EventStatus": "Scheduled",
            "NotBefore": "soon",
        }
        machine.own_event = event
        for other in self.machines.values():
            if other is not machine:
                other.foreign_events.append(event)

        self.scheduler.after(1.0 + 30 / SCALE, lambda: self.take_away(machine) if machine.alive else None)

    def _evict_all(self, which: int, seconds: float) -> None:
        for machine in list(self.machines.values()):
            if machine.alive and machine.name != "competitor":
                self.take_away(machine)

    def _evict_all_with_notice(self, which: int, seconds: float) -> None:
        for machine in list(self.machines.values()):
            if machine.alive and machine.name != "competitor":
                self._announce(machine)

    def _evict_at_boot(self, which: int, seconds: float) -> None:
        names = [name for name in self.cloud.scale_set.names if name not in self.machines]
        if names:
            self.cloud.scale_set.evict(names[which % len(names)])

    def _foreign_event(self, which: int, seconds: float) -> None:
        for machine in self.machines.values():
            machine.foreign_events.append(
                {"EventId": "x", "EventType": "Terminate", "Resources": ["another_vm"], "NotBefore": ""}
            )

    def _freeze(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine:
            machine.freeze(seconds)

    def _pause_slot(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine:
            machine.pause_slot(which, seconds)

    def _partition(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine:
            machine.cut_off(seconds)

    def _outage(self, which: int, seconds: float) -> None:
        if which % 3 != 1:
            self.network.outage("blobs", seconds)
        if which % 3 != 2:
            self.network.outage("queue", seconds)

    def _arm_outage(self, which: int, seconds: float) -> None:
        self.network.outage("arm", seconds)

    def _show_message(self, which: int, seconds: float) -> None:
        """A message comes back before its time: a queue delivers at least once."""
        hidden = [entry for entry in self.cloud.jobs._entries.values() if entry.visible_s > self.now_s]
        if hidden:
            entry = hidden[which % len(hidden)]
            self.cloud.jobs.show(entry.id)
            self.tell("world", f"{entry.id} is visible")

    def _duplicate_message(self, which: int, seconds: float) -> None:
        entries = list(self.cloud.jobs._entries.values())
        if entries:
            text = entries[which % len(entries)].text
            if text != NEWER:  # there is one at a time, so that it can be taken away
                self._send(text)

    def _junk_message(self, which: int, seconds: float) -> None:
        """What was never a job."""
        self._send("{" if which % 2 else '{"schema_version": 1}')

    def _newer_message(self, which: int, seconds: float) -> None:
        """A job of a release that is yet to come to these VMs."""
        self._newer.append(self._send(NEWER))

    def _send(self, text: str) -> str:
        receipt = self.cloud.jobs.send(text)
        self.rules.message_sent(self._nobody(), receipt.message_id, text)
        return receipt.message_id

    def _other_cpu(self, which: int, seconds: float) -> None:
        """VMs that boot from now on compute otherwise: a resume there is not bit-exact."""
        self.fingerprint = f"cpu {which}"

    def _nobody(self) -> Client:
        return Client("world", "laptop", self.processes[0], lambda: None)

    def _power_off(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine and machine.name in self.cloud.scale_set.names:
            self.cloud.scale_set.break_down(machine.name)

    def _dead_for_good(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine and machine.name in self.cloud.scale_set.names:
            machine.dead_for_good = True
            machine.freeze(1e9)

    def _no_boot(self, which: int, seconds: float) -> None:
        self._unborn += 1

    def _allocation_fails(self, which: int, seconds: float) -> None:
        self.cloud.scale_set.droughts += 1 + which % 3

    def _quota(self, which: int, seconds: float) -> None:
        self.cloud.scale_set.faults += [CapacityRefused("409 SkuNotAvailable")] * (1 + which % 3)

    def _throttle(self, which: int, seconds: float) -> None:
        faults = self.cloud.scale_set.read_faults if which % 2 else self.cloud.scale_set.faults
        faults.append(Throttled("429", min(seconds, 25.0)))

    def _conflict(self, which: int, seconds: float) -> None:
        self.cloud.scale_set.faults += [SetChanged("409")] * (1 + which % 3)

    def _new_release(self, which: int, seconds: float) -> None:
        self.release = f"r{int(self.release[1:]) + 1}"

    def _kill_laptop(self, which: int, seconds: float) -> None:
        self.laptops[which % 2].kill()

    def _close_lid(self, which: int, seconds: float) -> None:
        self.laptops[which % 2].close_lid(seconds)

    def _watch(self, which: int, seconds: float) -> None:
        self.laptops[which % 2].run("scale --watch", actors.watch_command(self))

    def _close_watch(self, which: int, seconds: float) -> None:
        self.laptops[which % 2].kill()

    def all_names(self) -> Sequence[str]:
        """See `rules.Machines`."""
        return [name for name, machine in self.machines.items() if machine.alive]
