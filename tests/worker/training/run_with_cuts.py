"""Trains a job straight, and again in pieces that each run in a process of their own. Started by test_resume.py.

Usage: python run_with_cuts.py FOLDER, which holds job.json and names.json (the cuts wanted, in order); writes
straight.json and pieces.json: the digest of the state at every cut, as captured and as restored, and the outcome.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
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


def wanted(name: str, run: SacRun, job: Job) -> bool:
    """Return whether the run stands where the cut `name` is to be made."""
    assert run._model is not None
    assert run._environment is not None
    step, final, finished = key(run)
    hyper = job.configuration.hyperparameters
    in_episode = run._environment.episode_steps
    updated = run._model._n_updates > 0
    return {
        "at the very start": step == 0,
        "in the warm-up": 0 < step < hyper.learning_starts and in_episode > 5,
        "in mid-episode": updated and in_episode > 30,
        "at an episode's edge": updated and in_episode == 0,
        "before a periodic evaluation": finished == 0 and not final,
        "in a periodic evaluation": finished == 1 and not final,
        "after the ring wrapped": step > hyper.buffer_size + 50 and in_episode > 5,
        "in the second periodic evaluation": finished == 1 and step > 1000 and not final,
        "in the final evaluation": finished == 2 and final,
    }[name]


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


def train_straight(job: Job, names: list[str]) -> dict[str, Any]:
    """Train in one go, noting where the cuts are and what the state is there."""
    keys: list[Key] = []
    digests: list[str] = []

    def boundary(run: TrainingRun) -> None:
        assert isinstance(run, SacRun)
        if len(keys) < len(names) and wanted(names[len(keys)], run, job) and key(run) not in keys:
            keys.append(key(run))
            digests.append(digest(run))

    finished = SacRun(job).train(boundary, lambda: None)
    return {"keys": keys, "digests": digests, "outcome": outcome(finished)}


class Store:
    """A checkpoint in a folder: state, evaluation under way, and segments of rows cut at multiples of SEGMENT_ROWS."""

    def __init__(self, folder: Path, job: Job) -> None:
        self._folder = folder
        self._configuration = job.configuration

    def load(self, run: SacRun) -> None:
        """Restore `run`, if anything was saved."""
        if not (self._folder / "state").exists():
            return
        state = TrainingState.decode((self._folder / "state").read_bytes(), self._configuration)
        under_way = (self._folder / "partial").read_text()
        evaluation = PartialEvaluation.model_validate_json(under_way) if under_way else None
        run.restore(state, self._rows(), evaluation, lambda: None, exact=True)

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


def train_piece(folder: Path, job: Job, until: Key | None) -> dict[str, Any]:
    """Go on from what is saved, save at `until`, and return the digests of where it began and ended."""
    store = Store(folder, job)
    run = SacRun(job)
    store.load(run)
    digests: dict[str, str] = {}

    def boundary(_: TrainingRun) -> None:
        if not digests:
            digests["restored"] = digest(run)
        if key(run) == until:
            digests["captured"] = digest(run)
            store.save(run)
            raise Cut

    try:
        return {"outcome": outcome(run.train(boundary, lambda: None)), **digests}
    except Cut:
        return digests


def in_new_process(report: Path, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Do `work` in a process of its own. It is forked, so that torch is not loaded anew."""
    child = os.fork()
    if child == 0:
        report.write_text(json.dumps(work()))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(f"a piece ended with status {status}")
    return dict(json.loads(report.read_text()))


def main(folder: Path) -> None:
    job = decode((folder / "job.json").read_text())
    names: list[str] = json.loads((folder / "names.json").read_text())
    straight = in_new_process(folder / "straight.json", partial(train_straight, job, names))
    keys: list[Key | None] = [(step, final, finished) for step, final, finished in straight["keys"]]
    pieces = [in_new_process(folder / "piece.json", partial(train_piece, folder, job, key)) for key in [*keys, None]]
    (folder / "pieces.json").write_text(json.dumps(pieces))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
