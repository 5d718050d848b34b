"""Row 2: seeded schedules of whole fleets on a virtual clock, the real code in everything that decides."""

import multiprocessing
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import count, islice
from typing import Final

from tests.proof.row import Enough, Found, Row, Size, Tell
from tests.simulator.scenario import scenario_of
from tests.simulator.world import play

SMALL: Final = 24
FEWEST: Final = 10_000
SECONDS: Final = 600.0
"""At full size it goes on for so long, and until there were enough."""
PROCESSES: Final = 2
CHUNK: Final = 25


@dataclass(frozen=True)
class Played:
    """What some schedules came to."""

    schedules: int = 0
    done: int = 0
    requests: int = 0
    virtual_s: float = 0.0
    failures: tuple[str, ...] = ()

    def __add__(self, other: "Played") -> "Played":
        return Played(
            self.schedules + other.schedules,
            self.done + other.done,
            self.requests + other.requests,
            self.virtual_s + other.virtual_s,
            self.failures + other.failures,
        )

    def found(self) -> Found:
        """Return it as a row shows it."""
        return Found(
            trials=self.schedules,
            figures={
                "virtual hours": round(self.virtual_s / 3600, 1),
                "requests": self.requests,
                "jobs done": self.done,
                "schedules that broke a rule": len(self.failures),
            },
            failures=self.failures,
        )


def play_seeds(seeds: Iterable[int]) -> Played:
    """Play the schedules of these seeds."""
    played = Played()
    for seed in seeds:
        outcome = play(scenario_of(seed))
        failures = tuple(f"python -m tests.simulator --seed {seed}: {broken}" for broken in outcome.broken[:1])
        played += Played(1, outcome.done, outcome.requests, outcome.seconds, failures)
    return played


def run(size: Size, tell: Tell) -> Found:
    """Play as many as the size asks for."""
    if size == "small":
        return play_seeds(range(SMALL)).found()
    began_s, enough, played = time.monotonic(), False, Played()
    starts = count(tell.done, CHUNK)
    pool = ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn"))
    try:
        pending: Sequence[Future[Played]] = []
        while pending or not enough:
            enough = enough or (time.monotonic() - began_s >= SECONDS and tell.done + played.schedules >= FEWEST)
            more = islice(starts, 0 if enough else 2 * PROCESSES - len(pending))
            new = [pool.submit(play_seeds, range(start, start + CHUNK)) for start in more]
            finished, left = wait([*pending, *new], return_when=FIRST_COMPLETED)
            pending = list(left)
            played = sum((future.result() for future in finished), played)
            try:
                tell(f"{played.schedules:,} schedules, {len(played.failures)} broke a rule", played.found())
            except Enough:
                enough = True  # those under way are played, so that the next slice knows where to begin
    finally:
        pool.shutdown(cancel_futures=True)
    return played.found()


ROW = Row(
    number=2,
    promise="No schedule of crashes, pauses, lost and late requests, outages, evictions and users breaks a rule",
    run=run,
    wanted=FEWEST,
    adds_up=True,
)
