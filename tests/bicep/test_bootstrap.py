"""A bare machine becomes a worker: the bootstrap program against a small Azure, with a real pip."""

import ast
import base64
import csv
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.needs import missing

PROGRAMS = Path(__file__).parents[2] / "bicep" / "cloud-init"
PYTHON = f"cp{sys.version_info.major}{sys.version_info.minor}"
UNIT = b"[Service]\nExecStart=/opt/tranquility/venv/bin/tiny\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def bundled_pip() -> Path:
    spec = importlib.util.find_spec("ensurepip")
    if spec is None or spec.origin is None:
        missing("this Python has no ensurepip, whose wheel of pip the test installs with: Debian package python3-venv")
    (wheel,) = (Path(spec.origin).parent / "_bundled").glob("pip-*.whl")
    return wheel


def tiny_wheel() -> bytes:
    """A wheel with one module and one command."""
    files = {
        "tiny.py": b"def main():\n    print('tiny runs')\n",
        "tiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n",
        "tiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "tiny-1.0.dist-info/entry_points.txt": b"[console_scripts]\ntiny = tiny:main\n",
    }
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.writerow([name, f"sha256={digest}", len(content)])
    rows.writerow(["tiny-1.0.dist-info/RECORD", "", ""])
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in {**files, "tiny-1.0.dist-info/RECORD": record.getvalue().encode()}.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return wheel.getvalue()


class Publisher:
    """Puts a release into the small Azure, as `release publish` does; what to change is given by name."""

    def __init__(self, azure: Any) -> None:
        self.azure = azure
        tiny = tiny_wheel()
        pip = bundled_pip()
        self.files = {
            f"wheels/{pip.name}": pip.read_bytes(),
            "wheels/tiny-1.0-py3-none-any.whl": tiny,
            "requirements.txt": f"tiny==1.0 --hash=sha256:{sha256(tiny)}\n".encode(),
            "units/sweep-worker@.service": UNIT,
            "units/sweep-events.service": UNIT,
        }
        self.pip = f"wheels/{pip.name}"

    def publish(self, **changes: Any) -> str:
        release = {
            "schema": 1,
            "version": "0.1.0",
            "python": PYTHON,
            "pip": self.pip,
            "requirements": "requirements.txt",
            "files": [
                {"name": name, "size": len(content), "sha256": sha256(content)} for name, content in self.files.items()
            ],
            "units": ["units/sweep-worker@.service", "units/sweep-events.service"],
            "start": ["sweep-worker@{core}.service", "sweep-events.service"],
        } | changes
        content = json.dumps(release).encode()
        release_id = sha256(content)
        self.azure.blobs["releases/current.json"] = json.dumps({"release": release_id}).encode()
        self.azure.blobs[f"releases/{release_id}/release.json"] = content
        for name, body in self.files.items():
            self.azure.blobs[f"releases/{release_id}/{name}"] = body
        return release_id


@pytest.fixture
def publisher(azure: Any) -> Publisher:
    """Whoever publishes."""
    return Publisher(azure)


class Machine:
    """One VM: its folders, and what was run on it. Python and pip really run where `installs` is set, which is slow."""

    def __init__(self, bootstrap: Any, target_file: Path, root: Path, siblings: Sequence[str] = ("0", "1")) -> None:
        self.bootstrap = bootstrap
        self.installs = False
        self.systemctl: list[list[str]] = []
        self.ran: list[str] = []
        self.paths = bootstrap.Paths(
            target=target_file,
            releases=root / "releases",
            current=root / "opt",
            units=root / "units",
            first_pulse=root / "run" / "first-pulse",
            topology=root / "cpu",
        )
        for number, text in enumerate(siblings):
            folder = root / "cpu" / f"cpu{number}" / "topology"
            folder.mkdir(parents=True)
            (folder / "thread_siblings_list").write_text(f"{text}\n")

    def run(self, command: Sequence[str]) -> None:
        if command[0] == "systemctl":
            self.systemctl.append(list(command))
            return
        self.ran.append(" ".join(command))
        if not self.installs:
            return
        environment = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}
        subprocess.run(command, check=True, env=environment, capture_output=True)

    def boot(self) -> Any:
        return self.bootstrap.bootstrap(self.paths, self.run, lambda: 42.5)


@pytest.fixture
def machine(load: Callable[[str], Any], target_file: Path, tmp_path: Path) -> Machine:
    """A VM with two cores."""
    return Machine(load("bootstrap"), target_file, tmp_path / "vm")


