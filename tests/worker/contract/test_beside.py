"""Claims about what is done beside something else."""

import subprocess
import sys
import threading

import pytest

from worker.contract.beside import beside

WAIT_S = 60.0


def test_what_comes_of_it_reaches_whoever_asks() -> None:
    assert beside("reads", lambda: threading.current_thread().name).result(WAIT_S) == "reads"


def test_its_error_reaches_whoever_asks() -> None:
    def fail() -> None:
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        beside("fails", fail).result(WAIT_S)


def test_a_program_that_ends_waits_for_nobody() -> None:
    program = (
        "import threading\nfrom worker.contract.beside import beside\n"
        "beside('never', threading.Event().wait)\nraise KeyboardInterrupt"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=WAIT_S, check=False)
    assert b"KeyboardInterrupt" in ended.stderr
