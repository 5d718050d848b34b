"""The wheel as a user installs it, in a folder where files of the user's have our packages' names."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

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
    for name in ("producer/results/prices.json", "producer/emulator/azurite/package-lock.json", "producer/py.typed"):
        assert (installed / name).is_file()
