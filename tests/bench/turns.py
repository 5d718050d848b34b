"""Contestants that take turns: each makes a few steps, round after round, so that the machine's drift cancels."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.bench.figures import ROOT

SINGLE = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BENCH_THREADS"), "1"),
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
}
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Entry:
    """Who takes part, and on which core; None: on all of them, with its libraries' default threads."""

    name: str
    kind: str
    core: int | None
    before: int
    """Steps that it makes first, uncounted."""


class Player:
    """A contestant's process."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry

    def __enter__(self) -> Self:
        core = self.entry.core
        settings: Mapping[str, str] = {} if core is None else SINGLE
        inherited = {name: value for name, value in os.environ.items() if name not in SINGLE}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.contestant", self.entry.kind],
            cwd=ROOT,
            env={**inherited, **settings, "JAX_PLATFORMS": "cpu"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if core is not None:
            os.sched_setaffinity(self._process.pid, {core})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def begin(self, steps: int) -> None:
        """Ask for steps."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()

    def seconds(self) -> float:
        """Wait until they are made; return the seconds."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.entry.name} has ended; its complaint stands above")
        return float(line)


Rates = dict[str, list[float]]
"""Steps per second of each round, by the contestant's name."""


def take_turns(turns: Sequence[Sequence[Entry]], *, rounds: int, steps: int, tell: Tell) -> Rates:
    """Let contestants take turns.

    Args:
        turns: those of one turn run at the same time.
        rounds: how often each has its turn.
        steps: of one turn.
        tell: hears of the progress.
    """
    with ExitStack() as stack:
        players = [[stack.enter_context(Player(entry)) for entry in turn] for turn in turns]
        for turn in players:
            tell(f"First {', '.join(f'{player.entry.before:,} steps of {player.entry.name}' for player in turn)}")
            _together(turn, [player.entry.before for player in turn])
        rates: Rates = {player.entry.name: [] for turn in players for player in turn}
        for number in range(rounds):
            for turn in players:
                for player, seconds in zip(turn, _together(turn, [steps] * len(turn)), strict=True):
                    rates[player.entry.name].append(steps / seconds)
            tell(f"round {number + 1} of {rounds}: {_latest(rates)}")
    return rates


def _together(turn: Sequence[Player], steps: Sequence[int]) -> list[float]:
    for player, number in zip(turn, steps, strict=True):
        player.begin(number)
    return [player.seconds() for player in turn]


def _latest(rates: Rates) -> str:
    return ", ".join(f"{name} {values[-1]:.1f}/s" for name, values in rates.items())
