"""The power switch of a machine: whatever ends it, no process, mount or control group stays."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from producer.emulator.instance import Instance
from producer.emulator.nspawn.cgroups import PREFIX
from producer.emulator.nspawn.spec import NspawnSpec, why_not_here
from tests.machines.machine import PATIENCE_S, booted
from tests.needs import missing

BARE = NspawnSpec("bare", {}, {"/etc/systemd/system/default.target": "/lib/systemd/system/basic.target"})
"""A machine in which nothing runs but systemd."""


@pytest.fixture(autouse=True)
def possible() -> None:
    reason = why_not_here()
    if reason:
        missing(reason)


def traces(folder: Path) -> list[str]:
    """Return what there is on this machine of machines that were started in `folder`, or by anybody."""
    mounts = Path("/proc/self/mountinfo").read_text()
    groups = [str(group) for group in Path("/sys/fs/cgroup").rglob(f"{PREFIX}*")]
    ours = [group for group in groups if not psutil.pid_exists(int(group.rpartition("-")[2]))]
    return [line for line in mounts.splitlines() if str(folder) in line or "tranquility-" in line] + ours


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Instance]:
    instance = Instance("bare", tmp_path / "0" / "run", tmp_path / "logs")
    instance.start(BARE)
    try:
        yield instance
    finally:
        instance.kill()


def everything(instance: Instance) -> list[psutil.Process]:
    """Return the machine's first process and all below it, its supervisor and systemd-nspawn."""
    init = psutil.Process(instance.pids["init"])
    nspawn = init.parent()
    assert nspawn is not None
    supervisor = nspawn.parent()
    assert supervisor is not None
    return [supervisor, nspawn, init, *init.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    return psutil.wait_procs(processes, PATIENCE_S)[1] == []


def test_cutting_the_power_leaves_nothing(machine: Instance, tmp_path: Path) -> None:
    booted(machine)
    processes = everything(machine)
    assert len(processes) > 3, "supervisor, systemd-nspawn, systemd, journald"
    machine.kill()
    assert machine.events[-1].kind == "off"
    assert all_gone(processes)
    assert not (tmp_path / "0").exists()
    assert traces(tmp_path) == []


def test_cutting_it_while_it_boots_does_as_well(machine: Instance, tmp_path: Path) -> None:
    assert machine.wait_for(bool, PATIENCE_S)
    machine.kill()
    assert not (tmp_path / "0").exists()
    assert traces(tmp_path) == []


def test_a_machine_that_powers_itself_off_is_off(machine: Instance, tmp_path: Path) -> None:
    booted(machine)("poweroff", "--force", "--force", check=False)
    assert machine.wait_for(lambda events: events[-1].kind == "off", PATIENCE_S)
    assert traces(tmp_path) == []


def test_when_its_supervisor_is_killed_the_machine_goes(machine: Instance, tmp_path: Path) -> None:
    booted(machine)
    processes = everything(machine)
    processes[0].kill()
    assert machine.wait_for(lambda events: events[-1].kind == "off", PATIENCE_S)
    assert all_gone(processes)


EMULATOR = """
import json, sys
from pathlib import Path
from producer.emulator.instance import Instance
from tests.machines.machine import booted
from tests.machines.test_power import BARE, everything

instance = Instance("bare", Path(sys.argv[1], "0", "run"), Path(sys.argv[1], "logs"))
instance.start(BARE)
booted(instance)
print(json.dumps([process.pid for process in everything(instance)]), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("also_the_supervisor", [False, True])
def test_when_the_emulator_is_killed_it_goes_at_once_or_before_the_next_one(
    tmp_path: Path, *, also_the_supervisor: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", EMULATOR, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as emulator:
        assert emulator.stdout is not None
        processes = [psutil.Process(int(pid)) for pid in emulator.stdout.readline().strip("[]\n").split(",")]
        emulator.send_signal(signal.SIGKILL)
        if also_the_supervisor:
            os.kill(processes[0].pid, signal.SIGKILL)
    if also_the_supervisor:
        another = Instance("bare", tmp_path / "1" / "run", tmp_path / "logs")
        another.start(BARE)
        booted(another)
        another.kill()
    assert all_gone(processes)
    assert traces(tmp_path) == []
