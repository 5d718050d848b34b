"""The leader on film: rendered by the data plane in a process of its own, from the final model on held-out seeds."""

import json
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from producer.report.reproduce import data_url
from producer.results.best import best_of
from producer.results.flown import read_policy, representative
from producer.results.leaderboard import Leaderboard
from producer.results.parts import ResultDamaged
from producer.words import number
from producer.worker_process import WORKER, last_words, run_worker, worker_is_installed
from worker.contract.errors import InputError, TranquilityError
from worker.contract.records import BlobStore
from worker.contract.result import POLICY

EPISODES = 3
RENDER_TIMEOUT_S = 600


class NoFilm(TranquilityError):
    """The leader cannot be filmed here."""


@dataclass(frozen=True)
class Film:
    """A short film of one run."""

    job: str
    seed: int
    label: str
    seeds: int
    """Of its set; `seed` is their median."""
    returns: tuple[float, ...]
    """Of the episodes in it, the first held-out ones."""
    url: str
    """MP4, as a data: URL."""

    @property
    def caption(self) -> str:
        """Return what is to be seen."""
        listed = ", ".join(number(value) for value in self.returns)
        median = "lower median" if self.seeds % 2 == 0 else "median"
        which = f"the {median} of its {self.seeds} seeds" if self.seeds > 1 else "its only seed"
        return (
            f"{self.label}, seed {self.seed} ({which}, job {self.job}): the first {len(self.returns)} "
            f"held-out episodes, not chosen, with returns {listed}."
        )


def film(blobs: BlobStore, sweep: str, board: Leaderboard, command: tuple[str, ...] = WORKER) -> Film:
    """Return the film of a ranking's best set. Raises NoFilm with the reason, and StorageError."""
    if not worker_is_installed():
        raise NoFilm("What flies is not installed: pip install 'tranquility[worker,video]'.")
    leader = best_of(board)
    run = representative(leader)
    try:
        policy = read_policy(blobs, sweep, run.job)
    except (InputError, ResultDamaged) as error:
        raise NoFilm(str(error)) from error
    with tempfile.TemporaryDirectory() as scratch:
        model, video = Path(scratch) / POLICY, Path(scratch) / "leader.mp4"
        model.write_bytes(policy)
        arguments = ["play", str(model), "--episodes", str(EPISODES), "--video", str(video), "--json"]
        flights = _render(arguments, command)
        body = video.read_bytes()
    returns = tuple(float(flight["episode_return"]) for flight in flights)
    return Film(run.job, run.seed, leader.label, len(leader.runs), returns, data_url("video/mp4", body))


def _render(arguments: Sequence[str], command: Sequence[str]) -> list[dict[str, Any]]:
    try:
        ran = run_worker(arguments, RENDER_TIMEOUT_S, command)
    except subprocess.TimeoutExpired as error:
        raise NoFilm(f"Rendering took more than {RENDER_TIMEOUT_S} s.") from error
    if ran.returncode:
        raise NoFilm(last_words(ran))
    flights: list[dict[str, Any]] = json.loads(ran.stdout)
    return flights
