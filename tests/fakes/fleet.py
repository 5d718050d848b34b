"""A whole fleet on a virtual clock: the real producer loop and retire services, and slots that follow rule 10.

Every request takes a while, in which anything else may happen: that is where schedules come from. Slots are small
models of worker/loop.py: they receive, read the flags, claim or give back, work, renew and delete.
"""

import contextlib
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from producer.emulator.wake import Run
from producer.fleet.scaler import Scaler, TickReport
from producer.session import Session
from producer.sweep.audit import AuditReport
from tests.fakes.clock import VirtualRuntime
from tests.fakes.fleet_clients import CheckedSet, SlowBlobs, SlowQueue
from tests.fakes.fleet_wake import WakeWorld, fleet_wake
from tests.fakes.scale_set import MemoryScaleSet
from tests.fakes.slot import silent
from tests.fakes.storage import MemoryQueue
from worker.contract.control import Control, Flag, SlotReport
from worker.contract.errors import MessageGone, StorageError, StorageUnavailable
from worker.contract.queue import Message
from worker.contract.runtime import Event
from worker.contract.settings import Durations, Target
from worker.vm.files import SlotFile, slot_file, write_file
from worker.vm.retire import RetireService

POLL_S = 10.0
DURATIONS = Durations().model_copy(update={"idle_receive_max_s": POLL_S})


class SimulatedSlot:
    """A slot's process."""

    def __init__(self, fleet: "Fleet", vm: "Vm", number: int) -> None:
        self._fleet = fleet
        self._vm = vm
        self._number = number
        self._idle_since_s = self._committed_s = fleet.runtime.now_s
        self._commits = 0
        self._flagged = False
        self._report = SlotReport(vm=vm.name, slot=number, state="idle")
        self._reported_s = self._pulsed_s = float("-inf")
        self._message: Message | None = None
        self._ends_s = 0.0
        self._receives_s = fleet.runtime.now_s + fleet.durations.first_receive_after_pulse_s
        write_file(slot_file(vm.directory, number), SlotFile(pid=1))

    @property
    def works(self) -> bool:
        """Return whether it holds a claim."""
        return self._message is not None

    def turn(self) -> float | None:
        """Do the next thing; return when to do the one after, or None for never."""
        if not self._vm.alive:
            return None
        try:
            self._pulse()
            if self._fleet.runtime.now_s < self._receives_s:
                return self._receives_s - self._fleet.runtime.now_s
            pause_s = self._work() if self._message else self._receive()
        except StorageError:
            pause_s = self._fleet.chance.uniform(1.0, 30.0)
        return pause_s if self._vm.alive else None

    def _pulse(self) -> None:
        now_s = self._fleet.runtime.now_s
        if now_s - self._pulsed_s >= self._fleet.durations.pulse_s:
            self._fleet.control.pulse(self._vm.name)
            self._pulsed_s = now_s

    def _receive(self) -> float | None:
        fleet = self._fleet
        if self._flagged and self._is_flagged():
            return None if self._report.answers == "drain" else POLL_S
        message = fleet.jobs.receive(fleet.durations.visibility_timeout_s)
        if self._is_flagged():
            if message:
                fleet.jobs.renew(message.receipt, 0)
            return None if self._report.answers == "drain" else POLL_S
        if message is None:
            self._say("idle")
            return fleet.chance.uniform(POLL_S / 2, POLL_S)
        if not self._vm.alive:
            return None
        self._message = message
        self._ends_s = fleet.runtime.now_s + fleet.chance.choice([5.0, 60.0, 300.0, 900.0])
        self._say("busy")
        return 1.0

    def _work(self) -> float:
        fleet, message = self._fleet, self._message
        assert message is not None
        if self._vm.fruitless:
            # It starts again and again, and never gets as far as a commit.
            fleet.jobs.renew(message.receipt, 30)
            self._message = None
            self._say("starting")
            return POLL_S
        self._commits, self._committed_s = self._commits + 1, fleet.runtime.now_s
        fleet.control.committed(self._vm.name)
        try:
            if fleet.runtime.now_s >= self._ends_s:
                fleet.jobs.delete(message.receipt)
                fleet.done.add(message.text)
                self._message = None
                self._say("idle")
                return 1.0
            receipt = fleet.jobs.renew(message.receipt, fleet.durations.visibility_timeout_s)
            self._message = Message(receipt, message.text, message.dequeue_count)
        except MessageGone:
            self._message = None  # somebody else has it; the fence would end this claim
        self._say("busy" if self._message else "idle")
        return min(fleet.durations.lease_renewal_s, max(1.0, self._ends_s - fleet.runtime.now_s))

    def _is_flagged(self) -> bool:
        flags = self._fleet.control.flags(self._vm.name)
        self._flagged = flags.drain or flags.retire
        if self._flagged:
            self._say("idle", "drain" if flags.drain else "retire")
        return self._flagged

    def _say(self, state: str, answers: Flag | None = None) -> None:
        now_s = self._fleet.runtime.now_s
        if state != "idle" or self._report.state != "idle":
            self._idle_since_s = now_s
        changed = (state, answers) != (self._report.state, self._report.answers)
        self._report = SlotReport.model_validate(
            {
                "vm": self._vm.name,
                "slot": self._number,
                "state": state,
                "answers": answers,
                "idle_s": now_s - self._idle_since_s,
                "commits": self._commits,
                "since_commit_s": now_s - self._committed_s,
            }
        )
        if changed or now_s - self._reported_s >= self._fleet.durations.slot_report_s:
            self._fleet.control.report_slot(self._report)
            self._reported_s = now_s

    def stop(self) -> bool:
        """What SIGTERM does: commit, give the job back, end."""
        if self._message:
            with contextlib.suppress(MessageGone, StorageError):
                self._fleet.jobs.renew(self._message.receipt, 0)
        self._message = None
        return True


