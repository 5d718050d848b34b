"""A simulated VM: slots that run the real worker loop, and the real event poller, retire service and witness.

What systemd does is played by `Machine`: it starts slots again, kills those whose watchdog starves, and calls the
witness.
"""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from tests.simulator.cloud import Blobs, Queue, ScaleSetClient
from tests.simulator.network import Client
from tests.simulator.scheduler import Process, SimulatedRuntime
from tests.simulator.trainer import Pace, trainers
from worker.contract.control import Control
from worker.contract.errors import StorageError
from worker.contract.log import Logger
from worker.exit_status import LEAVES
from worker.job_log import LogBook
from worker.liveness import Liveness
from worker.notify import Supervisor
from worker.run import run_assembled
from worker.signs import Signs
from worker.slot import Slot
from worker.stop import StopRequest
from worker.vm.events import EventPoller
from worker.vm.files import notice_file, read_slot_file
from worker.vm.metadata import Imds
from worker.vm.retire import RetireService
from worker.vm.witness import record_death

if TYPE_CHECKING:
    from tests.simulator.world import World

LOOK_S: Final = 0.5
RESTART_S: Final = 0.2
"""RestartSec, as times are shrunk here."""
TERM_S: Final = 2.0
"""TimeoutStopSec: longer than the stop deadline."""
KILLED: Final[Mapping[str, str]] = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
SEGFAULT: Final[Mapping[str, str]] = {"SERVICE_RESULT": "core-dump", "EXIT_CODE": "dumped", "EXIT_STATUS": "SEGV"}
WATCHDOG: Final[Mapping[str, str]] = {"SERVICE_RESULT": "watchdog", "EXIT_CODE": "dumped", "EXIT_STATUS": "ABRT"}


class HistoryLogger:
    """A logger that tells the history, and the job's log."""

    def __init__(self, told: Callable[[str, Mapping[str, object]], None], book: LogBook | None = None, **bound: object):
        self._told, self._book, self._bound = told, book, bound

    def bind(self, **more: object) -> "HistoryLogger":
        return HistoryLogger(self._told, self._book, **self._bound, **more)

    def info(self, event: str, **fields: object) -> None:
        self._told(event, fields)
        if self._book is not None:
            self._book.record({"event": event, **self._bound, **fields})

    warning = error = info


class FedSupervisor(Supervisor):
    """Whoever watches a slot's process."""

    def __init__(self, log: Logger, alive: Callable[[], None]) -> None:
        super().__init__(log, {})
        self._alive = alive

    def alive(self) -> None:
        self._alive()


class QuietImds(Imds):
    """Scheduled events of one VM."""

    def __init__(self, document: Callable[[], dict[str, Any]]) -> None:
        super().__init__("http://127.0.0.1:1")
        self._document = document

    def get(self, path: str, api_version: str, timeout_s: float = 5.0) -> Any:
        return self._document()


