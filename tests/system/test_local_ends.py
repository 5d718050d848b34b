"""A fleet whose storage has ended cannot go on: the command says so, fails, and leaves nothing running."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
SWEEP = "name: cut\nenv: Pendulum-v1\ntimesteps: 1_000_000\nseeds: 1\n"


@contextmanager
def command(folder: Path, azurite_home: Path, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """Run a command of ours in a user's folder; it does not outlive the test."""
    (folder / ".tranquility").mkdir()
    (folder / ".tranquility" / "azurite").symlink_to(azurite_home)
    own = {name: value for name, value in os.environ.items() if name != "AZURE_POD_IDENTITY_AUTHORITY_HOST"}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "producer", *arguments],
        cwd=folder,
        env={**own, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)


def node_of(process: "subprocess.Popen[str]") -> psutil.Process:
    (node,) = [child for child in psutil.Process(process.pid).children() if "node" in child.name()]
    return node


@pytest.mark.parametrize(
    ("arguments", "sign"),
    [
        (("local", "up", "--instances", "1"), "0 jobs in the queue"),
        (("local", "run", "sweep.yaml", "--instances", "1", "--time-scale", "0.05"), "capacity 1"),
    ],
    ids=["up", "run"],
)
def test_when_azurite_ends_the_command_says_so_and_leaves_nothing_running(
    arguments: tuple[str, ...], sign: str, tmp_path: Path, azurite_home: Path
) -> None:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    with command(tmp_path, azurite_home, *arguments) as fleet:
        assert fleet.stdout is not None
        assert any(sign in line for line in fleet.stdout), "it runs"
        running = psutil.Process(fleet.pid).children(recursive=True)
        node_of(fleet).kill()
        rest = fleet.stdout.read()
    assert fleet.returncode == 1, rest
    assert "Azurite, its storage, has ended by itself" in rest
    assert "azurite.log" in rest
    assert "Traceback" not in rest
    assert psutil.wait_procs(running, 10)[1] == []
    assert not (tmp_path / ".tranquility" / "local.json").exists()
