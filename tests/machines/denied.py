"""A VM whose identity has no role on the queue yet, as in the first minutes after a deployment."""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from producer.target.permissions import OPERATIONS
from producer.target.roles import grants_of
from tests.fakes.gate import Gate, GateServer, without
from tests.machines.machine import Inside, job, machines, slot_unit, without_wake

UNIT: Final = slot_unit("vm/0")
LIMIT_S: Final = 120.0
STATE: Final = ("ActiveState", "SubState", "Result")
DROP_IN: Final = {"sweep-worker@.service.d/start.conf": f"[Service]\nTimeoutStartSec={LIMIT_S}\n"}
"""What a start may take, shortened. Within it torch is imported, also on a busy machine, and more time is asked for."""
WAS_READY: Final = """
import sys
sys.path.insert(0, "/opt/tranquility/source/bicep/cloud-init")
import deadman
print(deadman.worker_was_ready(deadman.run_query))
"""


@dataclass(frozen=True)
class Denied:
    """What systemd said of the slot, and what the dead man's switch made of that."""

    waiting: dict[str, str]
    """The unit, after a time that is longer than a start may take."""
    ready_while_waiting: str
    served: dict[str, str]
    """The unit, when the role is known."""
    ready_when_served: str


def story(azurite_home: Path, folder: Path) -> Denied:
    """Let a slot start while it may receive nothing, and then let it."""
    (receives,) = (one for one in OPERATIONS if (one.principal, one.call) == ("vm", "jobs: receive_message"))
    gate = Gate(without_wake(1))
    gate.grants = without(gate.grants, "vm", receives.need)
    with (
        contextlib.closing(GateServer.of_fleet(gate, folder)) as server,
        machines(azurite_home, folder, drop_ins=DROP_IN, front=server.before) as fleet,
    ):
        fleet.account.enqueue([job("denied")])  # without one, the VM would take itself for idle, and go
        vm = Inside(fleet.power_on())
        fleet.until("the slot has been starting for long", lambda: _starts_for_s(vm) > 1.25 * LIMIT_S)
        waiting, ready_while_waiting = vm.show(UNIT, *STATE), vm("python3", "-c", WAS_READY).strip()
        gate.grants = grants_of(without_wake(1).snapshot)
        fleet.until("the slot is ready", lambda: vm.show(UNIT, "ActiveState")["ActiveState"] == "active")
        return Denied(waiting, ready_while_waiting, vm.show(UNIT, *STATE), vm("python3", "-c", WAS_READY).strip())


def _starts_for_s(vm: Inside) -> float:
    """Return for how long the process has been starting; 0 while there is none, or systemd does not answer yet."""
    answer = vm("systemctl", "show", "--property=SubState,ExecMainStartTimestampMonotonic", UNIT, check=False)
    seen = dict(line.split("=", 1) for line in answer.splitlines())
    began_us = int(seen.get("ExecMainStartTimestampMonotonic", "0"))
    return time.monotonic() - began_us / 1e6 if began_us and seen["SubState"] == "start" else 0.0