class SlotProcess:
    """One process of a slot."""

    def __init__(self, machine: "Machine", number: int) -> None:
        world, self._machine, self.number = machine.world, machine, number
        self.hung = self.hanging = False
        self.fed_s = world.now_s
        name = f"{machine.name}/{number}"
        self.process = world.process(name, booted_s=machine.booted_s, skew_s=machine.skew_s)
        self.client = world.client(Client(name, "slot", self.process, self.kill, cut_off=machine.is_cut_off))
        self.runtime = SimulatedRuntime(self.process, world.nonce)
        liveness = Liveness(self.runtime)
        self.client.observed = liveness.request_returned
        book = LogBook()
        pace = Pace(world.scheduler.sleep, world.scenario.stride_s, self._hangs)
        train = trainers(pace, world.sick_from, machine.fingerprint)
        self.slot = Slot(
            vm=machine.name,
            number=number,
            release=machine.release,
            blobs=Blobs(world.cloud, self.client),
            presence_blobs=Blobs(world.cloud, replace(self.client, observed=lambda: None)),
            jobs=Queue(world.cloud, self.client, world.cloud.jobs),
            poison=Queue(world.cloud, self.client, world.cloud.poison),
            trainers=train,
            runtime=self.runtime,
            durations=world.durations,
            runtime_directory=machine.directory,
            liveness=liveness,
            stop=StopRequest(self.runtime),
            log=world.logger(name, book),
            book=book,
            signs=Signs(machine.name, number, machine.release, train.fingerprint, self.runtime),
        )
        self.process.spawn("main", self._main)

    def kill(self, how: Mapping[str, str] = KILLED) -> None:
        """End it at once."""
        if self.process.alive:
            self.process.kill()
            self._machine.slot_died(self, how)

    def terminate(self) -> None:
        """Ask it to stop, as `systemctl stop` does."""
        if self.process.alive:
            self.slot.stop.ask("stopped")

    def _hangs(self) -> bool:
        """Return whether the trainer, who asks, makes nothing any more; the first time its end is awaited."""
        if self.hung and not self.hanging:
            self.hanging = True
            durations = self._machine.world.durations
            limit_s = durations.visibility_timeout_s + 3 * durations.watchdog_s + durations.pulse_s
            self._machine.world.scheduler.after(limit_s, lambda: self._must_have_ended(limit_s))
        return self.hung

    def _must_have_ended(self, limit_s: float) -> None:
        world = self._machine.world
        undisturbed = self.process.paused_s < world.now_s - limit_s and world.now_s > self._machine.excused_until_s
        if self._machine.alive and self.process.alive and undisturbed and not world.closed:
            world.rules.breaks(self.client.name, f"hangs for {limit_s:.1f} s, and its watchdog is fed")

    def feed(self) -> None:
        self.fed_s = self._machine.world.now_s

    def works_on(self) -> str:
        """Return the job or message that it has by its own word; empty where it has none, or cannot know."""
        if not self.process.alive:
            return ""
        said = read_slot_file(self._machine.directory, self.number)
        if said is not None and said.job:
            known = self._machine.world.rules.manifests.get((said.sweep, said.job))
            if known is not None and known.nonce == said.nonce and known.status == "running":
                return said.job
        if self.slot.signs._report.answers is not None:
            return ""
        rules, received_s = self._machine.world.rules, self.client.received_s
        held = self.client.holds & rules.messages.keys()
        return ", ".join(sorted(m for m in held if not rules.flagged_before(self._machine.name, received_s[m])))

    def _main(self) -> None:
        status = run_assembled(self.slot, FedSupervisor(self.slot.log, self.feed), booted_s=self._machine.booted_s)
        self.process.alive = False
        self._machine.slot_ended(self, status)


