"""The wheel as a user installs it, in a folder where files of the user's have our packages' names."""

import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
INTRUDER = "raise SystemExit('the wrong file was imported')\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the unpacked wheel, which a Python path can name: the dependencies are this environment's."""
    folder = tmp_path_factory.mktemp("wheel")
    sources = folder / "sources"  # a copy: a build leaves its folder beside them, and packs what an earlier one left
    for package in ("producer", "worker"):
        shutil.copytree(ROOT / package, sources / package)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(sources)], check=True, capture_output=True)
    (wheel,) = folder.glob("tranquility-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A user's folder with a worker.py and a producer.py of their own."""
    for name in ("worker.py", "producer.py"):
        (tmp_path / name).write_text(INTRUDER)
    return tmp_path


@pytest.mark.parametrize(
    "arguments", [("producer", "--help"), ("worker", "--help"), ("producer", "enqueue", "--help")], ids=" ".join
)
def test_commands_run_beside_files_with_our_packages_names(
    arguments: tuple[str, ...], installed: Path, workplace: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", *arguments],
        cwd=workplace,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout


def test_a_file_in_the_way_is_named_where_minus_p_was_forgotten(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "worker.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-m", "producer", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert str(tmp_path / "worker.py") in done.stderr


def test_the_wheel_holds_what_the_commands_read(installed: Path) -> None:
    for name in (
        "producer/results/prices.json",
        "producer/emulator/azurite/package-lock.json",
        "producer/target/first.snapshot.json",
        "producer/py.typed",
    ):
        assert (installed / name).is_file()


def test_an_installed_wheel_runs_a_whole_fleet_and_leaves_nothing(
    installed: Path, workplace: Path, azurite_home: Path
) -> None:
    (workplace / ".tranquility").mkdir()
    (workplace / ".tranquility" / "azurite").symlink_to(azurite_home)
    environment = {name: value for name, value in os.environ.items() if name != "AZURE_POD_IDENTITY_AUTHORITY_HOST"}

    def command(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "producer", *arguments],
            cwd=workplace,
            env={**environment, "PYTHONPATH": str(installed)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    with command("local", "up", "--instances", "1", "--time-scale", "0.05") as fleet:
        assert fleet.stdout is not None
        said = fleet.stdout.readline()
        try:
            assert said.startswith("Up: at most 1 instance of 1 worker,"), said
            running = psutil.Process(fleet.pid).children(recursive=True)
            assert running
            with command("status") as status:
                assert status.wait() == 0, status.stdout and status.stdout.read()
        finally:
            fleet.send_signal(signal.SIGINT)
            rest = fleet.stdout.read()
    assert fleet.returncode == 0, rest
    assert "nothing is left running" in rest
    assert psutil.wait_procs(running, 10)[1] == []
