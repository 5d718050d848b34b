"""Make .venv: the CPU build of torch, the locked dependencies, this project, Azurite. Standard library only.

Called by the Makefile; does nothing where what it would do is done.
"""

import argparse
import hashlib
import importlib.util
import json
import platform
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "constraints.txt"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "set-up"
AZURITE = ROOT / "producer" / "emulator" / "azurite"
EXTRAS = "worker,local,report,dev"
REACHABLE_WITHIN_S = 5


def main() -> None:
    """Set up, or say in one message why that is not possible."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch-index", default="", help="index with CPU builds of torch; empty = the default index")
    parser.add_argument("--also", metavar="EXTRA", default="", help="an extra that only some commands need")
    arguments = parser.parse_args()
    wanted = fingerprint()
    if not is_done(STAMP, wanted):
        set_up(arguments.torch_index)
        STAMP.write_text(wanted)
    stamp = VENV / f"set-up-{arguments.also}"
    if arguments.also and not is_done(stamp, wanted):
        say(f"Installing what only {arguments.also} needs (once)")
        pip("-c", str(CONSTRAINTS), "-e", f"{ROOT}[{arguments.also}]")
        refuse_cuda(installed())
        stamp.write_text(wanted)


def is_done(stamp: Path, wanted: str) -> bool:
    """Return whether a stamp says that what is wanted was installed."""
    return stamp.exists() and stamp.read_text() == wanted


def set_up(torch_index: str) -> None:
    """Make .venv anew."""
    check_python()
    say(f"Setting up {VENV} (once; a few minutes and about 2 GB)")
    run(sys.executable, "-m", "venv", "--clear", str(VENV))
    pip("--upgrade", "pip")
    install_torch(torch_index)
    pip("-c", str(CONSTRAINTS), "-e", f"{ROOT}[{EXTRAS}]")
    refuse_cuda(installed())
    run(str(PYTHON), "-m", "producer.emulator.azurite", "install", str(VENV / "azurite"), cwd=ROOT)


def fingerprint() -> str:
    """Return a hash of all that decides what is installed."""
    files = [ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__), *sorted(AZURITE.glob("package*.json"))]
    content = b"".join(file.read_bytes() for file in files) + sys.version.encode() + str(ROOT).encode()
    return hashlib.sha256(content).hexdigest()


def check_python() -> None:
    """Stop where this Python is not one of ours, or cannot make virtual environments."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        stop(f"Python 3.11, 3.12 or 3.13 is needed; this is {platform.python_version()}. Try: make PYTHON=python3.12")
    if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stop(
            f"This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python{version}-venv"
        )


def install_torch(index: str) -> None:
    """Install the CPU build of torch, which on Linux is not what PyPI has."""
    requirement = next(line for line in CONSTRAINTS.read_text().splitlines() if line.startswith("torch=="))
    if platform.system() != "Linux":
        index = ""  # PyPI's wheels for macOS are CPU builds
    if index and reachable(index):
        say(f"torch comes from {index}")
        # Its CPU builds are named +cpu.
        if pip_can("-c", str(CONSTRAINTS), f"{requirement}+cpu", "--extra-index-url", index):
            return
        say(f"{index} did not give {requirement} (pip's reason stands above); looking for torch elsewhere")
    elif index:
        say(f"{index} cannot be reached; looking for torch elsewhere")
    refuse_cuda(would_install(requirement))
    pip("-c", str(CONSTRAINTS), requirement)


def reachable(index: str) -> bool:
    """Return whether `index` answers within seconds."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=REACHABLE_WITHIN_S):  # noqa: S310 - a URL of the Makefile
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False


def would_install(requirement: str) -> list[str]:
    """Return the names of all packages that `requirement` brings; asks for metadata, downloads no CUDA."""
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--dry-run", "--report", "-", requirement]
    report = subprocess.run(command, capture_output=True, text=True, check=False)
    if report.returncode:
        stop(f"torch is not to be had:\n{report.stderr.strip()}")
    return [package["metadata"]["name"] for package in json.loads(report.stdout)["install"]]


def installed() -> list[str]:
    """Return the names of the installed packages."""
    command = [str(PYTHON), "-m", "pip", "list", "--format=json"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True)
    return [package["name"] for package in json.loads(listing.stdout)]


def refuse_cuda(packages: list[str]) -> None:
    """Stop where a CUDA build came, or would come."""
    cuda = sorted(name for name in packages if name.startswith("nvidia-"))
    if cuda:
        stop(
            f"This would be torch with CUDA ({len(cuda)} packages such as {cuda[0]}, several GB), not used "
            "here. Name an index with CPU builds that this machine reaches: make TORCH_INDEX=https://…, or install "
            "a CPU wheel's folder by PIP_FIND_LINKS=FOLDER."
        )


def pip(*arguments: str) -> None:
    """Install into .venv, or stop."""
    if not pip_can(*arguments):
        stop(f"This failed: pip install {' '.join(arguments)}")


def pip_can(*arguments: str) -> bool:
    """Return whether pip installed this into .venv."""
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    return not subprocess.run(command, check=False).returncode


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command that has to succeed."""
    done = subprocess.run(command, check=False, cwd=cwd)
    if done.returncode:
        stop(f"This failed: {' '.join(command)}")


def say(text: str) -> None:
    """Tell the person."""
    sys.stderr.write(f"{text}\n")


def stop(text: str) -> None:
    """Tell the person what to do, and end."""
    say(text)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
