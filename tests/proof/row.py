"""What the rows of proof share: a promise, and a run that counts how often it was tried and where it failed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Size = Literal["small", "full"]
"""`small` is what `make test` can afford, `full` what the promise is held to."""
Figure = int | float | str


@dataclass(frozen=True)
class Found:
    """What a run has seen."""

    trials: int
    figures: Mapping[str, Figure] = field(default_factory=dict)
    """What was counted → how much; in the words of the page that shows them."""
    failures: Sequence[str] = ()
    """One line each, with the seed or the command that replays it."""


class Tell(Protocol):
    """Shows how far a run is, and keeps what it has found so far for the case that it is interrupted."""

    @property
    def done(self) -> int:
        """Return how many trials earlier slices have made; a row that `adds_up` begins after them."""

    def __call__(self, text: str, so_far: Found | None = None, /) -> None:
        """Raises Enough when the time that was given is over."""


class Enough(Exception):
    """The time is over: what was found so far counts."""


@dataclass(frozen=True)
class Row:
    """One promise, or a part of one."""

    number: int
    promise: str
    run: Callable[[Size, Tell], Found]
    """Must leave nothing behind, interrupted or not."""
    part: str = ""
    """Tells rows of one number apart; a word."""
    wanted: int = 1
    """Trials that the promise is held to, at full size."""
    adds_up: bool = False
    """Whether slices of it, by the same code, make one run: all its figures are counts of the trials it began after."""

    @property
    def key(self) -> str:
        """Return the name of this row: `7`, or `3-kills`."""
        return f"{self.number}-{self.part}" if self.part else str(self.number)


def added(one: Found, other: Found) -> Found:
    """Return what two slices have seen."""
    figures = dict(one.figures)
    for name, figure in other.figures.items():
        before = figures.get(name, 0)
        both = isinstance(before, int | float) and isinstance(figure, int | float)
        figures[name] = before + figure if both else figure  # type: ignore[operator]  # both are numbers
    return Found(one.trials + other.trials, figures, (*one.failures, *other.failures))


class Silent:
    """Shows nothing, and begins at the beginning: the Tell of a test."""

    done = 0

    def __call__(self, text: str, so_far: Found | None = None, /) -> None:
        """Do nothing."""


told: Tell = Silent()
