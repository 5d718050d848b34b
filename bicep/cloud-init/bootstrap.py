#!/usr/bin/env python3
"""Make this VM run the published release: fetch, verify, install, start its units.

Owns the first pulse and the way from the pointer `releases/current.json` to running units. docs/azure.md describes the
format of a release. Every byte is checked against a hash that the pointer leads to; a VM can read the container of the
releases and not write it. Every step may be repeated: what a failed attempt left is used only if its hash fits.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from azure_rest import (
    STORAGE_AUDIENCE,
    TARGET_FILE,
    AzureError,
    Target,
    get_blob,
    log,
    put_blob,
    token,
    vm_name,
    write_atomically,
)

SCHEMA = 1
HASH = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+@-]*")
UNIT = re.compile(r"[A-Za-z0-9._@-]+\.(service|timer|target|path|socket)")
Run = Callable[[Sequence[str]], None]


class ReleaseError(Exception):
    """The published release cannot be run on this VM. The message says why and what to publish instead."""


@dataclass(frozen=True)
class Paths:
    """Where things go on a VM. Units live under /run: a VM that boots again passes here again."""

    target: Path = TARGET_FILE
    releases: Path = Path("/var/lib/tranquility/releases")
    current: Path = Path("/opt/tranquility")
    units: Path = Path("/run/systemd/system")
    first_pulse: Path = Path("/run/tranquility-boot/first-pulse")
    topology: Path = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class File:
    """One file of a release."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Release:
    """`release.json`, whose own SHA-256 is the id of the release."""

    id: str
    version: str
    pip: str
    requirements: str
    files: tuple[File, ...]
    units: tuple[str, ...]
    start: tuple[str, ...]


def parse_pointer(content: bytes) -> str:
    """The id of the release to run, from `releases/current.json`."""
    try:
        release = json.loads(content)["release"]
    except (ValueError, KeyError, TypeError) as error:
        raise ReleaseError("releases/current.json is not a pointer: run `tranquility release publish`") from error
    if not isinstance(release, str) or not HASH.fullmatch(release):
        raise ReleaseError(f"releases/current.json points to {release!r}, which is no SHA-256: publish again")
    return release


def parse_release(release_id: str, content: bytes, python: str) -> Release:
    """Check `release.json` against its id and this interpreter's tag (`cp312`), and read it.

    Raises:
        ReleaseError: another content, schema or interpreter, a name that leaves the folder, or a missing field.
    """
    if hashlib.sha256(content).hexdigest() != release_id:
        raise ReleaseError(f"release.json of {release_id} has another hash: it was changed after it was published")
    data: dict[str, Any] = json.loads(content)
    if data.get("schema") != SCHEMA:
        raise ReleaseError(f"release schema {data.get('schema')!r} is not {SCHEMA}: deploy again, then publish")
    if data.get("python") != python:
        raise ReleaseError(f"the release is for {data.get('python')!r}, this VM has {python}: publish for {python}")
    try:
        release = Release(
            id=release_id,
            version=str(data["version"]),
            pip=str(data["pip"]),
            requirements=str(data["requirements"]),
            files=tuple(File(str(f["name"]), int(f["size"]), str(f["sha256"])) for f in data["files"]),
            units=tuple(str(name) for name in data["units"]),
            start=tuple(str(name) for name in data["start"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ReleaseError(f"release.json of {release_id} is not complete ({error!r}): publish again") from error
    check_names(release)
    return release


def check_names(release: Release) -> None:
    """Refuse a release whose names could reach outside its folder, or that names files it does not have."""
    for file in release.files:
        if not all(NAME.fullmatch(part) for part in file.name.split("/")):
            raise ReleaseError(f"the release names a file {file.name!r}: letters, digits and ._+@- only")
        if not HASH.fullmatch(file.sha256):
            raise ReleaseError(f"the release gives {file.name} no SHA-256")
    missing = {release.pip, release.requirements, *release.units} - {file.name for file in release.files}
    if missing:
        raise ReleaseError(f"the release names {', '.join(sorted(missing))} and does not hold it")
    for unit in release.start:
        if not UNIT.fullmatch(unit.replace("{core}", "0")):
            raise ReleaseError(f"the release starts {unit!r}, which is no unit name")


def is_intact(path: Path, file: File) -> bool:
    """Does `path` hold exactly this file?"""
    return (
        path.is_file()
        and path.stat().st_size == file.size
        and hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    )


def fetch(release: Release, folder: Path, download: Callable[[str], bytes]) -> None:
    """Bring every file of the release into `folder`; one that is there and intact is not fetched again."""
    for file in release.files:
        path = folder / file.name
        if is_intact(path, file):
            continue
        content = download(f"releases/{release.id}/{file.name}")
        if len(content) != file.size or hashlib.sha256(content).hexdigest() != file.sha256:
            raise ReleaseError(f"{file.name} of release {release.id} is not what was published: publish again")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)


def install(release: Release, folder: Path, run: Run) -> Path:
    """Make the virtual environment of the release from its own wheels, and return its folder.

    Ubuntu has no ensurepip, so the wheel of pip installs the others. Nothing without a hash is installed.
    """
    environment = folder / "venv"
    done = folder / "installed"
    if done.exists():
        return environment
    shutil.rmtree(environment, ignore_errors=True)
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)])
    pip = [str(environment / "bin" / "python"), str(folder / release.pip / "pip"), "install"]
    offline = ["--no-index", "--require-hashes", "--only-binary=:all:", "--no-cache-dir", "--disable-pip-version-check"]
    wheels = ["--find-links", str((folder / release.pip).parent), "--requirement", str(folder / release.requirements)]
    run([*pip, "--no-compile", *offline, *wheels])
    byte_compile(environment, run)
    done.touch()
    return environment


def byte_compile(environment: Path, run: Run) -> None:
    """Compile what was installed, on all cores: pip does it on one, and a worker may write nothing beside its code.

    Wheels also hold files that no Python takes, such as templates: pip passes them over, too.
    """
    try:
        run([str(environment / "bin" / "python"), "-m", "compileall", "-q", "-j", "0", str(environment / "lib")])
    except subprocess.CalledProcessError as error:
        log(f"some of it is not compiled: {error}")


def physical_cores(topology: Path) -> tuple[int, ...]:
    """One logical CPU of each physical core, ascending: the slots of this VM."""
    siblings = (path.read_text().strip() for path in topology.glob("cpu[0-9]*/topology/thread_siblings_list"))
    cores = sorted({int(re.split("[-,]", text)[0]) for text in siblings})
    if not cores:
        raise ReleaseError(f"{topology} names no CPU core: this is not a Linux VM as Azure makes them")
    return tuple(cores)


def start_units(release: Release, folder: Path, cores: Sequence[int], paths: Paths, run: Run) -> None:
    """Install the units of the release for this boot and start them; `{core}` stands for one unit per core."""
    paths.units.mkdir(parents=True, exist_ok=True)
    for name in release.units:
        write_atomically(paths.units / PurePosixPath(name).name, (folder / name).read_bytes())
    names = [unit.replace("{core}", str(core)) for unit in release.start for core in cores]
    run(["systemctl", "daemon-reload"])
    run(["systemctl", "start", "--no-block", *dict.fromkeys(names)])


def point_to(release: Release, environment: Path, folder: Path, paths: Paths) -> None:
    """Let venv, release and target.json under /opt/tranquility be those of this release."""
    paths.current.mkdir(parents=True, exist_ok=True)
    target = {**json.loads(paths.target.read_bytes()), "release": release.id}
    write_atomically(paths.current / "target.json", json.dumps(target, indent=1).encode())
    for name, to in (("venv", environment), ("release", folder)):
        new = paths.current / f".{name}.new"
        new.unlink(missing_ok=True)
        new.symlink_to(to)
        new.replace(paths.current / name)


def pulse_once(target: Target, paths: Paths, bearer: str, boottime: Callable[[], float]) -> None:
    """Write the pulse at the first attempt of this boot, and note when: CLOCK_BOOTTIME in seconds.

    The wake clears only what has been silent for half an hour, so a boot says that it is there. It says so once: an
    installation that never ends must fall silent. A worker's first receive comes at least 60 s after the time noted.
    """
    if paths.first_pulse.exists():
        return
    body = json.dumps({"by": "boot", "vm": vm_name(target)}).encode()
    put_blob(target, "control/pulse", body, "application/json", bearer)
    paths.first_pulse.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(paths.first_pulse, f"{boottime():.3f}\n".encode())


def bootstrap(paths: Paths, run: Run, boottime: Callable[[], float]) -> Release:
    """Do everything once. Raises AzureError, ReleaseError, OSError or CalledProcessError; then call it again."""
    target = Target.read(paths.target)
    bearer = token(target, STORAGE_AUDIENCE)
    pulse_once(target, paths, bearer, boottime)
    release_id = parse_pointer(get_blob(target, "releases/current.json", bearer))
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    content = get_blob(target, f"releases/{release_id}/release.json", bearer)
    release = parse_release(release_id, content, python)
    folder = paths.releases / release_id
    folder.mkdir(parents=True, exist_ok=True)
    fetch(release, folder, lambda path: get_blob(target, path, bearer))
    environment = install(release, folder, run)
    point_to(release, environment, folder, paths)
    start_units(release, folder, physical_cores(paths.topology), paths, run)
    return release


def run_command(command: Sequence[str]) -> None:
    """Run a program whose output goes to the journal."""
    subprocess.run(command, check=True, env={**os.environ, "PIP_CONFIG_FILE": os.devnull})


def main() -> int:
    """Run once; 1 lets systemd try again in a moment."""
    try:
        release = bootstrap(Paths(), run_command, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    except (AzureError, ReleaseError, OSError, subprocess.CalledProcessError) as error:
        log(f"bootstrap failed, systemd tries again: {error}")
        return 1
    log(f"release {release.version} ({release.id[:12]}) runs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
