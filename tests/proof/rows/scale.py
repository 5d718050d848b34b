"""Row 9: the scale set follows its queue through random schedules."""

import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.proof.row import Figure, Found, Row, Size, Tell
from tests.proof.schedules import WHO, play

SCHEDULES: Final[Mapping[Size, int]] = {"small": 2 * len(WHO), "full": 10_000}


def run(size: Size, tell: Tell) -> Found:
    """Play schedule after schedule: the number of each is its seed."""
    counts: Counter[str] = Counter()
    failures: list[str] = []
    for seed in range(tell.done, SCHEDULES[size]):
        with tempfile.TemporaryDirectory(prefix="tranquility-proof-") as folder:
            played = play(seed, Path(folder))
        counts += played.counts
        if played.wrong:
            replay = f"python -c 'from tests.proof.schedules import *; print(play({seed}, Path(\"/tmp\")))'"
            failures.append(f"{played.wrong}; to replay: {replay}")
        if not seed % 20:
            tell(f"{seed + 1} schedules", _found(seed + 1 - tell.done, counts, failures))
    return _found(SCHEDULES[size] - tell.done, counts, failures)


def _found(trials: int, counts: Counter[str], failures: list[str]) -> Found:
    wrong: Mapping[str, Figure] = {
        "left with work": sum("are left" in failure for failure in failures),
        "working VMs deleted": sum("worked" in failure for failure in failures),
        "capacity for nothing": sum("nothing to do" in failure for failure in failures),
    }
    return Found(trials, {**dict(sorted(counts.items())), **wrong}, tuple(failures))


ROW = Row(
    number=9,
    promise="The set is never left at 0 with work, never loses a working VM, and never keeps capacity for nothing",
    run=run,
    wanted=SCHEDULES["full"],
    adds_up=True,
)
