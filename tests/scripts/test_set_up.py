"""Set-up takes a CPU build of torch wherever one is to be had, and stops with a reason where there is none."""

import importlib.util
import platform
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.wheels import make_wheel

SCRIPT = Path(__file__).parents[2] / "scripts" / "set_up.py"


class Quiet(SimpleHTTPRequestHandler):
    """Lists folders, which is all that pip asks of an index."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Print nothing."""


class Indexes:
    """Two indexes on this machine, in the places of PyPI and of PyTorch's own."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self.pypi, self.pytorch = f"{url}/pypi", f"{url}/pytorch"
        for index in ("pypi", "pytorch"):
            (folder / index / "torch").mkdir(parents=True)

    def has(self, index: str, name: str, version: str, *needs: str) -> None:
        """Publish a package."""
        (self._folder / index / name).mkdir(exist_ok=True)
        make_wheel(self._folder / index / name, name, version, needs)


@pytest.fixture
def indexes(tmp_path: Path) -> Iterator[Indexes]:
    """Both indexes, without packages yet."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Indexes(tmp_path, f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with nothing but pip."""
    folder = tmp_path_factory.mktemp("set-up") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder


@pytest.fixture
def set_up(indexes: Indexes, venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, on Linux, with an environment without torch."""
    spec = importlib.util.spec_from_file_location("set_up", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    constraints = tmp_path / "constraints.txt"
    constraints.write_text("numpy==9.9\ntorch==9.9\n")
    for name, value in (("VENV", venv), ("PYTHON", venv / "bin" / "python"), ("CONSTRAINTS", constraints)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    for name in ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", indexes.pypi)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    subprocess.run([module.PYTHON, "-m", "pip", "uninstall", "--quiet", "--yes", "torch"], check=True)
    return module


def torch_in(venv: Path) -> str:
    """Return the version of torch that is installed, "" where it is not."""
    listing = subprocess.run(
        [venv / "bin" / "python", "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    )
    return next((line.partition("==")[2] for line in listing.stdout.splitlines() if line.startswith("torch==")), "")


def with_cuda_on_pypi(indexes: Indexes) -> None:
    indexes.has("pypi", "torch", "9.9", "nvidia-cublas")
    indexes.has("pypi", "nvidia-cublas", "1.0")


def test_the_cpu_build_of_the_index_is_preferred(set_up: Any, indexes: Indexes, venv: Path) -> None:
    with_cuda_on_pypi(indexes)
    indexes.has("pytorch", "torch", "9.9+cpu")
    set_up.install_torch(indexes.pytorch)
    assert torch_in(venv) == "9.9+cpu"


def test_an_index_without_this_version_is_told_and_passed_over(
    set_up: Any, indexes: Indexes, venv: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    indexes.has("pypi", "torch", "9.9")
    indexes.has("pytorch", "torch", "9.8+cpu")
    set_up.install_torch(indexes.pytorch)
    assert torch_in(venv) == "9.9"
    said = capfd.readouterr().err
    assert "ERROR: Cannot install torch==9.9+cpu" in said
    assert "did not give torch==9.9" in said


def test_an_index_out_of_reach_is_told_and_passed_over(
    set_up: Any, indexes: Indexes, venv: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    indexes.has("pypi", "torch", "9.9")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        set_up.install_torch(f"http://127.0.0.1:{taken.getsockname()[1]}/whl/cpu")
    assert torch_in(venv) == "9.9"
    assert "cannot be reached; looking for torch elsewhere" in capfd.readouterr().err


def test_torch_with_cuda_is_refused_before_it_is_fetched(
    set_up: Any, indexes: Indexes, venv: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with_cuda_on_pypi(indexes)
    with pytest.raises(SystemExit):
        set_up.install_torch("")
    assert torch_in(venv) == ""
    said = capfd.readouterr().err
    assert "torch with CUDA (1 packages such as nvidia-cublas" in said
    assert "make TORCH_INDEX=https://…" in said


def test_torch_that_is_nowhere_stops_with_pips_reason(
    set_up: Any, venv: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        set_up.install_torch("")
    said = capfd.readouterr().err
    assert "torch is not to be had" in said
    assert "No matching distribution found for torch==9.9" in said


def test_on_macos_the_index_is_not_asked(set_up: Any, indexes: Indexes, venv: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    indexes.has("pypi", "torch", "9.9")
    indexes.has("pytorch", "torch", "9.9+cpu")
    set_up.install_torch(indexes.pytorch)
    assert torch_in(venv) == "9.9"


def test_a_python_that_cannot_make_environments_names_the_package(
    set_up: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name))
    with pytest.raises(SystemExit):
        set_up.check_python()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"apt-get install python{version}-venv" in capfd.readouterr().err


@pytest.mark.parametrize("version", [(3, 10, 14), (3, 14, 0)])
def test_a_python_that_is_not_ours_names_those_that_are(
    version: tuple[int, ...], set_up: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "version_info", version)
        with pytest.raises(SystemExit):
            set_up.check_python()
    assert "Python 3.11, 3.12 or 3.13 is needed" in capfd.readouterr().err


def test_what_was_set_up_is_not_set_up_again(set_up: Any, tmp_path: Path) -> None:
    stamp = tmp_path / "stamp"
    assert not set_up.is_done(stamp, set_up.fingerprint())
    stamp.write_text(set_up.fingerprint())
    assert set_up.is_done(stamp, set_up.fingerprint())
    set_up.CONSTRAINTS.write_text("torch==10\n")
    assert not set_up.is_done(stamp, set_up.fingerprint())