def test_a_bare_machine_runs_the_published_release(machine: Machine, publisher: Publisher, azure: Any) -> None:
    release_id = publisher.publish()
    machine.installs = True
    release = machine.boot()
    assert release.id == release_id
    tiny = machine.paths.current / "venv" / "bin" / "tiny"
    assert subprocess.run([tiny], capture_output=True, text=True, check=True).stdout == "tiny runs\n"
    assert not (machine.paths.current / "venv" / "bin" / "pip").exists()
    assert (machine.paths.units / "sweep-worker@.service").read_bytes() == UNIT
    assert machine.systemctl == [
        ["systemctl", "daemon-reload"],
        [
            *("systemctl", "start", "--no-block"),
            *("sweep-worker@0.service", "sweep-worker@1.service", "sweep-events.service"),
        ],
    ]
    target = json.loads((machine.paths.current / "target.json").read_text())
    assert target == {**azure.target(), "release": release_id}


def test_all_that_was_installed_is_compiled_but_what_no_python_takes(machine: Machine, publisher: Publisher) -> None:
    """A worker may write nothing beside its code: what is not compiled by then is compiled at every start."""
    publisher.publish()
    machine.installs = True
    machine.boot()
    (tiny,) = machine.paths.current.glob("venv/lib/python*/site-packages/tiny.py")
    (compiled,) = tiny.parent.glob("__pycache__/tiny.*.pyc")
    compiled.unlink()
    tiny.with_name("template.py").write_text("{{ no Python }}")
    environment = machine.paths.current / "venv"
    with pytest.raises(subprocess.CalledProcessError):
        machine.run([str(environment / "bin" / "python"), "-m", "compileall", "-q", str(tiny.with_name("template.py"))])
    machine.bootstrap.byte_compile(environment, machine.run)
    assert compiled.exists()


def test_the_first_thing_is_a_pulse_and_there_is_one_a_boot(machine: Machine, publisher: Publisher, azure: Any) -> None:
    with pytest.raises(machine.bootstrap.AzureError, match=r"releases/current\.json: HTTP 404"):
        machine.boot()
    assert json.loads(azure.blobs["control/pulse"]) == {"by": "boot", "vm": "tranq-set_1a2b3c4d"}
    assert machine.paths.first_pulse.read_text() == "42.500\n"
    publisher.publish()
    machine.boot()
    assert azure.requests.count("PUT /blob/control/pulse") == 1


def test_without_a_pulse_nothing_is_installed(machine: Machine, publisher: Publisher, azure: Any) -> None:
    publisher.publish()
    azure.refusals["PUT /blob/control/pulse"] = 403
    with pytest.raises(machine.bootstrap.AzureError, match=r"PUT .*control/pulse: HTTP 403"):
        machine.boot()
    assert machine.ran == []
    assert not machine.paths.first_pulse.exists()
    azure.refusals.clear()
    machine.boot()
    assert machine.paths.first_pulse.exists()


def test_a_second_attempt_fetches_and_installs_nothing_twice(
    machine: Machine, publisher: Publisher, azure: Any
) -> None:
    publisher.publish()
    machine.boot()
    fetched, ran = len(azure.requests), len(machine.ran)
    machine.boot()
    assert [request for request in azure.requests[fetched:] if "/wheels/" in request] == []
    assert len(machine.ran) == ran
    assert len(machine.systemctl) == 4


def test_half_a_download_is_not_taken_for_a_whole_one(machine: Machine, publisher: Publisher) -> None:
    release_id = publisher.publish()
    for content in (b"", b"x" * len(tiny_wheel())):
        path = machine.paths.releases / release_id / "wheels" / "tiny-1.0-py3-none-any.whl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        machine.boot()
        assert path.read_bytes() == tiny_wheel()


def test_an_installation_that_broke_off_begins_again(machine: Machine, publisher: Publisher) -> None:
    release_id = publisher.publish()
    environment = machine.paths.releases / release_id / "venv"
    environment.mkdir(parents=True)
    (environment / "leftover").touch()
    machine.boot()
    assert not (environment / "leftover").exists()
    assert ["-m venv" in command for command in machine.ran] == [True, False, False]


def test_the_next_release_takes_the_place_of_the_last(machine: Machine, publisher: Publisher) -> None:
    first = publisher.publish()
    machine.boot()
    second = publisher.publish(version="0.2.0")
    machine.boot()
    assert first != second
    assert (machine.paths.current / "release").resolve().name == second
    assert json.loads((machine.paths.current / "target.json").read_text())["release"] == second


@pytest.mark.parametrize("name", ["wheels/tiny-1.0-py3-none-any.whl", "requirements.txt", "units/sweep-events.service"])
def test_a_file_that_was_changed_after_publishing_is_not_installed(
    machine: Machine, publisher: Publisher, azure: Any, name: str
) -> None:
    release_id = publisher.publish()
    azure.blobs[f"releases/{release_id}/{name}"] += b"\n# more"
    with pytest.raises(machine.bootstrap.ReleaseError, match="is not what was published"):
        machine.boot()
    assert (machine.ran, machine.systemctl) == ([], [])


def test_a_changed_list_of_files_is_not_believed(machine: Machine, publisher: Publisher, azure: Any) -> None:
    release_id = publisher.publish()
    azure.blobs[f"releases/{release_id}/release.json"] += b" "
    with pytest.raises(machine.bootstrap.ReleaseError, match="changed after it was published"):
        machine.boot()


