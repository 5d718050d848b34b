"""What goes wrong in a run, each thing at its time: to machines, messages, the network, the set, and people."""

from typing import TYPE_CHECKING, Final

from tests.simulator.actors import COMMANDS, watch_command
from tests.simulator.machines import SEGFAULT, Machine
from tests.simulator.network import Client
from tests.simulator.scenario import Mishap
from worker.contract import names
from worker.contract.control import Control
from worker.contract.errors import CapacityRefused, SetChanged, Throttled

if TYPE_CHECKING:
    from tests.simulator.world import World

NEWER: Final = '{"schema_version": 2}'
NOTICE_S: Final = 2.0
"""From the notice to the eviction: 30 s as times are shrunk here, and what it takes until the notice can be read."""
MOST_WITNESSED: Final = 2
"""Deaths that count against a job, in one run: with three in a row it would be poisoned by right."""


class Mishaps:
    """The hand that lets things go wrong in a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._witnessed = 0
        self.unborn = 0
        """So many of the next VMs run, and their software never comes up."""
        self.newer: list[str] = []
        """Messages of a newer release."""

    def happens(self, mishap: Mishap) -> None:
        """Let it happen now."""
        self._world.tell("world", f"--- {mishap.what} (which {mishap.which}, {mishap.seconds} s)")
        command = COMMANDS.get(mishap.what)
        if command is not None:
            laptop = self._world.laptops[mishap.which % 3 // 2]
            laptop.run(mishap.what, command(self._world, mishap.which))
        else:
            getattr(self, "_" + mishap.what.replace(" ", "_"))(mishap.which, mishap.seconds)

    def _some(self, which: int) -> Machine | None:
        """Return a machine that lives."""
        living = [machine for machine in self._world.machines.values() if machine.alive and not machine.dead_for_good]
        return living[which % len(living)] if living else None

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
            self._world.take_away(machine)

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
        for other in self._world.machines.values():
            if other is not machine:
                other.foreign_events.append(event)

        self._world.scheduler.after(NOTICE_S, lambda: self._world.take_away(machine) if machine.alive else None)

    def _evict_all(self, which: int, seconds: float) -> None:
        for machine in list(self._world.machines.values()):
            if machine.alive and machine.name != "competitor":
                self._world.take_away(machine)

    def _evict_all_with_notice(self, which: int, seconds: float) -> None:
        for machine in list(self._world.machines.values()):
            if machine.alive and machine.name != "competitor":
                self._announce(machine)

    def _evict_at_boot(self, which: int, seconds: float) -> None:
        booting = [name for name in self._world.cloud.scale_set.names if name not in self._world.machines]
        if booting:
            self._world.cloud.scale_set.evict(booting[which % len(booting)])

    def _foreign_event(self, which: int, seconds: float) -> None:
        for machine in self._world.machines.values():
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
            self._world.network.outage("blobs", seconds)
        if which % 3 != 2:
            self._world.network.outage("queue", seconds)

    def _arm_outage(self, which: int, seconds: float) -> None:
        self._world.network.outage("arm", seconds)

    def _show_message(self, which: int, seconds: float) -> None:
        """A message comes back before its time: a queue delivers at least once."""
        hidden = [entry for entry in self._world.cloud.jobs._entries.values() if entry.visible_s > self._world.now_s]
        if hidden:
            entry = hidden[which % len(hidden)]
            self._world.cloud.jobs.show(entry.id)
            self._world.tell("world", f"{entry.id} is visible")

    def _duplicate_message(self, which: int, seconds: float) -> None:
        entries = list(self._world.cloud.jobs._entries.values())
        if entries:
            text = entries[which % len(entries)].text
            if text != NEWER:  # there is one at a time, so that it can be taken away
                self._send(text)

    def _junk_message(self, which: int, seconds: float) -> None:
        """What was never a job."""
        self._send("{" if which % 2 else '{"schema_version": 1}')

    def _newer_message(self, which: int, seconds: float) -> None:
        """A job of a release that is yet to come to these VMs."""
        self.newer.append(self._send(NEWER))

    def _send(self, text: str) -> str:
        receipt = self._world.cloud.jobs.send(text)
        self._world.rules.message_sent(self._nobody(), receipt.message_id, text)
        return receipt.message_id

    def _other_cpu(self, which: int, seconds: float) -> None:
        """VMs that boot from now on compute otherwise: a resume there is not bit-exact."""
        self._world.fingerprint = f"cpu {which}"

    def _nobody(self) -> Client:
        return Client("world", "laptop", self._world.processes[0], lambda: None)

    def _power_off(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine and machine.name in self._world.cloud.scale_set.names:
            self._world.cloud.scale_set.break_down(machine.name)

    def _dead_for_good(self, which: int, seconds: float) -> None:
        machine = self._some(which)
        if machine and machine.name in self._world.cloud.scale_set.names:
            machine.dead_for_good = True
            machine.freeze(1e9)

    def _flag(self, which: int, seconds: float) -> None:
        """A producer drains a VM."""
        machine = self._some(which)
        if machine:
            Control(self._world.cloud.blobs).raise_flag("drain", machine.name, "surplus")
            self._world.rules.blob_put(self._nobody(), names.CONTROL, names.drain(machine.name), b"")

    def _no_boot(self, which: int, seconds: float) -> None:
        self.unborn += 1

    def _allocation_fails(self, which: int, seconds: float) -> None:
        self._world.cloud.scale_set.droughts += 1 + which % 3

    def _quota(self, which: int, seconds: float) -> None:
        self._world.cloud.scale_set.faults += [CapacityRefused("409 SkuNotAvailable")] * (1 + which % 3)

    def _throttle(self, which: int, seconds: float) -> None:
        faults = self._world.cloud.scale_set.read_faults if which % 2 else self._world.cloud.scale_set.faults
        faults.append(Throttled("429", min(seconds, 25.0)))

    def _conflict(self, which: int, seconds: float) -> None:
        self._world.cloud.scale_set.faults += [SetChanged("409")] * (1 + which % 3)

    def _new_release(self, which: int, seconds: float) -> None:
        self._world.release = f"r{int(self._world.release[1:]) + 1}"

    def _kill_laptop(self, which: int, seconds: float) -> None:
        self._world.laptops[which % 2].kill()

    def _close_lid(self, which: int, seconds: float) -> None:
        self._world.laptops[which % 2].close_lid(seconds)

    def _watch(self, which: int, seconds: float) -> None:
        self._world.laptops[which % 2].run("scale --watch", watch_command(self._world))

    def _close_watch(self, which: int, seconds: float) -> None:
        self._world.laptops[which % 2].kill()
