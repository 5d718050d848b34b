"""Stopping a slot's process, with real processes."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.contract.errors import InputError
from worker.contract.runtime import RealRuntime
from worker.vm import processes
from worker.vm.files import SlotFile, slot_file, write_file

STRANGER = "import time; print('up', flush=True); time.sleep(600)"
POLITE = (
    "import sys; from pathlib import Path; from worker.vm.processes import hold_slot; "
    "hold_slot(Path(sys.argv[1]), 0); " + STRANGER
)
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + POLITE
ROOT = Path(__file__).parents[3]


@pytest.fixture
def children() -> Iterator[list["subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def begin(directory: Path, children: list["subprocess.Popen[bytes]"], code: str) -> int:
    """Start a process, write its number as the slot's, and return it when it is up."""
    child = subprocess.Popen([sys.executable, "-c", code, str(directory)], cwd=ROOT, stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdout is not None
    child.stdout.readline()
    write_file(slot_file(directory, 0), SlotFile(pid=child.pid))
    return child.pid


def test_a_slot_that_listens_ends_in_order(tmp_path: Path, children: list["subprocess.Popen[bytes]"]) -> None:
    begin(tmp_path, children, POLITE)
    assert processes.stop_slot(tmp_path, 0, RealRuntime())
    assert children[0].wait() == -15


def test_a_slot_that_does_not_listen_is_killed(
    tmp_path: Path, children: list["subprocess.Popen[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "TERM_S", 0.3)
    begin(tmp_path, children, STUBBORN)
    assert processes.stop_slot(tmp_path, 0, RealRuntime())
    assert children[0].wait() == -9


def test_another_program_that_has_the_number_by_now_is_left_alone(
    tmp_path: Path, children: list["subprocess.Popen[bytes]"]
) -> None:
    pid = begin(tmp_path, children, STRANGER)
    assert processes.stop_slot(tmp_path, 0, RealRuntime())
    os.kill(pid, 0)
    assert children[0].poll() is None


def test_a_slot_has_one_process_at_a_time(tmp_path: Path, children: list["subprocess.Popen[bytes]"]) -> None:
    begin(tmp_path, children, POLITE)
    with pytest.raises(InputError, match="Slot 0 of this VM has a process already"):
        processes.hold_slot(tmp_path, 0)
    assert processes.stop_slot(tmp_path, 0, RealRuntime())
    processes.hold_slot(tmp_path, 0)


def test_a_slot_that_never_began_is_gone_and_one_that_cannot_be_read_is_not(tmp_path: Path) -> None:
    assert processes.stop_slot(tmp_path, 3, RealRuntime())
    slot_file(tmp_path, 3).write_text("{")
    assert not processes.stop_slot(tmp_path, 3, RealRuntime())
