"""What `results` answers, of one sweep or of two side by side."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from producer.results.best import best_config, best_of
from producer.results.comparison import compared
from producer.results.endings import bad_endings, cancelled
from producer.results.entrants import Entrant
from producer.results.leaderboard import Leaderboard, leaderboards
from producer.results.parts import ResultDamaged, download
from producer.results.progress import ProgressReader, SweepProgress
from producer.results.ranking_table import board_document, ranking, run_rows, to_csv
from producer.session import open_session
from producer.words import plural
from worker.contract.errors import InputError
from worker.contract.records import BlobStore


def text(progress: Sequence[SweepProgress], top: int) -> RenderableType:
    """Return the rankings, how two sweeps compare, and what has not ended well."""
    parts: list[RenderableType] = []
    boards = leaderboards(progress)
    for board in boards:
        parts += [*([Text()] if parts else []), ranking(board, top)]
    notes = _notes(progress, boards)
    if not parts:
        parts.append(Text("No run has finished yet."))
    return Group(*parts, *([Text()] if notes else []), *(Text(note) for note in notes))


def document(progress: Sequence[SweepProgress]) -> dict[str, Any]:
    """Return the same for `--json`."""
    boards = leaderboards(progress)
    return {
        "sweeps": [sweep.sweep for sweep in progress],
        "notes": _notes(progress, boards),
        "rankings": [board_document(board) for board in boards],
    }


def csv(progress: Sequence[SweepProgress]) -> str:
    """Return one line a run."""
    return to_csv(run_rows(leaderboards(progress)))


def rows(sweep: str, target: Path | None = None) -> list[dict[str, Any]]:
    """Return one row a finished run, hyperparameters included: `pandas.DataFrame(rows("lunar"))`.

    Args:
        sweep: its name.
        target: target file; None = that of this folder.
    """
    session = open_session(target)
    progress = ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s).read()
    return list(run_rows(leaderboards([progress])))


def best(progress: Sequence[SweepProgress]) -> str:
    """Return the leader as a sweep file. Raises InputError where there is no one leader."""
    boards: tuple[Leaderboard, ...] = leaderboards(progress)
    if not boards:
        raise InputError("No run has finished yet, so there is no leader.")
    if len(boards) > 1:
        raise InputError(f"There are {len(boards)} environments, each with a leader of its own: name a sweep of one.")
    chosen = best_of(boards[0])
    plan = next(sweep.plan for sweep in progress if sweep.sweep == chosen.sweep)
    return best_config(boards[0], chosen.sweep, plan.configurations[chosen.index])


def leaders(progress: SweepProgress, top: int) -> tuple[Entrant, ...]:
    """Return the best `top` sets of each environment: those that fresh seeds are worth.

    Raises InputError while runs that make the ranking have not ended, and where fewer than two sets have a result.
    """
    waiting = sum(not job.terminal and not job.fresh for job in progress.jobs)
    if waiting:
        raise InputError(
            f"{plural(waiting, 'job', 'have')} not ended, and the leaders of {progress.sweep} may still change: "
            f"confirm them afterwards (tranquility watch {progress.sweep})."
        )
    boards = [board for board in leaderboards([progress]) if len(board.standings) > 1]
    if not boards:
        raise InputError(
            f"{progress.sweep} has no two sets with results to choose between: there is nothing to confirm."
        )
    return tuple(standing.entrant for board in boards for standing in board.standings[:top])


def fetch(blobs: BlobStore, sweep: SweepProgress, folder: Path, say: Callable[[str], None]) -> None:
    """Download a sweep's results and say what came. Raises ResultDamaged where a part is missing or damaged."""
    done = download(blobs, sweep, folder)
    kept = f"; {plural(done.kept, 'file', 'were')} there already" if done.kept else ""
    say(f"{folder}: {plural(done.written, 'file')} fetched{kept}.")
    if done.problems:
        raise ResultDamaged(" ".join(done.problems))


def _notes(progress: Sequence[SweepProgress], boards: Sequence[Leaderboard]) -> list[str]:
    sweeps = [sweep.sweep for sweep in progress]
    return [*compared(boards, sweeps), *_same_runs(progress), *unfinished(progress)]


def unfinished(progress: Sequence[SweepProgress]) -> Iterator[str]:
    """Yield what has not ended, or not well, a sentence for each sweep and state, with the reasons."""
    for sweep in progress:
        left = len(sweep.jobs) - sweep.ended
        if left:
            yield f"{sweep.sweep}: {left:,} of {plural(len(sweep.jobs), 'job', 'have')} not ended yet."
        for ended in (*bad_endings(sweep), *cancelled(sweep)):
            yield f"{sweep.sweep}: {ended}"


def _same_runs(progress: Sequence[SweepProgress]) -> Iterator[str]:
    """A job's id is made of its configuration and seed: equal ids in two sweeps are the same run, made twice."""
    if len(progress) != 2:
        return
    first, second = ({job.id: job.score for job in sweep.jobs if job.score} for sweep in progress)
    common = first.keys() & second.keys()
    if not common:
        yield "The sweeps have no finished run in common."
        return
    equal = sum(first[job] == second[job] for job in common)
    yield f"{plural(len(common), 'run', 'are')} in both sweeps; {equal:,} of them came out exactly the same."