@pytest.mark.parametrize(
    "pointer", [b"", b"[]", b"{}", b'{"release": 7}', b'{"release": "../etc"}', b'{"release": "ABCDEF"}', b"\xff"]
)
def test_a_pointer_to_nowhere_is_said_to_be_one(
    machine: Machine, publisher: Publisher, azure: Any, pointer: bytes
) -> None:
    publisher.publish()
    azure.blobs["releases/current.json"] = pointer
    with pytest.raises(machine.bootstrap.ReleaseError, match="publish"):
        machine.boot()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"schema": 2}, "release schema 2 is not 1"),
        ({"python": "cp399"}, "the release is for 'cp399'"),
        ({"pip": "wheels/pip-0.whl"}, "names wheels/pip-0.whl and does not hold it"),
        ({"requirements": "other.txt"}, "does not hold it"),
        ({"units": ["units/else.service"]}, "does not hold it"),
        ({"files": None}, "is not complete"),
        ({"files": [{"name": "a"}]}, "is not complete"),
        ({"files": [{"name": "a", "size": 1, "sha256": "x"}]}, "gives a no SHA-256"),
        ({"start": ["../../evil.service"]}, "which is no unit name"),
        ({"start": ["--now"]}, "which is no unit name"),
    ],
)
def test_a_release_that_cannot_run_here_says_why(
    machine: Machine, publisher: Publisher, changes: dict[str, Any], complaint: str
) -> None:
    publisher.publish(**changes)
    with pytest.raises(machine.bootstrap.ReleaseError, match=complaint):
        machine.boot()
    assert machine.ran == []


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "", ".hidden", "a b", "a\\b", "-rf"])
def test_no_file_of_a_release_leaves_its_folder(machine: Machine, publisher: Publisher, name: str) -> None:
    publisher.files[name] = b"x"
    publisher.publish()
    with pytest.raises(machine.bootstrap.ReleaseError, match="letters, digits"):
        machine.boot()


def test_pip_installs_nothing_without_a_hash(machine: Machine, publisher: Publisher) -> None:
    publisher.files["requirements.txt"] = b"tiny==1.0\n"
    release_id = publisher.publish()
    machine.installs = True
    with pytest.raises(subprocess.CalledProcessError) as caught:
        machine.boot()
    assert b"Hashes are required" in caught.value.stderr
    assert machine.systemctl == []
    assert not (machine.paths.releases / release_id / "installed").exists()


@pytest.mark.parametrize(
    ("siblings", "cores"),
    [
        (("0", "1", "2", "3"), (0, 1, 2, 3)),  # Falsv6: no SMT
        (("0-1", "0-1", "2-3", "2-3"), (0, 2)),  # Dadsv6: neighbours share a core
        (("0,2", "1,3", "0,2", "1,3"), (0, 1)),
    ],
)
def test_there_is_one_slot_for_each_physical_core(
    load: Callable[[str], Any], target_file: Path, tmp_path: Path, siblings: tuple[str, ...], cores: tuple[int, ...]
) -> None:
    machine = Machine(load("bootstrap"), target_file, tmp_path / "vm", siblings)
    assert machine.bootstrap.physical_cores(machine.paths.topology) == cores


def test_a_machine_without_cores_is_no_machine(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(machine.bootstrap.ReleaseError, match="no CPU core"):
        machine.bootstrap.physical_cores(tmp_path)


@pytest.mark.parametrize("refused", ["GET /metadata/identity/oauth2/token", "GET /blob/releases/current.json"])
def test_a_role_that_is_not_known_yet_fails_the_attempt(
    machine: Machine, publisher: Publisher, azure: Any, refused: str
) -> None:
    publisher.publish()
    azure.refusals[refused] = 403
    with pytest.raises(machine.bootstrap.AzureError, match=r"HTTP 403: .*AuthorizationPermissionMismatch"):
        machine.boot()
    azure.refusals.clear()
    machine.boot()


def test_a_server_that_is_away_is_named(machine: Machine, azure: Any, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.json"
    path.write_text(json.dumps({**azure.target(), "blob_endpoint": "http://127.0.0.1:9/"}))
    machine.paths = replace(machine.paths, target=path)
    with pytest.raises(machine.bootstrap.AzureError, match=r"PUT http://127\.0\.0\.1:9/control/pulse"):
        machine.boot()


def test_the_program_says_what_is_wrong_and_lets_systemd_try_again() -> None:
    done = subprocess.run([sys.executable, PROGRAMS / "bootstrap.py"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "bootstrap failed, systemd tries again" in done.stdout
    assert "/etc/tranquility/target.json" in done.stdout


@pytest.mark.parametrize("path", sorted(PROGRAMS.glob("*.py")), ids=lambda path: path.name)
def test_the_programs_need_nothing_but_python(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 12))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).partition(".")[0])
    assert imported - {"azure_rest"} <= sys.stdlib_module_names
