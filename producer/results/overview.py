"""All sweeps of a target in one table, and which of them a person means who names none."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from producer.results.cost import Price, cost_of
from producer.results.progress import ProgressReader, SweepProgress
from producer.sweep.plans import is_marked_complete, sweeps
from producer.words import duration, short
from worker.contract import names
from worker.contract.errors import InputError
from worker.contract.records import BlobStore

T = TypeVar("T")
R = TypeVar("R")
READERS = 8
"""Sweeps read at the same time."""


@dataclass(frozen=True, slots=True)
class Known:
    """A sweep, and how long ago its plan was written."""

    name: str
    age_s: float
    complete: bool


def known_sweeps(blobs: BlobStore) -> tuple[Known, ...]:
    """Return all sweeps, the newest plan first. Two requests for each sweep, side by side."""

    def look(name: str) -> Known | None:
        plan = next((blob for blob in blobs.list(names.SWEEPS, names.plan(name))), None)
        return Known(name, plan.age_s, is_marked_complete(blobs, name)) if plan else None

    found = [known for known in _side_by_side(look, sweeps(blobs)) if known]
    return tuple(sorted(found, key=lambda known: known.age_s))


def the_sweep(blobs: BlobStore, name: str | None) -> str:
    """Return the sweep that is meant: the one named, else the newest that is not complete, else the newest.

    Raises InputError where there is none.
    """
    if name is not None:
        return name
    known = known_sweeps(blobs)
    if not known:
        raise InputError("There is no sweep on this target yet. tranquility enqueue SWEEP.yaml makes one.")
    return next((one.name for one in known if not one.complete), known[0].name)


def read_all(blobs: BlobStore, silent_after_s: float) -> tuple[tuple[Known, SweepProgress], ...]:
    """Return the progress of all sweeps, the newest first."""
    known = known_sweeps(blobs)
    progress = _side_by_side(lambda one: ProgressReader(blobs, one.name, silent_after_s).read(), known)
    return tuple(zip(known, progress, strict=True))


def _side_by_side(look: Callable[[T], R], things: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(look, things))


def overview(found: Iterable[tuple[Known, SweepProgress]], price: Price | None) -> Table:
    """Return the table of all sweeps."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("SWEEP", no_wrap=True, overflow="ellipsis")
    table.add_column("STATE", no_wrap=True)
    for heading in ("DONE", "OF", "RUN", "BAD", "STEPS", "EVICTED", "ETA", "AGE"):
        table.add_column(heading, no_wrap=True, justify="right")
    if price is not None:
        table.add_column("SPEND", no_wrap=True, justify="right")
    for known, sweep in found:
        made, total = sweep.steps
        bad = sum(sweep.counts.get(state, 0) for state in ("failed", "poisoned", "cancelled"))
        cells: list[RenderableType] = [
            Text(sweep.sweep, "bold"),
            _state(sweep),
            f"{sweep.counts.get('done', 0):,}",
            f"{len(sweep.jobs):,}",
            str(len(sweep.alive) or ""),
            Text(str(bad or ""), "red"),
            f"{short(made)}/{short(total)}",
            str(sweep.evictions or ""),
            duration(sweep.eta_s) if sweep.eta_s and not sweep.finished else "",
            duration(known.age_s),
        ]
        if price is not None:
            cells.append(str(cost_of(sweep.jobs, price)))
        table.add_row(*cells)
    return table


def _state(sweep: SweepProgress) -> Text:
    if sweep.plan.deleted:
        return Text("being deleted", "magenta")
    if sweep.finished:
        return Text("cancelled", "magenta") if sweep.counts.get("cancelled") else Text("finished", "green")
    if sweep.hold is not None and not sweep.hold.jobs:
        return Text("out of budget" if sweep.hold.kind == "budget" else sweep.hold.kind, "yellow")
    return Text("running", "cyan") if sweep.alive else Text("waiting", "yellow")
