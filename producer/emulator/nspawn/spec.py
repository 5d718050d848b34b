"""What a machine consists of: this machine's own disk, seen through an overlay, and what is different on it."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

PROGRAMS = ("ip", "systemd-nspawn", "mount", "nsenter", "umount", "unshare")


@dataclass(frozen=True)
class NspawnSpec:
    """A machine that systemd-nspawn boots. Paths are absolute; those of the machine begin at its own root.

    Nothing that is enabled here is enabled there: the units of `files` are the only ones beside systemd's own.
    """

    hostname: str
    files: Mapping[str, str]
    """What is written, over whatever is there."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Symbolic links and where they point to."""
    removed: tuple[str, ...] = ()
    """Patterns (of `glob`) of what this machine has and that one has not."""
    binds: Mapping[str, str] = field(default_factory=dict)
    """Folders of that machine, and the folder of this one that each of them is, read-only."""
    leads: Mapping[str, str] = field(default_factory=dict)
    """Its network's ADDRESS:PORT, and the HOST:PORT of this machine that each leads to. Without any, it shares the
    network of this machine, loopback included."""

    @property
    def supervisor(self) -> tuple[str, ...]:
        """The program that is its power switch. Its mounts are in a namespace of its own, and go with it."""
        return ("unshare", "--mount", sys.executable, "-P", "-m", "producer.emulator.nspawn.supervisor")

    def to_json(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(**{**document, "removed": tuple(document["removed"])})


def why_not_here() -> str:
    """Why machines cannot be booted here, and what would mend it; empty where they can."""
    if sys.platform != "linux":
        return "machines need Linux"
    if os.geteuid() != 0:
        return "machines need root: systemd-nspawn mounts and makes namespaces"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(missing)} missing: apt-get install systemd-container dbus iproute2" if missing else ""
