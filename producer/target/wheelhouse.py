"""The wheels that a VM installs: ours and all that it needs, for the VM's platform, whatever machine this is.

Versions are those of constraints.txt. What a package needs is asked for the VM's platform, not for this machine's: pip
itself would evaluate environment markers here.
"""

import email.parser
import json
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename

from worker.contract.errors import InputError, TranquilityError

TORCH_INDEX: Final = "https://download.pytorch.org/whl/cpu"
"""PyTorch's own CPU builds; PyPI's for Linux are CUDA builds of several GB."""
GLIBC_MINOR: Final = 39
"""Of Ubuntu 24.04, the image of the VMs."""
PYTHONS: Final = ("cp311", "cp312", "cp313")
REACHABLE_WITHIN_S: Final = 5


class WheelsMissing(TranquilityError):
    """The wheels of a release could not be brought together."""


@dataclass(frozen=True)
class Platform:
    """What wheels must be for: one CPython on Linux x86-64."""

    python: str = "cp312"
    """Interpreter tag; cp312 is Ubuntu 24.04's."""

    def __post_init__(self) -> None:
        if self.python not in PYTHONS:
            raise InputError(f"A release is for one of {', '.join(PYTHONS)} on Linux x86-64, not for {self.python!r}.")

    @property
    def version(self) -> tuple[int, int]:
        """Return the interpreter's version."""
        return int(self.python[2]), int(self.python[3:])

    @property
    def names(self) -> tuple[str, ...]:
        """Return the platform tags that the VMs take, the best first."""
        return tuple(f"manylinux_2_{minor}_x86_64" for minor in range(GLIBC_MINOR, 4, -1))

    @cached_property
    def tags(self) -> frozenset[Tag]:
        """Return all tags of wheels that the VMs take."""
        old = ("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64")
        names = [*self.names, *old]
        return frozenset(
            [*cpython_tags(self.version, platforms=names), *compatible_tags(self.version, self.python, names)]
        )

    @property
    def environment(self) -> dict[str, str]:
        """Return what environment markers are evaluated for."""
        version = ".".join(map(str, self.version))
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "os_name": "posix",
            "platform_machine": "x86_64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{version}.0",
            "python_version": version,
            "sys_platform": "linux",
        }

    def needs(self, requirement: Requirement, extras: Sequence[str]) -> bool:
        """Return whether a package with these extras needs this there."""
        marker = requirement.marker
        return marker is None or any(marker.evaluate({**self.environment, "extra": extra}) for extra in ("", *extras))

    def check(self, wheel: Path) -> None:
        """Raise WheelsMissing where the VMs cannot install this wheel."""
        name, _, _, tags = parse_wheel_filename(wheel.name)
        if is_cuda(name):
            raise WheelsMissing(f"{wheel.name} belongs to CUDA, which no worker uses.")
        if not tags & self.tags:
            raise WheelsMissing(f"{wheel.name} does not fit {self.python} on Linux x86-64.")


