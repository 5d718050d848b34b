"""Which run stands for a sweep when its best set is to be flown, and the weights that fly."""

from producer.results.best import best_of
from producer.results.entrants import Entrant, Run
from producer.results.leaderboard import Leaderboard, leaderboards
from producer.results.logs import find_job
from producer.results.overview import known_sweeps
from producer.results.parts import read_outcome, read_part
from producer.results.progress import ProgressReader
from worker.contract.errors import InputError
from worker.contract.records import BlobStore

BEST = "best"


def representative(entrant: Entrant) -> Run:
    """Return the run of a set with the median score (the lower of two): neither its luckiest seed nor its worst."""
    ranked = sorted(entrant.runs, key=lambda run: run.score.mean)
    return ranked[(len(ranked) - 1) // 2]


def which_run(blobs: BlobStore, asked: str, silent_after_s: float) -> tuple[str, str]:
    """Return sweep and job of the run that is meant: a job, `best` of the newest sweep, or `SWEEP/best`.

    Raises:
        InputError: there is no such run, or no one leader.
    """
    sweep, _, last = asked.rpartition("/")
    if last != BEST:
        return find_job(blobs, asked)
    if not sweep:
        known = known_sweeps(blobs)
        if not known:
            raise InputError("There is no sweep on this target yet. tranquility enqueue SWEEP.yaml makes one.")
        sweep = known[0].name
    board = _only_board(leaderboards([ProgressReader(blobs, sweep, silent_after_s).read()]), sweep)
    return sweep, representative(best_of(board)).job


def _only_board(boards: tuple[Leaderboard, ...], sweep: str) -> Leaderboard:
    if not boards:
        raise InputError(f"No run of {sweep} has finished yet: tranquility status {sweep} shows how far it is.")
    if len(boards) > 1:
        jobs = ", ".join(representative(best_of(board)).job for board in boards)
        raise InputError(f"{sweep} has {len(boards)} environments, each with a leader of its own. Name a job: {jobs}.")
    return boards[0]


def read_policy(blobs: BlobStore, sweep: str, job: str) -> bytes:
    """Return the verified weights of a finished job. Raises InputError where it is not done, and ResultDamaged."""
    outcome = read_outcome(blobs, sweep, job)
    if outcome.policy is None:
        raise InputError(f"{sweep}/{job} is not done: tranquility status {sweep} shows how far it is.")
    return read_part(blobs, job, outcome.policy)
