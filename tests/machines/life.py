"""One job to which everything happens that may happen to it on a VM; then nobody needs the VMs any more."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from producer.emulator.states import Power
from tests.machines.machine import job, machines, slot_unit
from worker.contract.manifest import Manifest

UNIT = slot_unit("vm/0")
STATE = ("ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")


@dataclass(frozen=True)
class Life:
    """What was seen at each turn."""

    manifest: Manifest
    """At the end."""
    digest: str
    stopped: dict[str, str]
    """The unit after `systemctl stop`."""
    killed: dict[str, str]
    """The unit when it trains again after SIGKILL."""
    poweroff: Power | None
    """What Azure says of the VM that powered itself off."""
    given_back: Manifest
    """Right after `systemctl stop`."""
    preempted: dict[str, str]
    """The unit after the notice."""
    vms: tuple[str, ...]
    """In the order in which the job came to them."""
    left: int
    """Capacity when the last machine was off."""


def story(azurite_home: Path, folder: Path) -> Life:
    """Stop its slot, kill it, switch its VM off, evict the next one, and let the last one idle."""
    with machines(azurite_home, folder) as fleet:
        life = job("life")
        fleet.account.enqueue([life])
        first = fleet.boot_busy()
        vm = fleet.in_training(life).partition("/")[0]

        first("systemctl", "stop", UNIT)
        stopped, given_back = first.show(UNIT, *STATE), fleet.manifest(life)
        first("systemctl", "start", UNIT)
        fleet.in_training(life)

        os.kill(first.main_pid(UNIT), signal.SIGKILL)
        fleet.attempts(life, 3)
        fleet.in_training(life)
        killed = first.show(UNIT, *STATE)

        first("poweroff", "-f", check=False)
        assert fleet.fleet.wait_for(lambda fleet: vm not in fleet.instances, 60.0)
        poweroff = fleet.fleet.model.vm(vm).power
        fleet.fleet.model.delete_instances([vm])  # as whoever scales the set does

        second = fleet.boot_busy()
        fleet.attempts(life, 4)
        second_vm = fleet.in_training(life).partition("/")[0]
        fleet.fleet.evict(second_vm, notice=True)
        fleet.until("the slot leaves", lambda: second.show(UNIT, "SubState")["SubState"] == "dead")
        preempted = second.show(UNIT, *STATE)
        fleet.fleet.model.delete_instances([second_vm])  # the rest of the notice is only waiting

        fleet.boot()
        digest = fleet.done(life)
        manifest = fleet.manifest(life)
        fleet.until("the last VM deletes itself", lambda: not fleet.fleet.model.vms())
        fleet.until("its power is cut", lambda: not fleet.fleet.instances)
        left = fleet.fleet.model.capacity
        vms = (vm, second_vm, manifest.worker.partition("/")[0])
        return Life(manifest, digest, stopped, killed, poweroff, given_back, preempted, vms, left)
