"""How the supervisor judges the end of a process: systemd's words for it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from producer.emulator.units import Circumstances, InstanceSpec, Process, count_oom_kills, judge


def wait_status(program: str) -> int:
    process = subprocess.Popen([sys.executable, "-S", "-E", "-c", program])
    _, status = os.waitpid(process.pid, 0)
    process.returncode = 0
    return status


@pytest.mark.parametrize(
    ("program", "seen", "oom_kills", "expected"),
    [
        ("", Circumstances(oom_kills_at_start=0), 0, ("success", "exited", "0")),
        ("raise SystemExit(75)", Circumstances(oom_kills_at_start=0), 0, ("exit-code", "exited", "75")),
        ("import os; os.kill(os.getpid(), 15)", Circumstances(oom_kills_at_start=0), 0, ("success", "killed", "TERM")),
        ("import os; os.kill(os.getpid(), 9)", Circumstances(oom_kills_at_start=3), 3, ("signal", "killed", "KILL")),
        ("import os; os.kill(os.getpid(), 9)", Circumstances(oom_kills_at_start=3), 4, ("oom-kill", "killed", "KILL")),
        ("import os; os.kill(os.getpid(), 15)", Circumstances(oom_kills_at_start=3), 4, ("success", "killed", "TERM")),
        ("import os; os.kill(os.getpid(), 9)", Circumstances(watchdog_fired=True), 0, ("watchdog", "killed", "KILL")),
        ("import os; os.kill(os.getpid(), 9)", Circumstances(stop_timed_out=True), 0, ("timeout", "killed", "KILL")),
    ],
)
def test_an_end_is_called_what_systemd_calls_it(
    program: str, seen: Circumstances, oom_kills: int, expected: tuple[str, str, str]
) -> None:
    end = judge(wait_status(program), seen, oom_kills)
    assert (end.result, end.code, end.status) == expected


def test_a_core_dump_is_told_from_a_plain_signal() -> None:
    dumped = signal.SIGSEGV | 0x80
    assert judge(dumped, Circumstances(), 0).result == "core-dump"
    assert judge(dumped, Circumstances(), 0).code == "dumped"
    assert judge(signal.SIGSEGV, Circumstances(), 0).result == "signal"


def test_oom_kills_are_read_where_the_kernel_counts_them(tmp_path: Path) -> None:
    vmstat = tmp_path / "vmstat"
    vmstat.write_text("pgfault 12\noom_kill 7\nnr_free_pages 3\n")
    assert count_oom_kills(str(vmstat)) == 7
    assert count_oom_kills(str(tmp_path / "missing")) == 0


def test_a_spec_survives_the_way_to_the_supervisor() -> None:
    spec = InstanceSpec(
        (
            Process("worker-0", ("a", "b"), {"X": "1"}, True, frozenset({75, 76}), after_exit=("c",), watchdog_s=2.5),
            Process("events", ("d",), {}),
        )
    )
    assert InstanceSpec.from_json(spec.to_json()) == spec
