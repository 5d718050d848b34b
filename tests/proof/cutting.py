"""Trains a job straight, and again in pieces that each run in a process of their own.

Usage: python -m tests.proof.cutting FOLDER, which holds job.json and wanted.json; writes report.json.

A process of its own, since torch must be imported before the pieces are forked, and none of its threads started.
"""

import contextlib
import json
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch._dynamo  # noqa: F401 - Adam's first step imports it; here it is done once for all pieces

from worker.contract.base import sha256_hex
from worker.contract.job import Job, decode
from worker.contract.manifest import PartialEvaluation
from worker.snapshot.replay_rows import ReplayRows
from worker.snapshot.training_state import TrainingState
from worker.training.state import state_digest
from worker.training.trainer import SacRun
from worker.training_run import FinishedRun, TrainingRun

SEGMENT_ROWS = 256

Key = tuple[int, bool, int]
"""Step, whether in the final evaluation, finished episodes of the evaluation under way (-1: none is)."""


def key(run: TrainingRun) -> Key:
    under_way = run.partial_evaluation
    return (run.step, under_way.final, len(under_way.returns)) if under_way else (run.step, False, -1)


def place(run: SacRun, job: Job) -> str:
    """Return what kind of point the run stands at."""
    assert run._model is not None
    assert run._environment is not None
    step, final, finished = key(run)
    hyper = job.configuration.hyperparameters
    if finished >= 0:
        kind = "final" if final else "periodic"
        return f"before a {kind} evaluation" if finished == 0 else f"in a {kind} evaluation"
    if step == 0:
        return "at the very start"
    if step <= hyper.learning_starts:
        return "in the warm-up"
    if run._environment.episode_steps == 0:
        return "at an episode's edge"
    return "after the ring wrapped" if step > hyper.buffer_size else "in mid-episode"


def digest(run: SacRun) -> str:
    snapshot = run.capture(0)
    return state_digest(snapshot.state, snapshot.rows)


def outcome(finished: FinishedRun) -> dict[str, Any]:
    return {
        "digest": finished.state_digest,
        "curve": finished.curve.to_csv(),
        "evaluation": finished.evaluation.model_dump(mode="json"),
        "policy": sha256_hex(finished.policy),
        "counts": [finished.step, finished.episodes, finished.updates],
    }


def find_places(job: Job) -> dict[str, list[Key]]:
    """Train in one go, and return where the run can be cut, by kind."""
    found: dict[str, list[Key]] = defaultdict(list)

    def boundary(run: TrainingRun) -> None:
        assert isinstance(run, SacRun)
        keys = found[place(run, job)]
        if not keys or keys[-1] != key(run):
            keys.append(key(run))

    SacRun(job).train(boundary, lambda: None)
    return found


def choose(places: Mapping[str, list[Key]], count: int, chance: random.Random) -> list[Key]:
    """Return so many cuts in order: one of each kind, and the others anywhere."""
    chosen = {chance.choice(keys) for keys in places.values()}
    others = sorted({key for keys in places.values() for key in keys} - chosen)
    chosen |= set(chance.sample(others, max(0, count - len(chosen))))
    return sorted(chosen)


def train_straight(job: Job, cuts: list[Key]) -> dict[str, Any]:
    """Train in one go, noting what the state is at every cut."""
    digests: dict[Key, str] = {}

    def boundary(run: TrainingRun) -> None:
        assert isinstance(run, SacRun)
        if key(run) in cuts and key(run) not in digests:
            digests[key(run)] = digest(run)

    finished = SacRun(job).train(boundary, lambda: None)
    return {"digests": [digests[cut] for cut in cuts], "outcome": outcome(finished)}


@dataclass(frozen=True)
class Saved:
    """What a piece leaves to the next."""

    state: TrainingState
    rows: tuple[ReplayRows, ...]
    evaluation: PartialEvaluation | None
    """The one under way."""


Ablation = Callable[[Saved], Saved]
"""Leaves something out of what was saved."""


