"""What runs on an emulated VM: the same programs as on Azure, under a supervisor in systemd's place."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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
    """Says what every VM of the set runs."""

    slots: int
    time_scale: float
    max_instances: int
    release: str

    def target(self, endpoints: Endpoints, imds_url: str, identity_id: str = "") -> Target:
        """Return the target of whoever gets tokens at `imds_url`."""
        return endpoints.target(imds_url, identity_id).model_copy(
            update={
                "slots_per_instance": self.slots,
                "max_instances": self.max_instances,
                "time_scale": self.time_scale,
                "release": self.release,
            }
        )

    def spec(self, machine: Machine, endpoints: Endpoints, identity_id: str) -> InstanceSpec:
        """Return the processes of a VM that boots now."""
        target_file = machine.folder / "target.json"
        target_file.write_bytes(self.target(endpoints, machine.imds_url, identity_id).canonical())
        environment = {
            **{name: os.environ[name] for name in INHERITED if name in os.environ},
            "PYTHONPATH": str(ROOT),  # -P keeps the current folder out, where a user's own worker.py may lie
            "AZURE_POD_IDENTITY_AUTHORITY_HOST": machine.imds_url,
            "TRANQUILITY_TARGET": str(target_file),
            "TRANQUILITY_VM": machine.vm.name,
            "TRANQUILITY_BOOTED_S": str(RealRuntime().monotonic()),
        }
        slots = [self._slot(number, environment) for number in range(self.slots)]
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


def _service(command: str, environment: Mapping[str, str]) -> Process:
    return Process(name=command, argv=_worker(command), env=environment, restart=True)


def _worker(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", "worker", *arguments)
