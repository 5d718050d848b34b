"""Figures of benchmarks: how they are summarised, where they are kept, and on which machine they were taken."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "benchmarks"
VERSIONS = ("torch", "numpy", "stable_baselines3", "gymnasium")


@dataclass(frozen=True)
class Spread:
    """A figure taken several times."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Summarise; at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def __format__(self, spec: str) -> str:
        return f"{self.median:{spec}} ({self.low:{spec}}–{self.high:{spec}})"


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return ours ÷ theirs, round by round: both were taken seconds apart, so that the machine's drift cancels."""
    return Spread.of([one / other for one, other in zip(ours, theirs, strict=True)])


def keep(name: str, figures: Mapping[str, Any]) -> None:
    """Write the figures of one benchmark, with the commit and the machine that they are of."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    document = {"commit": _commit(), "date": datetime.now(UTC).strftime("%Y-%m-%d"), "machine": _machine(), **figures}
    text = json.dumps(document, indent=2, default=asdict)
    (FOLDER / f"{name}.json").write_text(text + "\n")


def kept(name: str) -> dict[str, Any] | None:
    """Return the figures of a benchmark, spreads as Spread; None where it was never run."""
    file = FOLDER / f"{name}.json"
    return json.loads(file.read_text(), object_hook=_revived) if file.exists() else None


def _revived(found: dict[str, Any]) -> Any:
    return Spread(**found) if found.keys() == {"median", "low", "high", "count"} else found


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"


def _machine() -> dict[str, Any]:
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: version(name) for name in VERSIONS},
    }


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []
