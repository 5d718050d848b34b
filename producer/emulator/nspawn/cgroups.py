"""A control group for each machine: systemd-nspawn names what is in it `payload`, and two must never share that.

Where systemd runs on this machine, it gives each a scope of its own, and nothing here is needed.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

PREFIX = "tranquility-machine-"
GONE_WITHIN_S = 15.0
MOUNTS = {"name=systemd": ("systemd",), "": ("unified", "")}
"""Hierarchies that systemd needs, as /proc/self/cgroup calls them, and where below /sys/fs/cgroup they may be."""


def managed_here() -> bool:
    """Whether systemd runs on this machine: sd_booted(3)."""
    return Path("/run/systemd/system").is_dir()


@contextlib.contextmanager
def own_cgroup(hierarchies: Path = Path("/sys/fs/cgroup")) -> Iterator[None]:
    """Be, with all that is started meanwhile, in a new control group; afterwards back, and the group is gone.

    What a killed supervisor left goes first, with the machine in it.
    """
    homes = {} if managed_here() else _homes(hierarchies)
    _remove_left([group for home in homes.values() for group in home.glob(f"{PREFIX}*")])
    groups = [home / f"{PREFIX}{os.getpid()}" for home in homes.values()]
    try:
        for group in groups:
            group.mkdir()
            _enter(group)
        yield
    finally:
        for home, group in zip(homes.values(), groups, strict=True):
            _enter(home)
            _remove(group)


def _homes(hierarchies: Path) -> dict[str, Path]:
    """The group that this process is in, by hierarchy."""
    homes: dict[str, Path] = {}
    for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
        _, name, path = line.split(":", 2)
        for mount in MOUNTS.get(name, ()):
            home = hierarchies / mount / path.lstrip("/")
            if (home / "cgroup.procs").exists():
                homes[name] = home
                break
    return homes


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def _remove_left(groups: list[Path]) -> None:
    """Kill what is in groups whose supervisor is gone, and remove them."""
    left = [group for group in groups if not _is_supervisor(int(group.name.removeprefix(PREFIX)))]
    killed: list[psutil.Process] = []
    for processes in (file for group in left for file in group.rglob("cgroup.procs")):
        with contextlib.suppress(OSError, psutil.NoSuchProcess):  # it went by itself
            for pid in processes.read_text(encoding="ascii").split():
                killed.append(psutil.Process(int(pid)))
                killed[-1].kill()
    psutil.wait_procs(killed, timeout=GONE_WITHIN_S)
    for group in left:
        _remove(group)


def _is_supervisor(pid: int) -> bool:
    """Whether this process lives and is a supervisor; a number that was free may be another program's by now."""
    try:
        return "producer.emulator.nspawn.supervisor" in psutil.Process(pid).cmdline()
    except psutil.Error:  # gone, or a zombie
        return False


def _remove(group: Path) -> None:
    """Remove a group and those below it, as far as no process is in them."""
    for folder in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):
            folder.rmdir()
    with contextlib.suppress(OSError):
        group.rmdir()
