"""Instances with real processes: started, restarted, watched, stopped, and killed to the last grandchild."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from producer.emulator.instance import Instance, InstanceEvent
from producer.emulator.units import InstanceSpec, Process

PATIENCE_S = 30.0
FOREVER = "import signal\nwhile True: signal.pause()"
NOTIFY = """
import os, signal, socket
def notify(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(text.encode(), os.environ["NOTIFY_SOCKET"])
"""

Start = Callable[..., Instance]


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-E", "-c", program)


def service(program: str, **settings: Any) -> Process:
    return Process("p", python(program), {"PATH": os.defpath}, **({"restart_after_s": 0.0} | settings))


def count(events: tuple[InstanceEvent, ...], kind: str, process: str = "p") -> int:
    return sum(event.kind == kind and event.process == process for event in events)


def after(kind: str, times: int = 1, process: str = "p") -> Callable[[tuple[InstanceEvent, ...]], bool]:
    return lambda events: count(events, kind, process) >= times


def last(instance: Instance, kind: str) -> dict[str, Any]:
    return [event.facts for event in instance.events if event.kind == kind][-1]


@pytest.fixture
def start(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    started: list[Instance] = []

    def start(*processes: Process) -> Instance:
        instance = Instance(f"vm{len(started)}", tmp_path / f"{len(started)}" / "run", tmp_path / "logs")
        started.append(instance)
        instance.start(InstanceSpec(processes))
        return instance

    yield start
    for instance in started:
        instance.kill()


def output(tmp_path: Path, process: str = "p") -> str:
    return (tmp_path / "logs" / f"{process}.log").read_text()


def test_a_process_gets_its_own_environment_and_the_run_directory_and_is_logged(start: Start, tmp_path: Path) -> None:
    program = (
        "import os, json, sys; print(json.dumps(dict(os.environ)), flush=True); print('to stderr', file=sys.stderr)"
    )
    instance = start(Process("p", python(program), {"ONLY": "this"}))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    first, second = output(tmp_path).splitlines()
    environment = json.loads(first)
    assert set(environment) - {"LC_CTYPE"} == {"ONLY", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET"}
    assert environment["RUNTIME_DIRECTORY"] == str(tmp_path / "0" / "run")
    assert second == "to stderr"


def test_all_processes_of_an_instance_share_one_run_directory(start: Start, tmp_path: Path) -> None:
    program = "import os, pathlib; pathlib.Path(os.environ['RUNTIME_DIRECTORY'], '{}').write_text('here')"
    instance = start(
        Process("a", python(program.format("a")), {}),
        Process("b", python(program.format("b")), {}),
    )
    assert instance.wait_for(after("ended", process="a"), PATIENCE_S)
    assert instance.wait_for(after("ended", process="b"), PATIENCE_S)
    assert {file.name for file in (tmp_path / "0" / "run").iterdir()} == {"a", "b"}


def test_a_process_that_restarts_comes_back_after_a_crash_and_after_a_clean_end(start: Start) -> None:
    for program in ("raise SystemExit(1)", ""):
        instance = start(service(program, restart=True))
        assert instance.wait_for(after("started", 3), PATIENCE_S)


def test_a_process_that_does_not_restart_stays_down(start: Start) -> None:
    instance = start(service("raise SystemExit(1)", restart=False))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert count(instance.events, "started") == 1
    assert instance.pids == {}


def test_a_forbidden_status_is_not_restarted_and_another_one_is(start: Start, tmp_path: Path) -> None:
    program = "import os\nseen = os.path.exists('seen')\nopen('seen', 'a').close()\nraise SystemExit(75 if seen else 1)"
    instance = start(service(program, restart=True, no_restart_statuses=frozenset({75})))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert [event.facts["EXIT_STATUS"] for event in instance.events if event.kind == "exited"] == ["1", "75"]


def test_a_program_that_cannot_be_started_is_reported_like_systemd_does(start: Start, tmp_path: Path) -> None:
    instance = start(Process("p", ("/no/such/program",), {}))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert last(instance, "exited") == {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "203"}
    assert "/no/such/program: No such file or directory" in output(tmp_path)


def test_what_comes_after_an_exit_is_told_how_it_went_and_ends_before_the_next_start(
    start: Start, tmp_path: Path
) -> None:
    tell = python("import os; print(*(os.environ[k] for k in ('SERVICE_RESULT', 'EXIT_CODE', 'EXIT_STATUS')))")
    instance = start(service("import os; os.kill(os.getpid(), 11)", restart=True, after_exit=tell))
    assert instance.wait_for(after("started", 2), PATIENCE_S)
    kinds = [event.kind for event in instance.events]
    assert kinds[:4] == ["started", "exited", "after_exit", "started"]
    assert output(tmp_path).splitlines()[0] in ("signal killed SEGV", "core-dump dumped SEGV")


def test_it_also_runs_after_a_clean_end(start: Start, tmp_path: Path) -> None:
    tell = python("import os; print(os.environ['SERVICE_RESULT'])")
    instance = start(service("", after_exit=tell))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert output(tmp_path) == "success\n"


def test_a_silent_process_is_aborted_by_its_watchdog(start: Start, tmp_path: Path) -> None:
    program = NOTIFY + "notify('READY=1')\nwhile True: signal.pause()"
    tell = python("import os; print(os.environ['SERVICE_RESULT'], os.environ['EXIT_STATUS'])")
    instance = start(service(program, watchdog_s=0.2, after_exit=tell))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert output(tmp_path).strip() == "watchdog ABRT"


def test_one_that_ignores_the_abort_is_killed_and_still_counts_as_a_watchdog_kill(start: Start) -> None:
    program = NOTIFY + "signal.signal(6, signal.SIG_IGN)\nnotify('READY=1')\nwhile True: signal.pause()"
    instance = start(service(program, watchdog_s=0.2, stop_timeout_s=0.2))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert last(instance, "exited") == {"SERVICE_RESULT": "watchdog", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}


def test_a_stopped_process_cannot_hide_from_its_watchdog(start: Start) -> None:
    program = NOTIFY + "import os\nnotify('READY=1')\nos.kill(os.getpid(), signal.SIGSTOP)"
    instance = start(service(program, watchdog_s=0.2, stop_timeout_s=0.2))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert last(instance, "exited")["SERVICE_RESULT"] == "watchdog"


def test_a_process_that_feeds_its_watchdog_is_left_alone_until_it_stops_feeding(start: Start) -> None:
    # The feedings take longer than the watchdog's patience.
    program = NOTIFY + (
        "import time\n"
        "assert os.environ['WATCHDOG_USEC'] == '1500000'\n"
        "notify('READY=1')\n"
        "for number in range(40): time.sleep(0.05); notify('WATCHDOG=1')\n"
        "notify('STATUS=hungry')\nwhile True: signal.pause()"
    )
    instance = start(service(program, watchdog_s=1.5))
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert [event.kind for event in instance.events][:5] == ["started", "ready", "status", "watchdog", "exited"]


def test_the_watchdog_waits_until_the_process_is_ready(start: Start) -> None:
    program = NOTIFY + "import time\ntime.sleep(0.5)\nnotify('STATUS=up')\nwhile True: signal.pause()"
    instance = start(service(program, watchdog_s=0.1))
    assert instance.wait_for(after("status"), PATIENCE_S)
    assert count(instance.events, "watchdog") == 0


def test_a_stop_is_a_sigterm_and_no_restart(start: Start, tmp_path: Path) -> None:
    program = NOTIFY + (
        "def leave(*_): print('leaving', flush=True); raise SystemExit(0)\n"
        "signal.signal(signal.SIGTERM, leave)\nnotify('READY=1')\nwhile True: signal.pause()"
    )
    instance = start(service(program, restart=True))
    assert instance.wait_for(after("ready"), PATIENCE_S)
    instance.stop_process("p")
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert output(tmp_path) == "leaving\n"
    assert count(instance.events, "started") == 1


def test_a_stop_that_takes_too_long_is_a_sigkill(start: Start) -> None:
    program = NOTIFY + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nnotify('READY=1')\nwhile True: signal.pause()"
    instance = start(service(program, restart=True, stop_timeout_s=0.2))
    assert instance.wait_for(after("ready"), PATIENCE_S)
    instance.stop_process("p")
    assert instance.wait_for(after("ended"), PATIENCE_S)
    assert last(instance, "exited")["SERVICE_RESULT"] == "timeout"


FAMILY = (
    NOTIFY
    + """
def child(escape):
    if os.fork() == 0:
        if escape:
            os.setsid()
            if os.fork(): os._exit(0)
        print(os.getpid(), flush=True)
        notify("STATUS=" + str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True: signal.pause()
child(False)
child(True)
print(os.getpid(), flush=True)
notify("STATUS=" + str(os.getpid()))
while True: signal.pause()
"""
)
"""A process, its child, and a grandchild that leaves the session as a daemon does."""


def family(instance: Instance, tmp_path: Path) -> list[psutil.Process]:
    assert instance.wait_for(after("status", 3), PATIENCE_S)
    return [psutil.Process(int(pid)) for pid in output(tmp_path).split()]


def test_cutting_the_power_kills_everything_daemons_included(start: Start, tmp_path: Path) -> None:
    instance = start(service(FAMILY, restart=True))
    processes = family(instance, tmp_path)
    instance.kill()
    assert [process for process in processes if process.is_running()] == []
    assert instance.events[-1].kind == "off"
    assert instance.pids == {}
    assert not (tmp_path / "0").exists(), "what was in memory (/run) is gone with the power"


def test_cutting_the_power_of_a_stopped_process_works_as_well(start: Start) -> None:
    instance = start(service(NOTIFY + "notify('READY=1')\nwhile True: signal.pause()"))
    assert instance.wait_for(after("ready"), PATIENCE_S)
    process = psutil.Process(instance.pids["p"])
    process.suspend()
    instance.kill()
    assert not process.is_running()


def test_nothing_runs_on_after_the_power_was_cut(start: Start) -> None:
    tell = python("import pathlib; pathlib.Path('/proc/self').exists()")
    instance = start(service("raise SystemExit(1)", restart=True, after_exit=tell))
    assert instance.wait_for(after("after_exit"), PATIENCE_S)
    instance.kill()
    seen = instance.events
    assert seen[-1].kind == "off"
    instance.kill()
    assert instance.events == seen


def test_when_its_supervisor_is_killed_the_whole_instance_goes(start: Start, tmp_path: Path) -> None:
    instance = start(service(FAMILY.replace("os.setsid()", "pass")))
    processes = family(instance, tmp_path)
    supervisor = psutil.Process(instance.pids["p"]).parent()
    assert supervisor is not None
    supervisor.kill()
    assert instance.wait_for(lambda events: events[-1].kind == "off", PATIENCE_S)
    psutil.wait_procs(processes, PATIENCE_S)
    assert [process for process in processes if process.is_running()] == []


EMULATOR = """
import sys
from pathlib import Path
from producer.emulator.instance import Instance
from producer.emulator.units import InstanceSpec, Process

folder, *argv = sys.argv[1:]
instance = Instance("vm", Path(folder, "0", "run"), Path(folder, "logs"))
instance.start(InstanceSpec((Process("p", tuple(argv), {}),)))
assert instance.wait_for(lambda events: sum(event.kind == "status" for event in events) == 3, 30)
print("up", flush=True)
sys.stdin.read()
"""


def test_when_the_emulator_is_killed_nothing_of_it_stays(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", EMULATOR, str(tmp_path), *python(FAMILY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as emulator:
        assert emulator.stdout is not None
        assert emulator.stdout.readline() == "up\n"
        (supervisor,) = psutil.Process(emulator.pid).children()
        processes = [supervisor, *(psutil.Process(int(pid)) for pid in output(tmp_path).split())]
        emulator.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(processes, PATIENCE_S)
    assert alive == []
    assert not (tmp_path / "0").exists()
