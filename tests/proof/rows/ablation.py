"""Row 7: every item of the state is left out once, and missed."""

import tempfile
from pathlib import Path

from tests.proof.ablation import INERT
from tests.proof.programs import ablated, run_program
from tests.proof.row import Found, Row, Size, Tell

ITEMS = 35


def ablate(folder: Path) -> Found:
    """Resume with one item missing at a time."""
    report = run_program("tests.proof.ablation", folder, ablated())
    fates: dict[str, str] = report["fates"]
    failures = (
        [] if report["unchanged"] == ["the same outcome"] * 2 else ["resuming with everything changes the outcome"]
    )
    for item, fate in fates.items():
        if (fate == "the same outcome") != (item in INERT):
            failures.append(f"without {item}: {fate}")
    needed = {item for item, fate in fates.items() if fate != "the same outcome"}
    return Found(len(fates), {"items missed": len(needed), "items that change nothing": len(INERT)}, failures)


def run(_size: Size, tell: Tell) -> Found:
    """Do it; there is one size."""
    tell("leaving out each item of the state")
    with tempfile.TemporaryDirectory(prefix="tranquility-proof-") as folder:
        return ablate(Path(folder))


ROW = Row(
    number=7,
    part="ablation",
    promise="Leaving out any item of the state changes the outcome or is refused; those that change nothing are known",
    run=run,
    wanted=ITEMS,
)
