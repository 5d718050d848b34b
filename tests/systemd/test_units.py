"""The units as systemd itself judges them, and the directives that the protocol rests on."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.needs import program
from worker.contract.settings import Durations
from worker.exit_status import LEAVES, STOPPED
from worker.notify import START_EXTENSION_S
from worker.vm.processes import TERM_S

UNITS = Path(__file__).parents[2] / "systemd"
WORKER, EVENTS, RETIRE = "sweep-worker@.service", "sweep-events.service", "sweep-retire.service"
SERVICES = (WORKER, EVENTS, RETIRE)
TIMER, TARGET = "sweep-retire.timer", "sweep-workers.target"
MOST_EXPOSED = 1.3
PYTHON = "/opt/tranquility/venv/bin/python"
DURATIONS = Durations()
NOT_SHARED = {"Service.ProcSubset"}
"""Of the sandbox: see the reason in the worker's unit."""


def directives(name: str) -> dict[str, list[str]]:
    """Return what a unit says, `Section.Key` to its values in their order."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in (UNITS / name).read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def sandbox(name: str) -> dict[str, list[str]]:
    """Return the hardening block of a service."""
    keys = [key for key in directives(name) if key.startswith("Service.")]
    return {key: directives(name)[key] for key in keys[keys.index("Service.CapabilityBoundingSet") :]}


def instance_of(name: str) -> str:
    return name.replace("@.", "@0.")


@pytest.fixture
def analyze() -> str:
    return program("systemd-analyze", "Debian package systemd")


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """All units as a VM has them: with their program, and the template as an instance."""
    program = tmp_path / "python"
    program.touch(mode=0o755)
    for unit in UNITS.iterdir():
        (tmp_path / instance_of(unit.name)).write_text(unit.read_text().replace(PYTHON, str(program)))
    return tmp_path


def test_these_are_all_the_units() -> None:
    assert {unit.name for unit in UNITS.iterdir()} == {*SERVICES, TIMER, TARGET}


def test_systemd_finds_the_units_valid(analyze: str, units: Path) -> None:
    names = [str(units / instance_of(unit.name)) for unit in UNITS.iterdir()]
    done = subprocess.run([analyze, "verify", *names], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_exposed_to_little(analyze: str, units: Path, name: str) -> None:
    command = [analyze, "security", "--offline=true", str(units / instance_of(name))]
    done = subprocess.run(command, capture_output=True, text=True)
    score = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert score is not None, done.stderr
    assert float(score[1]) <= MOST_EXPOSED


def test_the_services_share_one_sandbox_but_for_the_exceptions() -> None:
    for name in (EVENTS, RETIRE):
        mine, workers = sandbox(name), sandbox(WORKER)
        assert mine.keys() ^ workers.keys() <= NOT_SHARED
        assert all(mine[key] == workers[key] for key in mine.keys() & workers.keys())


@pytest.mark.parametrize("name", SERVICES)
def test_no_module_of_the_current_folder_is_imported(name: str) -> None:
    commands = [values for key, values in directives(name).items() if key.startswith("Service.Exec")]
    assert commands
    assert all(command.startswith(f"{PYTHON} -P -m worker ") for values in commands for command in values)


def test_the_services_share_user_and_runtime_directory_which_outlive_each_of_them() -> None:
    """Else the poller's notice, a slot's file and the retire service's memory would go when one of them restarts."""
    shared = {
        "Service.DynamicUser": ["yes"],
        "Service.User": ["sweep"],
        "Service.RuntimeDirectory": ["tranquility"],
        "Service.RuntimeDirectoryPreserve": ["yes"],
    }
    for name in SERVICES:
        assert shared.items() <= directives(name).items()


@pytest.mark.parametrize(
    ("name", "directive", "value", "why"),
    [
        (WORKER, "Service.Type", "notify", "ready is what the dead man's switch asks for"),
        (WORKER, "Service.Restart", "always", "a crash, a kill and a hang take the path of a normal start"),
        (WORKER, "Service.RestartPreventExitStatus", str(LEAVES), "a dying VM must not take its job back"),
        (WORKER, "Service.SuccessExitStatus", str(LEAVES), "to leave in order is no failure"),
        (WORKER, "Unit.StartLimitIntervalSec", "0", "an outage may be longer than any limit on starts"),
        (EVENTS, "Unit.StartLimitIntervalSec", "0", "without its poller a VM dies unheard"),
        (EVENTS, "Service.Restart", "always", "without its poller a VM dies unheard"),
        (WORKER, "Service.KillMode", "mixed", "SIGTERM is for the slot alone"),
        (WORKER, "Service.CPUAffinity", "%i", "one slot, one core"),
        (WORKER, "Service.WatchdogSec", f"{DURATIONS.watchdog_s:.0f}", "rule 5"),
        (WORKER, "Service.TimeoutStopSec", f"{TERM_S:.0f}", "as patient as the retire service"),
        (WORKER, "Service.Environment", "TRANQUILITY_FIRST_PULSE=/run/tranquility-boot/first-pulse", "rule 12"),
        (RETIRE, "Service.Type", "oneshot", "its timer starts it for each look"),
        (WORKER, "Install.WantedBy", TARGET, "the target starts and stops all slots"),
        (WORKER, "Unit.PartOf", TARGET, "the target starts and stops all slots"),
    ],
)
def test_what_the_protocol_rests_on(name: str, directive: str, value: str, why: str) -> None:
    assert value in directives(name)[directive], why


def test_a_stop_leaves_time_for_the_last_commit_and_ends_before_the_notice_does() -> None:
    (stop_s,) = directives(WORKER)["Service.TimeoutStopSec"]
    assert DURATIONS.stop_deadline_s < int(stop_s) < 30


def test_a_start_is_as_patient_between_two_signs_of_life_as_the_watchdog() -> None:
    assert DURATIONS.watchdog_s == START_EXTENSION_S


def test_an_orderly_stop_may_be_started_again() -> None:
    """Else a slot that the retire service stopped, on a VM that then stays, would never come back."""
    (forbidden,) = directives(WORKER)["Service.RestartPreventExitStatus"]
    assert str(STOPPED) not in forbidden.split()


def test_the_retire_service_outlives_the_target() -> None:
    """Whoever stops the workers to look into a VM, and forgets it, would else pay for ever."""
    assert not any("PartOf" in directive for name in (RETIRE, TIMER) for directive in directives(name))
    assert TIMER in directives(TARGET)["Unit.Wants"][0]


def test_the_looks_of_the_timer_count_as_one_time_without_a_commit() -> None:
    """The retire service credits a gap between two looks with no more than the visibility timeout."""
    (seconds,) = directives(TIMER)["Timer.OnUnitInactiveSec"]
    assert 2 * int(seconds) <= DURATIONS.visibility_timeout_s
