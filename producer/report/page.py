"""The page: one HTML file that opens without a network, for a browser, a printer and a screen reader alike.

Plots are drawn here as SVG, not in the reader's browser: plotly would put 4.5 MB of script into each file and draw
parallel coordinates on a canvas, which neither prints well nor says anything to a screen reader. The page's own script
(sorting, copying, highlighting) has three kilobytes, and without it everything can still be read. The page's
Content-Security-Policy allows that script by its hash and no request to anywhere, whatever a sweep's names and values
hold.
"""

import base64
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from producer.report import curves, importance, parallel
from producer.report.film import Film, NoFilm, film
from producer.report.gather import Gathered, gather
from producer.report.importance import Importance
from producer.report.money import bill
from producer.report.parameters import parameters
from producer.report.provenance import provenance
from producer.report.reproduce import Command, Reproduction, reproduction
from producer.results.cost import price_of
from producer.results.entrants import Standing
from producer.results.leaderboard import Leaderboard, environment_label, selection, separation
from producer.results.progress import ProgressReader, SweepProgress
from producer.results.ranking_table import interval_text, p_text, share_text
from producer.session import Session
from producer.words import duration, label_keys, number, plural, set_label
from worker.contract.errors import InputError
from worker.contract.money import money
from worker.contract.result import Result

SHOWN_SETS = 200
"""Rows of a leaderboard."""
PACKAGE = "producer.report"


@dataclass(frozen=True)
class Panel:
    """Everything about one environment's ranking."""

    board: Leaderboard
    name: str
    label: str
    notes: tuple[str, ...]
    parallel: Markup | None
    importance: Importance | str
    importance_plot: Markup | None

    @property
    def shown(self) -> Sequence[Standing]:
        """Return the rows of the leaderboard."""
        return self.board.standings[:SHOWN_SETS]

    @property
    def left_out(self) -> int:
        """Return how many sets have no row."""
        return len(self.board.standings) - len(self.shown)


@dataclass(frozen=True)
class RunRow:
    """One finished run, with what proves it and the command that makes it again."""

    label: str
    fresh: bool
    result: Result
    model_sha256: str
    command: Command


def make_report(session: Session, sweep: str, *, with_video: bool = True) -> str:
    """Return the report of a sweep as it stands now, as HTML.

    Raises InputError where there is no such sweep, and StorageError.
    """
    progress = ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s).read()
    if progress.plan.deleted:
        raise InputError(f"{sweep} is being deleted. End that with: tranquility delete {sweep}")
    gathered = gather(session.blobs, progress)
    with ThreadPoolExecutor(1) as aside:  # the film is rendered by a process of its own meanwhile
        filming = (
            aside.submit(film, session.blobs, sweep, gathered.boards[0]) if with_video and gathered.boards else None
        )
        content = _content(session, gathered)
        content |= _filmed(filming, with_video=with_video)
    return _render(content)


def _content(session: Session, gathered: Gathered) -> dict[str, Any]:
    plan = gathered.sweep.plan
    keys = label_keys([planned.differs for planned in plan.sets[:300]])
    labels = [set_label(planned.differs, keys) for planned in plan.sets]
    again = reproduction(plan)
    found = curves.set_curves(gathered)
    return {
        "sweep": gathered.sweep,
        "state": _state(gathered.sweep),
        "problems": [*gathered.problems, *_bad(gathered.sweep)],
        "panels": [_panel(board, f"board-{number}") for number, board in enumerate(gathered.boards)],
        "curves": _drawn(found, gathered),
        "sets_with_curves": len({job.set for job, details in gathered.jobs() if curves.run_curve(0, details).points}),
        "bill": bill(gathered, labels, price_of(session.target)),
        "runs": list(_runs(gathered, labels, again)),
        "reproduction": again,
        "provenance": provenance(gathered, session, session.runtime.utc()),
    }


def _state(sweep: SweepProgress) -> str:
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(sweep.counts.items(), key=lambda one: -one[1]))
    ended = "All jobs have ended" if sweep.finished else "The sweep is not finished: this report shows it as it stands"
    return f"{ended}. {plural(len(sweep.jobs), 'job')}: {counts}."


def _bad(sweep: SweepProgress) -> Iterator[str]:
    for job in sweep.jobs:
        if job.state in {"failed", "poisoned"}:
            yield f"Job {job.id} {job.state}: {job.reason or 'no reason given'}"


def _panel(board: Leaderboard, name: str) -> Panel:
    chosen = parameters(board)
    found = importance.importance(board, chosen)
    return Panel(
        board=board,
        name=name,
        label=environment_label(board.environment),
        notes=tuple(note for note in (separation(board), selection(board)) if note),
        parallel=parallel.draw(board, chosen, f"{name}-parallel") if chosen else None,
        importance=found,
        importance_plot=importance.draw(found, f"{name}-importance") if isinstance(found, Importance) else None,
    )


def _drawn(found: Sequence[curves.SetCurves], gathered: Gathered) -> list[tuple[curves.SetCurves, Markup]]:
    plan = gathered.sweep.plan
    boards = {standing.entrant.index: board for board in gathered.boards for standing in board.standings}
    solved_at = plan.common.environment.solved_at if boards or found else None
    frame = curves.Frame.around(found, max((job.total for job in gathered.sweep.jobs), default=1), solved_at)
    return [(one, curves.draw(one, frame)) for one in found]


def _runs(gathered: Gathered, labels: Sequence[str], again: Reproduction) -> Iterator[RunRow]:
    by_id = gathered.sweep.plan.by_id
    for job, details in gathered.jobs():
        if details.result is not None:
            model = details.manifest.outcome.model
            command = again.command(by_id[job.id])
            yield RunRow(labels[job.set], job.fresh, details.result, model.sha256 if model else "", command)


def _filmed(filming: "Future[Film] | None", *, with_video: bool) -> dict[str, Any]:
    if filming is None:
        reason = "No run has finished yet, so there is nobody to film." if with_video else "Left out (--no-video)."
        return {"film": None, "no_film": reason}
    try:
        return {"film": filming.result(), "no_film": ""}
    except NoFilm as error:
        return {"film": None, "no_film": str(error)}


# ---- rendering -------------------------------------------------------------------------------------------------------


def _render(content: dict[str, Any]) -> str:
    environment = Environment(
        loader=PackageLoader(PACKAGE, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "money": money,
        "duration": duration,
        "interval": interval_text,
        "p": p_text,
        "share": share_text,
    }
    style, script = (files(PACKAGE).joinpath("templates", name).read_text() for name in ("report.css", "report.js"))
    digest = base64.b64encode(sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_hash=f"sha256-{digest}",
        shown_curves=curves.SHOWN,
        **content,
    )