class Store:
    """A checkpoint in a folder: state, evaluation under way, and segments of rows cut at multiples of SEGMENT_ROWS."""

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder = folder
        self._configuration = job.configuration

    def load(self, run: SacRun, ablate: Ablation = lambda saved: saved) -> None:
        """Restore `run`, if anything was saved."""
        if not (self._folder / "state").exists():
            return
        under_way = (self._folder / "partial").read_text()
        evaluation = PartialEvaluation.model_validate_json(under_way) if under_way else None
        saved = ablate(Saved(self.state(), tuple(self._rows()), evaluation))
        run.restore(saved.state, saved.rows, saved.evaluation, lambda: None, exact=True)

    def state(self) -> TrainingState:
        """Return the state that was saved."""
        return TrainingState.decode((self._folder / "state").read_bytes(), self._configuration)

    def save(self, run: SacRun) -> None:
        """Save the state, and the rows from the last segment's first one on."""
        segments = self._segments()
        last = int(segments[-1].name.removeprefix("rows-")) if segments else 0
        snapshot = run.capture(last)
        rows = snapshot.rows
        (self._folder / "state").write_bytes(snapshot.state.encode())
        (self._folder / "partial").write_text(snapshot.partial.model_dump_json() if snapshot.partial else "")
        if rows.first_row > last:  # the ring has lost rows that were never saved, and with them all before
            for segment in segments:
                segment.unlink()
        start = rows.first_row
        while start < rows.stop_row:
            stop = min(rows.stop_row, (start // SEGMENT_ROWS + 1) * SEGMENT_ROWS)
            (self._folder / f"rows-{start:09d}").write_bytes(rows.slice(start, stop).encode())
            start = stop

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("rows-*"))

    def _rows(self) -> Iterator[ReplayRows]:
        for path in self._segments():
            yield ReplayRows.decode(path.read_bytes(), self._configuration.environment.sizes)


class Cut(Exception):
    """The piece ends here."""


def train_piece(
    folder: Path, job: Job, until: Key | None, *, save: bool = True, ablate: Ablation = lambda saved: saved
) -> dict[str, Any]:
    """Go on from what is saved, to `until` or the end; return digests of where it began and was saved, and the outcome.

    Without `save` it dies at `until` as a process does whose commit did not come through.
    """
    store = Store(folder, job)
    run = SacRun(job)
    store.load(run, ablate)
    report: dict[str, Any] = {}

    def boundary(_: TrainingRun) -> None:
        if not report:
            report["restored"] = digest(run)
        if key(run) == until:
            if save:
                report["saved"] = digest(run)
                store.save(run)
            raise Cut

    with contextlib.suppress(Cut):
        report["outcome"] = outcome(run.train(boundary, lambda: None))
    return report


def in_new_process(report: Path, work: Callable[[], Any]) -> Any:
    """Do `work` in a process of its own and return what it returns. It is forked, so that torch is not loaded anew."""
    child = os.fork()
    if child == 0:
        report.write_text(json.dumps(work()))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(f"a piece ended with status {status}")
    return json.loads(report.read_text())


def train_in_pieces(folder: Path, job: Job, cuts: list[Key], lost: list[Key]) -> list[dict[str, Any]]:
    """Train up to each cut in a new process; before the piece that ends at a cut of `lost`, twice for nothing."""
    pieces = []
    for cut in (*cuts, None):
        for _ in range(2 if cut in lost else 0):
            in_new_process(folder / "piece.json", partial(train_piece, folder, job, cut, save=False))
        pieces.append(in_new_process(folder / "piece.json", partial(train_piece, folder, job, cut)))
    return pieces


def main(folder: Path) -> None:
    """Cut at `cuts` places, chosen by `seed`; at every `lose_every`-th, two processes die before one commits."""
    job = decode((folder / "job.json").read_text())
    wanted = json.loads((folder / "wanted.json").read_text())
    chance = random.Random(wanted["seed"])
    found: dict[str, list[list[Any]]] = in_new_process(folder / "piece.json", partial(find_places, job))
    places = {kind: [(step, final, finished) for step, final, finished in keys] for kind, keys in found.items()}
    cuts = choose(places, wanted["cuts"], chance)
    lost = cuts[:: wanted["lose_every"]]
    straight = in_new_process(folder / "piece.json", partial(train_straight, job, cuts))
    pieces = train_in_pieces(folder, job, cuts, lost)
    kinds = {key: kind for kind, keys in places.items() for key in keys}
    report = {
        "straight": straight,
        "pieces": pieces,
        "cuts": cuts,
        "kinds": Counter(kinds[cut] for cut in cuts),
        "killed_for_nothing": 2 * len(lost),
    }
    (folder / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
