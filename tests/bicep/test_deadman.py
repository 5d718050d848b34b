"""A VM that never becomes a worker ends; any other is left alone."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = Path(__file__).parents[2] / "bicep" / "cloud-init"
VM = "tranq-set_1a2b3c4d"
LIMIT_S = 1800


class Machine:
    """Answers for systemctl and journalctl, and notes what was asked."""

    def __init__(self, entered: str = "") -> None:
        self.entered = entered
        self.asked: list[str] = []

    def query(self, command: Sequence[str]) -> str:
        asked = " ".join(command)
        self.asked.append(asked)
        if "UserspaceTimestampMonotonic" in asked:
            return "5000000\n"
        if "ActiveEnterTimestampMonotonic" in asked:
            return self.entered
        return "bootstrap failed, systemd tries again: HTTP 404\n" if command[0] == "journalctl" else ""


@pytest.fixture
def deadman(load: Callable[[str], Any]) -> Any:
    """The program."""
    return load("deadman")


@pytest.mark.parametrize("entered", ["", "\n", "0\n", "0\n\n0\n"])
def test_a_vm_without_a_ready_worker_in_time_uploads_its_log_and_deletes_itself(
    deadman: Any, azure: Any, target_file: Path, entered: str
) -> None:
    machine = Machine(entered)
    deadman.look(target_file, LIMIT_S, machine.query, lambda: 5.0 + LIMIT_S)
    assert azure.deleted == [VM]
    log = azure.blobs[f"control/failed-boots/{VM}"].decode()
    assert "bootstrap failed, systemd tries again: HTTP 404" in log
    assert "==== /var/log/cloud-init-output.log" in log


def test_before_its_time_nothing_happens(deadman: Any, azure: Any, target_file: Path) -> None:
    machine = Machine()
    deadman.look(target_file, LIMIT_S, machine.query, lambda: 5.0 + LIMIT_S - 1)
    assert azure.requests == []
    assert not [asked for asked in machine.asked if "stop" in asked]


@pytest.mark.parametrize("entered", ["61000000\n", "0\n\n61000000\n", "61000000\n\n0\n"])
def test_one_worker_that_was_ready_once_ends_the_watch(
    deadman: Any, azure: Any, target_file: Path, entered: str
) -> None:
    machine = Machine(entered)
    deadman.look(target_file, LIMIT_S, machine.query, lambda: 5.0 + 10 * LIMIT_S)
    assert azure.requests == []
    assert machine.asked[-1] == "systemctl stop tranquility-deadman.timer"


@pytest.mark.parametrize("status", [403, 503])
def test_a_log_that_cannot_be_uploaded_does_not_keep_the_vm_alive(
    deadman: Any, azure: Any, target_file: Path, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    azure.refusals[f"PUT /blob/control/failed-boots/{VM}"] = status
    deadman.look(target_file, LIMIT_S, Machine().query, lambda: 9999.0)
    assert azure.deleted == [VM]
    assert f"not uploaded: PUT {azure.url}/blob/control/failed-boots/{VM}: HTTP {status}" in capsys.readouterr().out


def test_a_journal_that_cannot_be_read_does_not_either(deadman: Any, azure: Any, target_file: Path) -> None:
    machine = Machine()

    def no_journal(command: Sequence[str]) -> str:
        if command[0] == "journalctl":
            raise subprocess.CalledProcessError(1, list(command))
        return machine.query(command)

    deadman.look(target_file, LIMIT_S, no_journal, lambda: 9999.0)
    assert azure.deleted == [VM]


def test_a_refused_deletion_is_an_error_and_is_tried_again(deadman: Any, azure: Any, target_file: Path) -> None:
    path = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Compute/virtualMachineScaleSets/tranq-set/delete"
    azure.refusals[f"POST {path}"] = 429
    with pytest.raises(deadman.AzureError, match="HTTP 429"):
        deadman.look(target_file, LIMIT_S, Machine().query, lambda: 9999.0)
    azure.refusals.clear()
    deadman.look(target_file, LIMIT_S, Machine().query, lambda: 9999.0)
    assert azure.deleted == [VM]


def test_of_a_long_log_the_end_is_kept(deadman: Any, tmp_path: Path) -> None:
    long = tmp_path / "cloud-init.log"
    long.write_bytes(b"start" + b"." * deadman.LOG_LIMIT + b"the reason")
    collected = deadman.collect_log(lambda _: "", [long, tmp_path / "missing.log"])
    assert collected.count(b"\n==== ") == 2
    assert b"the reason" in collected
    assert b"start." not in collected
    assert b"(absent)" in collected


def test_the_program_says_what_is_wrong_and_comes_again() -> None:
    done = subprocess.run(
        [sys.executable, PROGRAMS / "deadman.py"],
        capture_output=True,
        text=True,
        env={"PATH": "/nonexistent", "TRANQUILITY_READY_WITHIN_S": "1800"},
    )
    assert done.returncode == 1
    assert "the next look is in a minute" in done.stdout
