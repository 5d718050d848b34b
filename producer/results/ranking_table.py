"""How a ranking looks: a table on the terminal, rows for CSV and pandas, a document for JSON."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from producer.results.confirmation import Confirmation
from producer.results.entrants import Run, Standing
from producer.results.leaderboard import Leaderboard, environment_label, selection, separation
from producer.results.statistics import Interval
from producer.words import number, plural

BOOTSTRAPPED = 20
"""Places whose interquartile mean gets its interval in JSON: each takes a bootstrap."""


def ranking(board: Leaderboard, top: int) -> RenderableType:
    """Return a ranking's best `top` sets, the sentence about the leader, and what to know before believing it."""
    parts: list[RenderableType] = [Text(environment_label(board.environment), "bold")]
    parts += [Text(f"! {warning}", "yellow") for warning in board.warnings]
    solved_at = board.environment.solved_at
    parts += [Text(), _table(board.standings[:top], solved_at), Text()]
    hidden = len(board.standings) - top
    if hidden > 0:
        parts.append(Text(f"… and {plural(hidden, 'more set')}", "dim"))
    parts += [Text(line) for line in (board.sentence, separation(board), selection(board)) if line]
    parts.append(Text("5 %: a twentieth of the held-out episodes ended below it (mean over runs).", "dim"))
    if any(standing.p is not None for standing in board.standings):
        parts.append(Text("P: Welch's t test against the leader, Holm-corrected over all sets; exploratory.", "dim"))
    if board.leader.rank_one_share is not None:
        parts.append(Text("LEADS: how often a set leads when the seeds are drawn again (bootstrap).", "dim"))
    if board.confirmation is not None:
        parts += _confirmed(board.confirmation, solved_at)
    return Group(*parts)


def _confirmed(found: Confirmation, solved_at: float | None) -> list[RenderableType]:
    parts: list[RenderableType] = [Text(), Text("On fresh seeds", "bold")]
    if found.standings:
        parts += [Text(), _table(found.standings, solved_at)]
    parts += [Text(), Text(found.sentence)]
    if len(found.standings) > 1:
        parts.append(Text("P: Welch's t test against the first, Holm-corrected over all pairs of these sets.", "dim"))
    return parts


def _table(shown: Sequence[Standing], solved_at: float | None) -> Table:
    with_interval = any(standing.interval for standing in shown)
    with_iqm = any(standing.iqm is not None for standing in shown)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=True, header_style="dim")
    table.add_column("#", no_wrap=True, justify="right")
    table.add_column("SET", ratio=3, overflow="fold")
    table.add_column("MEAN", no_wrap=True, justify="right")
    if with_interval:
        table.add_column("95 %", no_wrap=True, justify="right")
    if with_iqm:
        table.add_column("IQM", no_wrap=True, justify="right")
    table.add_column("EVERY SEED", ratio=2)
    table.add_column("WORST", no_wrap=True, justify="right")
    if solved_at is not None:
        table.add_column(f"≥{number(solved_at)}", no_wrap=True, justify="right")
    for heading in ("5 %", "P", "LEADS"):
        table.add_column(heading, no_wrap=True, justify="right")
    for standing in shown:
        entrant = standing.entrant
        cells = [str(standing.rank), entrant.label, number(entrant.mean)]
        if with_interval:
            cells.append(interval_text(standing.interval))
        if with_iqm:
            cells.append(number(standing.iqm))
        cells += [_seeds(standing), number(entrant.worst)]
        if solved_at is not None:
            cells.append("" if entrant.solved is None else f"{100 * entrant.solved:.0f} %")
        cells += [number(entrant.percentile_5), p_text(standing.p), share_text(standing.rank_one_share)]
        table.add_row(*cells)
    return table


def _seeds(standing: Standing) -> str:
    entrant = standing.entrant
    missing = f" (of {entrant.planned})" if len(entrant.runs) < entrant.planned else ""
    return " ".join(number(score) for score in entrant.scores) + missing


def interval_text(interval: Interval | None) -> str:
    """Return an interval in a cell; nothing for nothing."""
    return f"{number(interval.low)}…{number(interval.high)}" if interval else ""


def p_text(p: float | None) -> str:
    """Return a p value in a cell, without its leading zero."""
    return "" if p is None else "<.001" if p < 0.001 else f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"


def share_text(share: float | None) -> str:
    """Return a share in a cell, in percent."""
    return "" if share is None else f"{100 * share:.0f} %"


# ---- for programs --------------------------------------------------------------------------------------------------


def board_document(board: Leaderboard) -> dict[str, Any]:
    """Return a ranking for `--json`."""
    return {
        "environment": board.environment.model_dump(mode="json", exclude={"probe"}),
        "sentence": board.sentence,
        "separation": separation(board),
        "selection": selection(board),
        "warnings": list(board.warnings),
        "seeds_to_separate": board.seeds_to_separate,
        "sets_without_result": board.without_result,
        "standings": [_standing_document(standing) for standing in board.standings],
        "confirmation": _confirmation_document(board.confirmation) if board.confirmation else None,
    }


def _confirmation_document(found: Confirmation) -> dict[str, Any]:
    winner = found.winner
    return {
        "sentence": found.sentence,
        "planned_runs": found.planned,
        "open_runs": found.still_open,
        "winner": None if winner is None else {"sweep": winner.sweep, "set": winner.index, "label": winner.label},
        "standings": [_standing_document(standing) for standing in found.standings],
    }


def _standing_document(standing: Standing) -> dict[str, Any]:
    entrant = standing.entrant
    return {
        "rank": standing.rank,
        "sweep": entrant.sweep,
        "set": entrant.index,
        "label": entrant.label,
        "mean": entrant.mean,
        "interval": _interval_document(standing.interval),
        "iqm": standing.iqm,
        "iqm_interval": _interval_document(standing.iqm_interval) if standing.rank <= BOOTSTRAPPED else None,
        "worst": entrant.worst,
        "solved": entrant.solved,
        "percentile_5": entrant.percentile_5,
        "p_holm": standing.p,
        "rank_one_share": standing.rank_one_share,
        "planned_seeds": entrant.planned,
        "runs": [
            {"job": run.job, "seed": run.seed, "exact": run.exact, **run.score.model_dump(mode="json")}
            for run in entrant.runs
        ],
    }


def _interval_document(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {"low": interval.low, "high": interval.high, "method": interval.method, "n": interval.runs}


def run_rows(boards: Sequence[Leaderboard]) -> Iterator[dict[str, Any]]:
    """Yield one row a run, hyperparameters included; runs on fresh seeds are marked, and have no part in the rank."""
    for board in boards:
        for standing in board.standings:
            entrant = standing.entrant
            fresh = entrant.fresh.runs if entrant.fresh else ()
            yield from (_row(board, standing, run, fresh=False) for run in entrant.runs)
            yield from (_row(board, standing, run, fresh=True) for run in fresh)


def _row(board: Leaderboard, standing: Standing, run: Run, *, fresh: bool) -> dict[str, Any]:
    return {
        "sweep": standing.entrant.sweep,
        "environment": environment_label(board.environment),
        "rank": standing.rank,
        "set": standing.entrant.index,
        **standing.entrant.differs,
        "job": run.job,
        "seed": run.seed,
        "fresh": fresh,
        **run.score.model_dump(mode="json"),
        "exact": run.exact,
        "releases": " ".join(run.releases),
    }


def to_csv(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as CSV, an empty cell where a row lacks a key that another has."""
    listed = list(rows)
    columns = list(dict.fromkeys(key for row in listed for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(listed)
    return text.getvalue()
