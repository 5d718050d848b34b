"""The checkout that a release is built from."""

import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from worker.contract.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("producer", "worker")
FILES = ("pyproject.toml", "README.md", "LICENSE")


@dataclass(frozen=True)
class Checkout:
    """Sources of this project."""

    root: Path = ROOT

    def __post_init__(self) -> None:
        missing = [
            name for name in (*PACKAGES, *FILES, "constraints.txt", "systemd") if not (self.root / name).exists()
        ]
        if missing:
            raise InputError(
                f"A release is built from a checkout, and {self.root} has no {', '.join(missing)}. Clone the "
                "repository, run make set-up in it, and publish from there."
            )

    @property
    def version(self) -> str:
        """Return the package's version."""
        return str(tomllib.loads((self.root / "pyproject.toml").read_text())["project"]["version"])

    @property
    def constraints(self) -> Path:
        """Return the lock file."""
        return self.root / "constraints.txt"

    @property
    def units(self) -> list[Path]:
        """Return the systemd units of a VM."""
        return sorted(
            path for path in (self.root / "systemd").iterdir() if re.search(r"\.(service|timer|target)$", path.name)
        )

    def copy_to(self, folder: Path) -> Path:
        """Copy what a wheel is built of: a build leaves files beside its sources, which the next one packs."""
        for package in PACKAGES:
            shutil.copytree(self.root / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name in FILES:
            shutil.copy(self.root / name, folder)
        return folder
