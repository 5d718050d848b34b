"""Row 6: damaged checkpoints are noticed, and nothing in them is executed."""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from tests.proof.corruption import Trial, damage, every_blob_is_a_pickle, interrupted, short_segments
from tests.proof.row import Found, Row, Size, Tell

TRIALS: Final = {"small": 25, "full": 1000}


def run(size: Size, tell: Tell) -> Found:
    """Damage the same checkpoint in ever new ways."""
    kinds: Counter[str] = Counter()
    places: Counter[str] = Counter()
    failures: list[str] = []

    def found() -> Found:
        figures = {**dict(sorted(kinds.items())), **{f"went on from {place}": n for place, n in places.items()}}
        return Found(sum(places.values()), {**figures, "silent": len(failures)}, tuple(failures))

    def count(trial: Trial, seed: str) -> None:
        kinds.update(trial.kinds)
        places[trial.fell_back_to] += 1
        failures.extend(f"seed {seed}, {', '.join(trial.kinds)}: {wrong}" for wrong in trial.wrong)

    with tempfile.TemporaryDirectory(prefix="tranquility-proof-") as folder, short_segments():
        before = interrupted()
        if not tell.done:
            count(every_blob_is_a_pickle(before, Path(folder)), "none")
        for seed in range(max(1, tell.done), TRIALS[size]):
            count(damage(before, seed, Path(folder)), str(seed))
            tell(f"{seed} of {TRIALS[size]} damaged checkpoints", found())
    return found()


ROW = Row(
    number=6,
    promise="Bit flips, truncations, missing, swapped and pickled blobs: all are noticed, none is executed",
    run=run,
    wanted=TRIALS["full"],
    adds_up=True,
)