class Machine:
    """A VM."""

    def __init__(self, world: "World", name: str, slots: int, *, fleet: bool = True) -> None:
        self.world, self.name = world, name
        self.fingerprint = world.fingerprint
        self.release = world.release
        self.fleet = fleet
        self.alive = True
        self.dead_for_good = False
        self.booted_s = world.now_s
        self.skew_s = world.skew_s()
        self.cut_off_until_s = 0.0
        self.excused_until_s = 0.0
        """It was cut off or frozen for so long that others may take it for dead, until then."""
        self.foreign_events: list[dict[str, Any]] = []
        self.own_event: dict[str, Any] | None = None
        self.directory: Path = world.new_directory()
        self.slots: dict[int, SlotProcess] = {}
        self._stopping: set[int] = set()
        self._service: Process | None = None
        self._start_services()
        for number in range(slots):
            self._start_slot(number)
        world.scheduler.after(LOOK_S, self._watch)

    # ---- what happens to it ----------------------------------------------------------------------------------------

    def die(self) -> None:
        """Nothing of it runs any more."""
        if self.alive:
            self.alive = False
            self.world.tell(self.name, "is gone")
            for slot in self.slots.values():
                slot.process.kill()
            if self._service:
                self._service.kill()

    def freeze(self, seconds: float) -> None:
        """Its host stops it for so long."""
        for slot in self.slots.values():
            slot.process.pause(seconds)
        if self._service:
            self._service.pause(seconds)
        self._excuse(seconds)

    def pause_slot(self, number: int, seconds: float) -> None:
        """One slot's process does not run for so long."""
        slot = self.slots.get(number % max(1, len(self.slots)))
        if slot is not None:
            slot.process.pause(seconds)
            self._excuse(seconds)

    def cut_off(self, seconds: float) -> None:
        """Nothing gets through to or from it for so long."""
        self.cut_off_until_s = max(self.cut_off_until_s, self.world.now_s + seconds)
        self._excuse(seconds)

    def is_cut_off(self) -> bool:
        return self.cut_off_until_s > self.world.now_s

    def heal(self) -> None:
        """End what hinders it."""
        if self.dead_for_good:
            return
        self.cut_off_until_s = 0.0
        for slot in self.slots.values():
            slot.process.resume()
        if self._service:
            self._service.resume()

    def some_slot(self, which: int) -> SlotProcess | None:
        living = [slot for slot in self.slots.values() if slot.process.alive]
        return living[which % len(living)] if living else None

    def hang(self, which: int) -> None:
        """A trainer makes nothing any more, and does not end."""
        slot = self.some_slot(which)
        if slot is None or not slot.works_on():
            return
        slot.hung = True

    def works_on(self) -> str:
        if not self.alive or self.dead_for_good or self.world.now_s < self.excused_until_s:
            return ""
        return next(filter(None, (slot.works_on() for slot in self.slots.values())), "")

    def _excuse(self, seconds: float) -> None:
        if seconds >= 0.6 * self.world.durations.dead_after_s:
            margin_s = self.world.durations.dead_after_s + 3 * self.world.durations.tick_s
            self.excused_until_s = max(self.excused_until_s, self.world.now_s + seconds + margin_s)

    # ---- systemd ---------------------------------------------------------------------------------------------------

    def slot_ended(self, slot: SlotProcess, status: int) -> None:
        """A slot's process has ended by itself."""
        self.world.tell(slot.client.name, f"ends with status {status}")
        if status != LEAVES:
            self._again(slot.number)
        elif not self.fleet and not any(other.process.alive for other in self.slots.values()):
            self.world.take_away(self)  # by somebody, as the retire service would

    def slot_died(self, slot: SlotProcess, how: Mapping[str, str]) -> None:
        """A slot's process was killed."""
        self.world.tell(slot.client.name, f"is killed: {how['SERVICE_RESULT']} {how['EXIT_STATUS']}")
        if self.alive and self._service and self._service.alive:
            self._service.spawn("witness", lambda: self._witness(slot.number, how))

    def _witness(self, number: int, how: Mapping[str, str]) -> None:
        client = self._client(self._service)
        log = self.world.logger(f"{self.name}/witness")
        with contextlib.suppress(StorageError):  # the unit fails, and the job waits until its heartbeat is old
            record_death(Blobs(self.world.cloud, client), self.directory, number, how, log)
        self._again(number)

    def _again(self, number: int) -> None:
        def start() -> None:
            if self.alive and number not in self._stopping and not self.slots[number].process.alive:
                self._start_slot(number)

        self.world.scheduler.after(RESTART_S, start)

    def _start_slot(self, number: int) -> None:
        if not self.world.closed:
            self.slots[number] = SlotProcess(self, number)

    def _watch(self) -> None:
        """Kill what does not feed its watchdog. A pause is the host's, or a test's, and no hang."""
        for slot in self.slots.values():
            if slot.process.paused:
                slot.feed()
            elif slot.process.alive and self.world.now_s - slot.fed_s > self.world.durations.watchdog_s + LOOK_S:
                slot.kill(WATCHDOG)
        if self.alive:
            self.world.scheduler.after(LOOK_S, self._watch)

    def _stop_slot(self, number: int) -> bool:
        """What the retire service asks for: SIGTERM, and SIGKILL when that takes too long. It stays stopped."""
        slot = self.slots.get(number)
        if slot is None or not slot.process.alive:
            return True
        slot.terminate()
        ends_s = self.world.now_s + TERM_S
        while slot.process.alive and self.world.now_s < ends_s:
            self.world.scheduler.sleep(0.2)
        slot.kill()
        return True

    # ---- services --------------------------------------------------------------------------------------------------

    def _start_services(self) -> None:
        world = self.world
        process = world.process(f"{self.name}/services", booted_s=self.booted_s, skew_s=self.skew_s)
        self._service = process
        runtime = SimulatedRuntime(process, world.nonce)
        stop = runtime.event()
        service, log = QuietImds(self._events), world.logger(f"{self.name}/events")
        poller = EventPoller(service, self.name, notice_file(self.directory), runtime, log)
        process.spawn("events", lambda: poller.run(stop))
        if not self.fleet:
            return
        client = self._client(process)
        retire = RetireService(
            vm=self.name,
            control=Control(Blobs(world.cloud, client)),
            jobs=Queue(world.cloud, client, world.cloud.jobs),
            durations=world.durations,
            runtime=runtime,
            runtime_directory=self.directory,
            delete_self=lambda: ScaleSetClient(world.cloud, client).delete([self.name]),
            stop_slot=self._stop_slot,
            log=world.logger(f"{self.name}/retire"),
        )
        process.spawn("retire", lambda: retire.run(stop))

    def _client(self, process: Process | None) -> Client:
        assert process is not None
        return self.world.client(
            Client(f"{self.name}/services", "vm", process, self._crash_services, cut_off=self.is_cut_off)
        )

    def _crash_services(self) -> None:
        """The services' process dies; systemd starts it again."""
        if self._service and self._service.alive:
            self._service.kill()
            self.world.scheduler.after(RESTART_S, lambda: self._start_services() if self.alive else None)

    def _events(self) -> dict[str, Any]:
        own = [self.own_event] if self.own_event else []
        return {"DocumentIncarnation": 1, "Events": [*self.foreign_events, *own]}


def as_logger(logger: HistoryLogger) -> Logger:
    """Return it as what the code takes; it does all that the code asks of one."""
    return cast("Logger", logger)
