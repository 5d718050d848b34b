"""The figures that rows of proof reached, as JSON beside the page that is made of them."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from tests.proof.row import Figure, Found, Row, added
from worker.contract.base import Frozen, sha256_hex

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reliability"
TREES = ("worker", "producer", "tests", "bicep", "systemd")
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# What is proven, and how far

Made by `make prove` from the JSON files in `reliability/`; do not edit it. Each line is a promise, how often it was put
to the test on one machine, and what that came to. `make prove ROW=3` repeats a row and `make prove ROW=3-kills` a part
of one; `make test` runs the same code with small counts. `python -m tests.proof.prove 3-kills --minutes 10` runs a
slice: slices of most rows add up, as long as nothing in the code, or in what proves it, has changed. A row holds for
the commit that the last table names."""
UNPROVEN = """
What one machine cannot show: when Azure evicts and what it then does, who is refused by which role, how storage
throttles, and bit-exactness between processors.

What rows do less of than their names may say: in row 9 no VM is unable to work for ever, for which
`tests/producer/fleet/test_schedules.py` stands; row 7-cuts saves and restores in new processes by a store of its own,
and real kills of LunarLander jobs are in `tests/system/test_kills.py`; in row 11 no claim was lost: nothing resumed.
"""


class Record(Frozen):
    """One run of a row."""

    row: str
    trials: int
    figures: Mapping[str, Figure]
    failures: tuple[str, ...]
    interrupted: bool
    commit: str
    code: str = ""
    """Of the trees that are under proof; empty where something in them was not committed."""
    slices: int = 1
    """In so many runs."""
    date: str
    machine: str
    seconds: float

    @classmethod
    def of(cls, row: Row, found: Found, *, commit: str, code: str, interrupted: bool, seconds: float) -> Self:
        """Return the record of a run that has just ended; `commit` and `code` are those of its start."""
        return cls(
            row=row.key,
            trials=found.trials,
            figures=found.figures,
            failures=tuple(found.failures),
            interrupted=interrupted,
            commit=commit,
            code=code,
            date=datetime.now(UTC).date().isoformat(),
            machine=_machine(),
            seconds=round(seconds, 1),
        )

    def after(self, before: Self, row: Row) -> Self:
        """Return this and an earlier slice of the same code as one record."""
        found = added(
            Found(before.trials, before.figures, before.failures), Found(self.trials, self.figures, self.failures)
        )
        return self.model_copy(
            update={
                "trials": found.trials,
                "figures": found.figures,
                "failures": tuple(found.failures),
                "interrupted": self.interrupted and found.trials < row.wanted,
                "slices": before.slices + 1,
                "seconds": round(before.seconds + self.seconds, 1),
            }
        )

    def write(self, folder: Path = FOLDER) -> None:
        """Write it where the page looks for it."""
        folder.mkdir(parents=True, exist_ok=True)
        text = self.model_dump_json(indent=2)
        (folder / f"row-{self.row}.json").write_text(text + "\n")

    def verdict(self, row: Row) -> Literal["held", "fell short", "broken"]:
        """Say what the run makes of the promise."""
        if self.failures:
            return "broken"
        return "held" if self.trials >= row.wanted and not self.interrupted else "fell short"


def read_records(folder: Path = FOLDER) -> dict[str, Record]:
    """Return row key → its record, for the rows that were ever run."""
    found = (Record.model_validate_json(path.read_text()) for path in sorted(folder.glob("row-*.json")))
    return {record.row: record for record in found}


def page(rows: Sequence[Row], records: Mapping[str, Record]) -> str:
    """Return the page: a table of the promises, then what broke, then the machines."""
    table = ["", "| row | promise | trials | figure reached |", "|---|---|--:|---|"]
    table += [_line(row, records.get(row.key)) for row in rows]
    ran = [(row, records[row.key]) for row in rows if row.key in records]
    broken = [f"- row {row.key}: {failure}" for row, record in ran for failure in record.failures]
    runs = ["", "| row | replay | date | commit | took | machine |", "|---|---|---|---|--:|---|"]
    runs += [
        f"| {row.key} | `make prove ROW={row.key}` | {record.date} | {record.commit} | {_took(record.seconds)} "
        f"| {record.machine} |"
        for row, record in ran
    ]
    parts = [HEAD, *table, UNPROVEN]
    if broken:
        parts += ["## What broke", "", *broken, ""]
    return "\n".join([*parts, "## Runs", *runs, ""])


def _line(row: Row, record: Record | None) -> str:
    wanted = f"{row.wanted:,}"
    if record is None:
        return f"| {row.key} | {row.promise} | 0 of {wanted} | **never run** |"
    figures = " · ".join(f"{name} {_shown(figure)}" for name, figure in record.figures.items())
    verdict = record.verdict(row)
    trials = f"{record.trials:,}" if verdict == "held" else f"{record.trials:,} of {wanted}"
    figure = figures if verdict == "held" else f"**{verdict}** · {figures}"
    return f"| {row.key} | {row.promise} | {trials} | {figure} |"


def _shown(figure: Figure) -> str:
    return f"{figure:,}" if isinstance(figure, int | float) else figure


def _took(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def this_commit() -> str:
    """Return the commit of this tree, and whether something is changed in it but for what is made of the records."""
    try:
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ":!docs/reliability*", ":!README.md")
        return _git("rev-parse", "--short=10", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def this_code() -> str:
    """Return what names the trees that are under proof, and prove; empty where something in them is not committed."""
    try:
        if _git("status", "--porcelain", "--", *TREES):
            return ""
        trees = _git("rev-parse", *(f"HEAD:{tree}" for tree in TREES))
        return sha256_hex(trees.encode())[:10]
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _machine() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.processor() or platform.machine()}, {os.cpu_count()} cores"
