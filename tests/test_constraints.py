"""The lock file pins everything that an installation brings."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def normal(name: str) -> str:
    """Return a name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    """Return the version of each constraint, by name."""
    lines = (line.strip() for line in (ROOT / "constraints.txt").read_text().splitlines())
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {normal(name): version for name, version in pairs}


def brought() -> dict[str, set[str]]:
    """Return every package that ours and the extras bring to this machine, with who asks for it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lists = (project["dependencies"], *project["optional-dependencies"].values())
    wanted = [(Requirement(text), "tranquility") for text in chain.from_iterable(lists)]
    found: dict[str, set[str]] = {}
    while wanted:
        requirement, by = wanted.pop()
        name = normal(requirement.name)
        known = name in found
        found.setdefault(name, set()).add(by)
        if known and not requirement.extras:
            continue
        try:
            needs = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of an extra that is not installed here
        for text in needs:
            need = Requirement(text)
            if any(
                need.marker is None or need.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras}
            ):
                wanted.append((need, name))
    return found


def test_every_package_that_an_installation_brings_is_pinned() -> None:
    pins = pinned()
    assert {name: by for name, by in brought().items() if name not in pins} == {}
