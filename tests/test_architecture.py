"""Imports go one way, and the producer never loads torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "stable_baselines3", "gymnasium")


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def sources(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found
    return found


@pytest.mark.parametrize("path", sources("worker"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_data_plane_never_imports_the_control_plane(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "producer")]


@pytest.mark.parametrize("path", sources("worker/contract"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_contract_imports_nothing_else_of_the_worker(path: Path) -> None:
    ours = [name for name in imports(path) if within(name, "worker") and name != "worker"]
    assert all(within(name, "worker.contract") for name in ours)


@pytest.mark.parametrize("path", sources("producer"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_producer_imports_only_the_contract_of_the_worker(path: Path) -> None:
    # What runs on an emulated VM is named by its exit status, which is a leaf.
    allowed = ("worker.contract", "worker.exit_status")
    ours = [name for name in imports(path) if within(name, "worker") and name != "worker"]
    assert all(within(name, *allowed) for name in ours)


@pytest.mark.parametrize(
    "path",
    [path for path in (*sources("worker"), *sources("producer")) if "training" not in path.parts],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_torch_is_imported_only_where_training_is(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, *HEAVY)]


@pytest.mark.parametrize(
    "path", [*sources("tests/producer"), *sources("tests/fakes")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_tests_of_the_producer_import_nothing_that_trains(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, "worker.training", "worker.sac_trainers", *HEAVY)]


def heavy_after(*modules: str) -> str:
    """Return which of what is heavy a new interpreter has loaded once it has imported all of these."""
    program = f"import sys, {', '.join(modules)}; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    "module", ["producer.program", "worker.loop", "worker.vm.services", "worker.commands", "worker.checkpoint"]
)
def test_importing_what_is_not_training_loads_no_torch(module: str) -> None:
    assert heavy_after(module) == "[]"


def test_importing_the_producers_tests_loads_no_torch() -> None:
    """Not by way of a module that is none of the producer's, either."""
    tests = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources("tests/producer")]
    assert heavy_after(*tests) == "[]"


SLOW = ("numpy", "scipy", "azure.mgmt.compute", "matplotlib", "sklearn", "jinja2", "tensorboard")
"""Libraries that take a good part of a second to import: only the commands that need them do."""


def test_a_look_at_a_sweep_starts_without_the_libraries_that_are_slow_to_import() -> None:
    modules = "producer.program, producer.commands.results"
    program = f"import sys, {modules}; print([name for name in {SLOW!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


EXTRAS = {"imageio_ffmpeg": "worker/training/video.py", "matplotlib": "producer/report", "sklearn": "producer/report"}


@pytest.mark.parametrize(("library", "place"), EXTRAS.items())
def test_what_comes_with_an_extra_is_used_in_one_place(library: str, place: str) -> None:
    """VMs need no video libraries, and no command but `report` needs what draws."""
    users = [path for path in (*sources("worker"), *sources("producer")) if within_any(imports(path), library)]
    assert users
    assert all(path.is_relative_to(ROOT / place) for path in users)
    if library == "imageio_ffmpeg":
        top = ast.parse((ROOT / place).read_text()).body
        assert not [node for node in top if isinstance(node, ast.Import) and node.names[0].name == library]


def within_any(names: Iterator[str], *packages: str) -> bool:
    return any(within(name, *packages) for name in names)
