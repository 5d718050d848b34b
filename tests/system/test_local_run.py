"""`local run` as `make demo` calls it: stopped in the middle, and called again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from worker.contract.result import MODEL, RESULT, Result

ROOT = Path(__file__).parents[2]
SWEEP = """
name: cut
env: Pendulum-v1
timesteps: 600
seeds: [0, 1, 2]
fixed: {batch_size: 64, learning_starts: 200, policy_kwargs: {net_arch: [32, 32]}}
evaluation: {every: 300, episodes: 1, final_episodes: 2}
"""


@pytest.fixture
def folder(tmp_path: Path, azurite_home: Path) -> Path:
    """A user's folder."""
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    (tmp_path / ".tranquility").mkdir()
    (tmp_path / ".tranquility" / "azurite").symlink_to(azurite_home)
    return tmp_path


OPTIONS = ("--instances", "2", "--evict", "--time-scale", "0.05", "--notice", "5")
WAITING = ("producer", "400", "go")
"""Two thirds of the way: both jobs at work are together past the share of all steps after which `--evict` acts."""


def local_run(folder: Path) -> "subprocess.Popen[str]":
    """Begin the command, in a process group of its own as a shell would. Training waits for the file `go`."""
    own = {name: value for name, value in os.environ.items() if name != "AZURE_POD_IDENTITY_AUTHORITY_HOST"}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "tests.system.waiting", *WAITING, "local", "run", "sweep.yaml", *OPTIONS],
        cwd=folder,
        env={**own, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def results(folder: Path) -> list[Result]:
    return [Result.model_validate_json(path.read_bytes()) for path in (folder / "runs" / "cut").rglob(RESULT)]


def test_after_ctrl_c_nothing_runs_and_the_same_command_goes_on_to_the_leaderboard(folder: Path) -> None:
    with local_run(folder) as first:
        assert first.stdout is not None
        assert any("evicted" in line for line in first.stdout), "an instance was taken in the middle"
        running = psutil.Process(first.pid).children(recursive=True)
        os.killpg(first.pid, signal.SIGINT)  # what a terminal sends: to all in the foreground
        rest = first.stdout.read()
    assert first.returncode == 130, rest
    assert "nothing is left running. The same command again goes on where it was." in rest
    assert "Traceback" not in rest
    assert psutil.wait_procs(running, 10)[1] == []
    assert results(folder) == []

    (folder / "go").touch()
    with local_run(folder) as second:
        assert second.stdout is not None
        said = second.stdout.read()
    assert second.returncode == 0, said
    assert "cut: 3 jobs" in said
    assert "Models, curves and results: runs/cut/" in said
    found = results(folder)
    assert sorted(result.job.seed for result in found) == [0, 1, 2]
    assert all(result.exact for result in found)
    assert any(attempt.from_step > 0 for result in found for attempt in result.attempts), "some went on from a commit"
    assert len(list((folder / "runs" / "cut").rglob(MODEL))) == 3
