"""Claims about the wheels of a release, with the real pip and a folder instead of an index."""

from pathlib import Path

import pytest

from producer.target.wheelhouse import Pip, Platform, WheelsMissing, read_pins, wheelhouse
from tests.fakes.wheels import make_wheel
from worker.contract.errors import InputError

NO_INDEX = "http://127.0.0.1:9"
LINUX_311 = "cp311-cp311-manylinux_2_28_x86_64"


class Index:
    """A folder of wheels that pip looks into, and the pins of all of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "index"
        self.folder.mkdir()
        self.house = folder / "house"
        self.house.mkdir()
        self.constraints = folder / "constraints.txt"
        self.add("pip", "26.0")

    def add(self, name: str, version: str, *needs: str, tag: str = "py3-none-any") -> None:
        make_wheel(self.folder, name, version, needs, tag)
        with self.constraints.open("a") as file:
            file.write(f"{name}=={version}\n")

    def complete(self, *needs: str, python: str = "cp311") -> list[str]:
        """Return the names of the wheels that a release of ours with these needs consists of."""
        ours = make_wheel(self.house, "tranquility", "0.1.0", needs)
        platform = Platform(python)
        pip = Pip(platform, NO_INDEX)
        return [wheel.name for wheel in wheelhouse(ours, read_pins(self.constraints), platform, pip)]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    index = Index(tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index.folder))
    return index


def test_a_wheelhouse_has_what_ours_needs_directly_or_not_for_the_vms_and_pip_itself(index: Index) -> None:
    index.add("torch", "2.0", "typing; python_version < '3.12'", "deep[fast]", tag=LINUX_311)
    index.add("typing", "1.0")
    index.add("deep", "3.0", "quick; extra == 'fast'", "slow; extra == 'other'", "win; sys_platform == 'win32'")
    index.add("quick", "1.1", "deep")
    found = index.complete("torch; extra == 'worker'", "pytest; extra == 'dev'")
    assert found == [
        "deep-3.0-py3-none-any.whl",
        "pip-26.0-py3-none-any.whl",
        "quick-1.1-py3-none-any.whl",
        f"torch-2.0-{LINUX_311}.whl",
        "tranquility-0.1.0-py3-none-any.whl",
        "typing-1.0-py3-none-any.whl",
    ]


def test_what_is_needed_is_decided_for_the_vms_python_and_not_for_this_one(index: Index) -> None:
    index.add("old", "1.0")
    assert "old-1.0-py3-none-any.whl" in index.complete("old; python_version < '3.12'", python="cp311")
    assert "old-1.0-py3-none-any.whl" not in Index(_sub(index)).complete("old; python_version < '3.12'", python="cp313")


def _sub(index: Index) -> Path:
    folder = index.folder.parent / "again"
    folder.mkdir()
    return folder


def test_torch_with_cuda_is_refused_before_it_is_downloaded(index: Index) -> None:
    index.add("torch", "2.0", "nvidia-cublas-cu12; platform_system == 'Linux'")
    with pytest.raises(WheelsMissing, match=r"This torch needs nvidia-cublas-cu12: it is the CUDA.*--torch-index"):
        index.complete("torch")
    assert [wheel.name for wheel in index.house.iterdir()] == ["tranquility-0.1.0-py3-none-any.whl"]


def test_a_package_that_the_lock_file_lacks_is_refused(index: Index) -> None:
    with pytest.raises(WheelsMissing, match=r"constraints\.txt does not pin requests"):
        index.complete("requests")


def test_a_wheel_for_another_python_is_not_taken(index: Index) -> None:
    index.add("torch", "2.0", tag=LINUX_311)
    with pytest.raises(WheelsMissing, match=r"For cp312 on Linux x86-64, pip install said:.*torch==2\.0"):
        index.complete("torch", python="cp312")


@pytest.mark.parametrize(
    "name",
    [
        "torch-2.0-cp310-cp310-manylinux_2_28_x86_64.whl",
        "torch-2.0-cp311-cp311-macosx_14_0_arm64.whl",
        "torch-2.0-cp311-cp311-manylinux_2_28_aarch64.whl",
        "torch-2.0-cp311-cp311-manylinux_2_40_x86_64.whl",
        "torch-2.0-cp311-cp311-win_amd64.whl",
    ],
)
def test_a_wheel_that_the_vms_cannot_install_is_refused(name: str) -> None:
    with pytest.raises(WheelsMissing, match="does not fit cp311 on Linux x86-64"):
        Platform("cp311").check(Path(name))


def test_a_wheel_of_cuda_is_refused() -> None:
    with pytest.raises(WheelsMissing, match="belongs to CUDA"):
        Platform("cp311").check(Path("nvidia_cublas_cu12-12.0-py3-none-manylinux2014_x86_64.whl"))


@pytest.mark.parametrize("python", ["cp310", "cp314", "py3", "312"])
def test_another_interpreter_is_refused(python: str) -> None:
    with pytest.raises(InputError, match="one of cp311, cp312, cp313"):
        Platform(python)
