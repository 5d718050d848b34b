"""What is on a machine of the set: the units of systemd/, an environment that runs the code which lies here, a target.

Its units are not changed. Where time runs faster than on Azure, drop-ins say so, as `systemctl edit` would.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from producer.emulator.errors import EmulatorError
from producer.emulator.fleet import Endpoints, Machine
from producer.emulator.machine import ROOT, at_this_pace
from producer.emulator.nspawn.spec import NspawnSpec
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations

HOME: Final = "/opt/tranquility"
UNITS: Final = "/etc/systemd/system"
NO_ENSUREPIP: Final = "/usr/lib/python3*/ensurepip"
"""Ubuntu's Python has none."""
JOURNAL: Final = "[Journal]\nStorage=volatile\nForwardToConsole=yes\nMaxLevelConsole=info\n"
"""What is logged shows in console.log of the instance, as on a serial console."""
WANTED: Final = "sweep-workers.target"


@dataclass(frozen=True)
class NspawnImage:
    """Says what every machine of the set consists of: as many slots as its target has."""

    vm_target: Mapping[str, Any]
    """What custom data gives a VM."""
    time_scale: float
    durations: Durations | None = None
    """Other durations than those of the time scale."""

    def spec(self, machine: Machine, endpoints: Endpoints) -> NspawnSpec:
        """Return the machine of a VM that boots now. EmulatorError where this is no checkout."""
        units = {unit.name: unit.read_text("utf-8") for unit in sorted((ROOT / "systemd").glob("sweep-*"))}
        if WANTED not in units:
            raise EmulatorError(f"Machines need the units of a checkout, and {ROOT} has no systemd/{WANTED}.")
        target = at_this_pace(endpoints.target(self.vm_target, machine.imds_url), self.time_scale)
        target = target.model_copy(update={"ca_file": Path(HOME, "ca.pem")})
        slots = [f"sweep-worker@{core}.service" for core in range(target.slots_per_instance)]
        environment = _python_environment()
        return NspawnSpec(
            hostname=machine.vm.name.replace("_", "-"),
            files={
                "/etc/systemd/journald.conf.d/emulator.conf": JOURNAL,
                "/etc/systemd/system.conf.d/emulator.conf": _manager(machine),
                f"{HOME}/ca.pem": endpoints.ca_file.read_text("ascii"),
                f"{HOME}/target.json": target.canonical().decode(),
                **{f"{UNITS}/{name}": text for name, text in units.items()},
                **{f"{UNITS}/{name}": text for name, text in self._drop_ins()},
                **environment.files,
            },
            links={
                f"{UNITS}/default.target": "/lib/systemd/system/multi-user.target",
                f"{UNITS}/multi-user.target.wants/{WANTED}": f"{UNITS}/{WANTED}",
                **{f"{UNITS}/{WANTED}.wants/{slot}": f"{UNITS}/sweep-worker@.service" for slot in slots},
                **environment.links,
            },
            removed=(NO_ENSUREPIP,),
            binds=environment.binds,
        )

    def _drop_ins(self) -> Iterator[tuple[str, str]]:
        durations = self.durations or Durations().scaled(self.time_scale)
        if durations == Durations():
            return
        told = f"[Service]\nEnvironment='TRANQUILITY_DURATIONS={durations.model_dump_json()}'\n"
        for name in ("sweep-worker@.service", "sweep-retire.service"):
            yield f"{name}.d/pace.conf", told
        yield "sweep-worker@.service.d/watchdog.conf", f"[Service]\nWatchdogSec={durations.watchdog_s}\n"
        looks = f"[Timer]\nOnActiveSec=\nOnActiveSec={durations.tick_s}\nOnUnitInactiveSec={durations.tick_s}\n"
        yield "sweep-retire.timer.d/pace.conf", f"{looks}AccuracySec=100ms\n"


@dataclass(frozen=True)
class _Environment:
    """The virtual environment of a machine: files, links and binds of its spec."""

    files: Mapping[str, str]
    links: Mapping[str, str]
    binds: Mapping[str, str]


def _python_environment() -> _Environment:
    """This Python and its packages, where users other than root may read them: a sandbox hides home folders."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
    binds = {f"{HOME}/python": sys.base_prefix, f"{HOME}/source": str(ROOT)}
    binds |= {f"{HOME}/packages/{number}": path for number, path in enumerate(packages)}
    searched = "".join(f"{folder}\n" for folder in binds if folder != f"{HOME}/python")
    return _Environment(
        files={
            f"{HOME}/venv/pyvenv.cfg": f"home = {HOME}/python/bin\ninclude-system-site-packages = false\n",
            f"{HOME}/venv/lib/{version}/site-packages/here.pth": searched,
            f"{UNITS}/sweep-.service.d/python.conf": f"[Service]\nEnvironment=LD_LIBRARY_PATH={HOME}/python/lib\n",
        },
        links={f"{HOME}/venv/bin/python": f"{HOME}/python/bin/{version}"},
        binds=binds,
    )


def _manager(machine: Machine) -> str:
    """Settings of systemd itself: what all services of the machine are told."""
    told = {
        "AZURE_POD_IDENTITY_AUTHORITY_HOST": machine.imds_url,
        "TRANQUILITY_BOOTED_S": RealRuntime().monotonic(),  # its clock is that of this machine
    }
    return "[Manager]\nDefaultEnvironment=" + " ".join(json.dumps(f"{name}={value}") for name, value in told.items())