class Pip:
    """The pip of this environment, asked about another platform."""

    def __init__(self, platform: Platform, torch_index: str) -> None:
        self._torch_index = torch_index
        self._for = f"{platform.python} on Linux x86-64"
        names = [argument for name in platform.names for argument in ("--platform", name)]
        version = "".join(map(str, platform.version))
        self._platform = [*names, "--python-version", version, "--implementation", "cp", "--only-binary=:all:"]

    def look(self, pins: Sequence[str]) -> list[Mapping[str, Any]]:
        """Return the metadata of these packages, without those that they need. Raises WheelsMissing."""
        command = ["install", "--dry-run", "--ignore-installed", "--report", "-", "--target", "/nonexistent"]
        report = self._run(*command, "--no-deps", *self._platform, *self._index, *pins)
        return [package["metadata"] for package in json.loads(report)["install"]]

    def download(self, pins: Sequence[str], folder: Path) -> None:
        """Put their wheels into `folder`. Raises WheelsMissing."""
        self._run("download", "--no-deps", "--dest", str(folder), *self._platform, *self._index, *pins)

    def build(self, sources: Path, folder: Path) -> Path:
        """Build the wheel of `sources`, and return it. Raises WheelsMissing."""
        self._run("wheel", "--no-deps", "--wheel-dir", str(folder), str(sources))
        (wheel,) = folder.glob("tranquility-*.whl")
        return wheel

    @cached_property
    def _index(self) -> list[str]:
        return ["--extra-index-url", self._torch_index] if _reachable(self._torch_index) else []

    @property
    def torch_is_named_cpu(self) -> bool:
        """Return whether torch comes from PyTorch's own index, whose CPU builds have `+cpu` in their version."""
        return bool(self._index)

    def _run(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check", *arguments[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise WheelsMissing(f"For {self._for}, pip {arguments[0]} said: {done.stderr.strip()[-2000:]}")
        return done.stdout


def wheelhouse(ours: Path, pins: Mapping[NormalizedName, str], platform: Platform, pip: Pip) -> list[Path]:
    """Complete the folder of our wheel by what its `worker` extra needs, and pip itself; return all wheels.

    Raises WheelsMissing.
    """
    wanted = [_pin(name, pins, pip) for name in (canonicalize_name("pip"), *_needed(ours, pins, platform, pip))]
    pip.download(wanted, ours.parent)
    wheels = sorted(ours.parent.glob("*.whl"))
    for wheel in wheels:
        platform.check(wheel)
    if len(wheels) != len(wanted) + 1:
        raise WheelsMissing(f"{len(wanted) + 1} wheels are needed, and {len(wheels)} lie in {ours.parent}.")
    return wheels


def read_pins(constraints: Path) -> dict[NormalizedName, str]:
    """Return name → version of a lock file."""
    lines = (line.strip() for line in constraints.read_text().splitlines())
    requirements = (Requirement(line) for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in requirements}


def is_cuda(name: str) -> bool:
    """Return whether a package is part of CUDA."""
    return canonicalize_name(name).startswith(("nvidia-", "cuda-"))


def _needed(ours: Path, pins: Mapping[NormalizedName, str], platform: Platform, pip: Pip) -> list[NormalizedName]:
    """Return the packages that our wheel needs, directly or not: layer by layer, as metadata tells."""
    known: dict[NormalizedName, set[str]] = {}
    layer = dict(_requires(_metadata(ours), ("worker",), platform))
    while layer:
        for name, extras in layer.items():
            known.setdefault(name, set()).update(extras)
        looked = pip.look([_pin(name, pins, pip) for name in layer])
        found: dict[NormalizedName, set[str]] = {}
        for metadata in looked:
            extras = known[canonicalize_name(metadata["name"])]
            for name, more in _requires(metadata, sorted(extras), platform):
                if name not in known or more - known[name]:
                    found.setdefault(name, set()).update(more)
        layer = found
    return sorted(known)


def _requires(
    metadata: Mapping[str, Any], extras: Sequence[str], platform: Platform
) -> Iterator[tuple[NormalizedName, set[str]]]:
    """Yield what a package needs on the platform, with the extras of each. Raises WheelsMissing where that is CUDA."""
    for text in metadata.get("requires_dist") or ():
        requirement = Requirement(text)
        if not platform.needs(requirement, extras):
            continue
        if is_cuda(requirement.name):
            raise WheelsMissing(
                f"This {metadata['name']} needs {requirement.name}: it is the CUDA build, of several GB, which no "
                "worker uses. Name an index with CPU builds that this machine reaches by --torch-index, or a folder "
                "with such a wheel by PIP_FIND_LINKS."
            )
        yield canonicalize_name(requirement.name), set(requirement.extras)


def _metadata(wheel: Path) -> Mapping[str, Any]:
    """Return a wheel's own metadata in the shape of pip's report."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        message = email.parser.BytesParser().parsebytes(archive.read(name))
    return {"name": message["Name"], "requires_dist": message.get_all("Requires-Dist", [])}


def _pin(name: NormalizedName, pins: Mapping[NormalizedName, str], pip: Pip) -> str:
    if name not in pins:
        raise WheelsMissing(f"constraints.txt does not pin {name}: install it, and add its version there.")
    local = "+cpu" if name == "torch" and pip.torch_is_named_cpu else ""
    return f"{name}=={pins[name]}{local}"


def _reachable(index: str) -> bool:
    """Return whether `index` answers within seconds."""
    try:
        with urllib.request.urlopen(f"{index}/torch/", timeout=REACHABLE_WITHIN_S):  # noqa: S310 - named by the person
            return True
    except (urllib.error.URLError, OSError, ValueError):
        return False
