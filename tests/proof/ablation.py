"""Resumes a run with one item of its state left out at a time: it comes out otherwise, or is refused.

Usage: python -m tests.proof.ablation FOLDER, which holds job.json; writes report.json: item → what became of the run.
"""

import contextlib
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.proof.cutting import Ablation, Key, Saved, Store, find_places, in_new_process, train_piece
from worker.contract.errors import CheckpointCorrupt
from worker.contract.job import Job, decode
from worker.snapshot.curve import Curve
from worker.snapshot.training_state import TrainingState
from worker.training.trainer import SacRun
from worker.training_run import TrainingRun

INERT = {
    "streams.python": "training does not draw from it, and other threads of the process may: it is in no digest",
    "learning_rates": "SB3 sets them anew before every update; they are kept for whoever reads the optimizers",
    "evaluation": "its episodes are flown again to the same returns; it is kept so that they need not be",
}
"""Items that may be left out without another outcome, and why they are kept."""
ROW_PARTS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
WARM_UP = frozenset({"streams.action_space"})
"""Items that only matter before the first update."""

Fate = Literal["refused", "another outcome", "the same outcome"]


class _Begun(Exception):
    """The state is taken."""


def begun(job: Job) -> TrainingState:
    """Return the state of a run that has not made a step: what a resume is left with for an item that is not saved."""
    states: list[TrainingState] = []

    def boundary(run: TrainingRun) -> None:
        states.append(run.capture(0).state)
        raise _Begun

    with contextlib.suppress(_Begun):
        SacRun(job).train(boundary, lambda: None)
    return states[0]


def ablations(state: TrainingState, fresh: TrainingState) -> dict[str, Ablation]:
    """Return item → what leaves it out."""
    return {
        **{f"tensors.{part}": partial(_without_tensors, part, fresh) for part in _parts(state)},
        **{f"counters.{name}": partial(_without_counter, name) for name in type(state.counters).model_fields},
        **_without_streams(state, fresh),
        "cursor.actions": _with(cursor=replace(state.cursor, actions=state.cursor.actions[:0])),
        "cursor.before_reset": _with(cursor=_cursor(state, before_reset=fresh.cursor.head.before_reset)),
        "cursor.now": _with(cursor=_cursor(state, now=fresh.cursor.head.now)),
        "learning_rates": _with(learning_rates=dict.fromkeys(state.learning_rates, 0.5)),
        "last_observation": _with(last_observation=fresh.last_observation),
        "recent_returns": _with(recent_returns=np.zeros_like(state.recent_returns)),
        "recent_lengths": _with(recent_lengths=np.ones_like(state.recent_lengths)),
        "curve.rows": _with(curve=Curve((), state.curve.evaluations)),
        "curve.evaluations": _with(curve=Curve(state.curve.rows, ())),
        **{f"rows.{name}": partial(_without_rows, name) for name in ROW_PARTS},
        "rows": lambda saved: replace(saved, rows=()),
        "evaluation": lambda saved: replace(saved, evaluation=None),
    }


def fate(folder: Path, job: Job, ablate: Ablation, expected: dict[str, Any]) -> Fate:
    """Resume without an item; say what became of the run."""
    try:
        piece = train_piece(folder, job, None, ablate=ablate)
    except CheckpointCorrupt:
        return "refused"
    return "the same outcome" if piece["outcome"] == expected else "another outcome"


def _with(**changes: Any) -> Ablation:
    return lambda saved: replace(saved, state=replace(saved.state, **changes))


def _cursor(state: TrainingState, **changes: Any) -> Any:
    return replace(state.cursor, head=state.cursor.head.model_copy(update=changes))


def _parts(state: TrainingState) -> list[str]:
    """Return the networks, and the moments of each optimizer."""
    return sorted({_part(name) for name in state.tensors})


def _part(name: str) -> str:
    """`policy/actor.mu.weight` → `policy/actor`; `actor.optimizer/3/exp_avg` → `actor.optimizer/exp_avg`."""
    first, _, rest = name.partition("/")
    if first == "policy":
        return f"policy/{rest.partition('.')[0]}"
    return f"{first}/{rest.partition('/')[2]}" if rest else first


def _without_tensors(part: str, fresh: TrainingState, saved: Saved) -> Saved:
    """Put a new run's weights there, and zeros where it has no moments yet."""
    tensors = {
        name: fresh.tensors.get(name, np.zeros_like(tensor)) if _part(name) == part else tensor
        for name, tensor in saved.state.tensors.items()
    }
    return replace(saved, state=replace(saved.state, tensors=tensors))


def _without_counter(name: str, saved: Saved) -> Saved:
    counters = saved.state.counters.model_copy(update={name: 0})
    return replace(saved, state=replace(saved.state, counters=counters))


def _without_streams(state: TrainingState, fresh: TrainingState) -> dict[str, Ablation]:
    streams, new = state.streams, fresh.streams

    def head(*names: str) -> Any:
        return streams.head.model_copy(update={name: getattr(new.head, name) for name in names})

    without = {
        "numpy": replace(
            streams, numpy_key=new.numpy_key, head=head("numpy_position", "numpy_has_gauss", "numpy_gauss")
        ),
        "torch": replace(streams, torch_state=new.torch_state),
        "python": replace(
            streams, python_key=new.python_key[::-1].copy(), head=head("python_position", "python_gauss")
        ),
        "action_space": replace(streams, head=head("action_space")),
    }
    return {f"streams.{name}": _with(streams=value) for name, value in without.items()}


def _without_rows(name: str, saved: Saved) -> Saved:
    rows = (replace(segment, **{name: np.zeros_like(getattr(segment, name))}) for segment in saved.rows)
    return replace(saved, rows=tuple(rows))


def cut_at(folder: Path, job: Job, cut: Key) -> None:
    """Train to `cut` in a process of its own, and save there."""
    folder.mkdir()
    in_new_process(folder / "piece.json", partial(train_piece, folder, job, cut))


def main(folder: Path) -> None:
    """Cut once in the warm-up, and once in an evaluation under way after updates, where every item has a value."""
    job = decode((folder / "job.json").read_text())
    report = folder / "one.json"
    found = in_new_process(report, partial(find_places, job))
    early, late = folder / "warm-up", folder / "updates"
    cuts = {early: found["in the warm-up"][-1], late: found["in a periodic evaluation"][-1]}
    for place, (step, final, finished) in cuts.items():
        cut_at(place, job, (step, final, finished))
    expected = in_new_process(report, partial(train_piece, folder, job, None))["outcome"]
    state, fresh = Store(late, job).state(), begun(job)
    fates = {}
    for item in ablations(state, fresh):
        place = early if item in WARM_UP else late
        ablate = ablations(Store(place, job).state(), fresh)[item]
        fates[item] = in_new_process(report, partial(fate, place, job, ablate, expected))
    unchanged = [in_new_process(report, partial(fate, place, job, lambda saved: saved, expected)) for place in cuts]
    (folder / "report.json").write_text(json.dumps({"fates": fates, "unchanged": unchanged}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
