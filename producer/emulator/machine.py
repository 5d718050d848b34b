"""What runs on an emulated VM: the same programs as on Azure, under a supervisor in systemd's place."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producer.emulator.fleet import Endpoints, Machine
from producer.emulator.units import InstanceSpec, Process
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations, Target
from worker.exit_status import LEAVES

INHERITED = ("PATH", "HOME", "LANG", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH")
"""No proxy variable is among them: everything an emulated VM talks to is on this machine."""
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class MachineImage:
    """Says what every VM of the set runs: as many slots as its target has, of the code that runs here."""

    vm_target: Mapping[str, Any]
    """What custom data gives a VM."""
    time_scale: float

    def spec(self, machine: Machine, endpoints: Endpoints) -> InstanceSpec:
        """Return the processes of a VM that boots now."""
        target = at_this_pace(endpoints.target(self.vm_target, machine.imds_url), self.time_scale)
        target_file = machine.folder / "target.json"
        target_file.write_bytes(target.canonical())
        environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "PYTHONPATH": str(ROOT),  # -P keeps the current folder out, where a user's own worker.py may lie
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": machine.imds_url,
            "TRANQUILITY_TARGET": str(target_file),
            "TRANQUILITY_VM": machine.vm.name,
            "TRANQUILITY_BOOTED_S": str(RealRuntime().monotonic()),
        }
        slots = [self._slot(number, environment) for number in range(target.slots_per_instance)]
        return InstanceSpec((_service("events", environment), _service("retire", environment), *slots))

    def _slot(self, number: int, environment: Mapping[str, str]) -> Process:
        return Process(
            name=f"worker-{number}",
            argv=_worker("run", "--slot", str(number)),
            env=environment,
            restart=True,
            no_restart_statuses=frozenset({LEAVES}),
            after_exit=_worker("witness", "--slot", str(number)),
            watchdog_s=Durations().scaled(self.time_scale).watchdog_s,
        )


def at_this_pace(target: Target, time_scale: float) -> Target:
    """Return the target with what only a fleet on this machine has: its pace, and the code that lies here."""
    return target.model_copy(update={"time_scale": time_scale, "release": "local"})


def _service(command: str, environment: Mapping[str, str]) -> Process:
    return Process(name=command, argv=_worker(command), env=environment, restart=True)


def _worker(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "worker", *arguments)