class Vm:
    """An instance with its slots and its retire service."""

    def __init__(self, fleet: "Fleet", name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen = False
        self.fruitless = False
        self.directory = Path(tempfile.mkdtemp(dir=fleet.directory))
        self._fleet = fleet
        self.slots = [SimulatedSlot(fleet, self, number) for number in range(fleet.target.slots_per_instance)]
        self.retire = RetireService(
            vm=name,
            control=fleet.control,
            jobs=fleet.jobs,
            durations=fleet.durations,
            runtime=fleet.runtime,
            runtime_directory=self.directory,
            delete_self=self._delete_self,
            stop_slot=lambda number: self.slots[number].stop(),
            log=silent(),
        )
        for slot in self.slots:
            fleet.every(slot.turn)
        fleet.every(lambda: self.retire.once() if self.alive else None)

    @property
    def works(self) -> bool:
        """Return whether a slot that lives holds a claim."""
        return self.alive and any(slot.works for slot in self.slots)

    def freeze(self) -> None:
        """Nothing on it runs any more, and Azure does not notice."""
        self.alive, self.frozen = False, True

    def _delete_self(self) -> None:
        if self.alive:  # a request that is on its way when the power goes is not sent
            self._fleet.clients.delete([self.name])


class Fleet:
    """The world of one schedule."""

    def __init__(
        self, seed: int, directory: Path, *, max_instances: int = 4, slots: int = 2, lowers_late: bool = False
    ) -> None:
        self.chance = Random(seed)
        self.directory = directory
        self.runtime = VirtualRuntime()
        self.outage = False
        self.requests: list[str] = []
        """Every request so far, by whoever."""
        self._injected: dict[int, Callable[[], None]] = {}
        self.durations = DURATIONS
        clock = self.runtime.monotonic
        self.blobs = SlowBlobs(clock, self._request)
        self.jobs = SlowQueue(clock, self._request)
        self.control = Control(self.blobs)
        self.vms: dict[str, Vm] = {}
        self.done: set[str] = set()
        self.sent: list[str] = []
        self.told: list[str] = []
        self.wake_runs: list[Run] = []
        self.pause: Callable[[], float] = lambda: 0.0
        """How long a producer stands still before its next request."""
        self.inner = MemoryScaleSet(clock, boot_s=45.0, lowers_late=lowers_late, booted=self._boot, killed=self._kill)
        self.clients = CheckedSet(self.inner, self._request, self._witness)
        self.target = Target(
            kind="local",
            subscription_id="s",
            resource_group="g",
            scale_set="workers",
            blob_endpoint="https://blob",
            queue_endpoint="https://queue",
            max_instances=max_instances,
            slots_per_instance=slots,
        )
        self.session = Session(
            target=self.target,
            durations=self.durations,
            blobs=self.blobs,
            jobs=self.jobs,
            poison=MemoryQueue(clock),
            runtime=self.runtime,
            user="laptop",
        )

    # Agents

    def every(self, turn: Callable[[], float | None]) -> None:
        """Let an agent take its turns until it returns None."""

        def take() -> None:
            self.inner.settle()
            pause_s = turn()
            if pause_s is not None:
                self.runtime.after(pause_s, take)

        self.runtime.after(self.chance.uniform(0.0, 5.0), take)

    def scaler(self) -> Scaler:
        return Scaler(self.session, self.clients, self._audit)

    def watch(self, stop: Event) -> None:
        """Open a laptop on which `scale --watch` runs until `stop`."""
        scaler = self.scaler()
        self.runtime.spawn("watch", lambda: scaler.watch(stop, lambda report: self.told.extend(report.changes)))

    def wake(self) -> None:
        """Let the deployed wake run on its schedule."""
        self.session = replace(self.session, target=self.target.model_copy(update={"wake": "wake"}))
        wake = fleet_wake(self.target.max_instances, self.target.slots_per_instance)
        world = WakeWorld(self.runtime, self.inner, self.blobs, self.jobs, self._working)

        def work() -> None:
            while True:
                self.wake_runs.append(wake.run(world))
                self.runtime.advance(wake.interval_s)

        self.runtime.spawn("wake", work)

    def close(self) -> None:
        """End what runs."""
        self.runtime.close()

    def enqueue(self, jobs: int) -> TickReport:
        """Send jobs and end with the closing ticks."""
        for _ in range(jobs):
            self.sent.append(f"job-{len(self.sent)}")
            self.jobs.send(self.sent[-1])
        return self.scaler().ensure_capacity(self.told.append)

    # The world

    def during(self, request: int, action: Callable[[], None]) -> None:
        """Let something happen while the n-th request is on its way."""
        self._injected[request] = action

    def run(self, seconds: float) -> None:
        """Let time pass; Azure carries out what it was asked for meanwhile."""
        ends_s = self.runtime.now_s + seconds
        while self.runtime.now_s < ends_s:
            self.runtime.advance(min(5.0, ends_s - self.runtime.now_s))
            self.inner.settle()

    def run_until_quiet(self, seconds: float) -> None:
        """Let time pass until all is done and gone, but no longer than this."""
        ends_s = self.runtime.now_s + seconds
        while self.runtime.now_s < ends_s and (self.left_to_do or self.inner.capacity or self.inner.names):
            self.run(min(60.0, ends_s - self.runtime.now_s))

    def living(self) -> list[Vm]:
        return [vm for vm in self.vms.values() if vm.alive]

    @property
    def left_to_do(self) -> set[str]:
        return set(self.sent) - self.done

    def _request(self, what: str) -> None:
        self.requests.append(what)
        injected = self._injected.pop(len(self.requests), None)
        if injected:
            injected()
        self.runtime.advance(self.chance.choice([0.01, 0.05, 0.2, 2.0]) + self.pause())
        if self.outage:
            raise StorageUnavailable("an outage")

    def _audit(self, session: Session) -> AuditReport:
        return AuditReport()

    def _boot(self, name: str) -> None:
        self.vms[name] = Vm(self, name)

    def _kill(self, name: str) -> None:
        if name in self.vms:
            self.vms[name].alive = False

    def _working(self) -> list[str]:
        return [vm.name for vm in self.vms.values() if vm.works]

    def _witness(self, name: str) -> None:
        vm = self.vms.get(name)
        assert vm is None or not vm.works, f"{name} was deleted while it worked"
