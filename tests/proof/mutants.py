"""Row 10: kills the mutants of tests/proof/broken_lines.py.

Each is put into a copy of the tree, and the tests named with it are run there: one of them has to fail. The simulator
has mutants of whole functions besides (tests/simulator/mutants.py).
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.proof.broken_lines import MUTANTS, Mutant
from tests.proof.records import ROOT

TIMEOUT_S: Final = 150.0
COPIED: Final = ("worker", "producer", "tests", "pyproject.toml", "bicep", "systemd", "examples")
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Fate:
    """What the tests made of a mutant."""

    mutant: Mutant
    killed_by: str
    """The first test that failed; empty where none did."""


def kill_all(mutants: Sequence[Mutant], tell: Callable[[Fate], None]) -> None:
    """Try every mutant; `tell` is told of each. Raises RuntimeError where a test fails without any mutant."""
    passed: set[str] = set()
    with copied_tree() as copy:
        for mutant in mutants:
            for test in (test for test in mutant.tests if test not in passed):
                failed = first_failure(copy, (test,))
                if failed:
                    raise RuntimeError(f"{failed} fails without a mutant, too.")
                passed.add(test)
            tell(try_to_kill(mutant, copy))


def occurrences(mutant: Mutant, root: Path = ROOT) -> int:
    """Return how often the line is in its file."""
    return (root / mutant.file).read_text().count(mutant.before)


@contextmanager
def copied_tree() -> Iterator[Path]:
    """Make a copy of the tree that may be broken."""
    with tempfile.TemporaryDirectory(prefix="tranquility-mutants-") as name:
        copy = Path(name)
        for part in COPIED:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
            elif source.exists():
                shutil.copy(source, copy / part)
        yield copy


def try_to_kill(mutant: Mutant, copy: Path) -> Fate:
    """Put the mutant into the copy, run its tests there, and take it out again."""
    file = copy / mutant.file
    whole = file.read_text()
    file.write_text(whole.replace(mutant.before, mutant.after))
    try:
        for test in mutant.tests:
            failed = first_failure(copy, (test,))
            if failed:
                return Fate(mutant, failed)
    finally:
        file.write_text(whole)
    return Fate(mutant, "")


def first_failure(copy: Path, tests: Sequence[str]) -> str:
    """Return the first test that fails in the copy; empty where none does."""
    command = [sys.executable, "-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        ran = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return f"{tests[0]}: it never ended"
    if ran.returncode == 0:
        return ""
    found = _FAILED.search(ran.stdout)
    if found is None:
        raise RuntimeError(f"{' '.join(tests)} could not run:\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}")
    return found.group(1)


def main() -> int:
    """Print which test killed which mutant; return 1 where one lives."""
    alive: list[str] = []

    def tell(fate: Fate) -> None:
        print(f"{fate.mutant.name} ({fate.mutant.file}): {fate.killed_by or 'ALIVE'}", flush=True)
        alive.extend([] if fate.killed_by else [fate.mutant.name])

    kill_all(MUTANTS, tell)
    print(f"{len(MUTANTS) - len(alive)} of {len(MUTANTS)} killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
