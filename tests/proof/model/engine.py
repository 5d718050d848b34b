"""Explicit-state model checking: every state that a model can reach, breadth first, and what is wrong with any of them.

Safety is checked at every move. Liveness is "a fault-free path leads on": from every reachable state, whatever faults
led there, moves that are no faults must lead to a state in which all is settled. Those that can are found backwards
from the settled ones; that needs the whole graph, so a search that was cut short says nothing about liveness.
"""

import time
from array import array
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

S = TypeVar("S", bound=Hashable)
Indices = npt.NDArray[np.int64]


class Move(NamedTuple, Generic[S]):
    """One atomic step of one part of the world."""

    label: str
    """What happens, for a person who reads a trace."""
    after: S
    fault: bool = False
    """Whether this is a fault: liveness may not count on it."""
    wrong: str = ""
    """Which promise this very step breaks."""


class Model(Protocol[S]):
    """What is explored. States are compared and hashed: tuples of small values."""

    def start(self) -> S:
        """Return the initial state."""

    def moves(self, state: S) -> Iterator[Move[S]]:
        """Yield all that can happen next."""

    def settled(self, state: S) -> bool:
        """Return whether all is done, so that nothing more needs to happen."""


@dataclass(frozen=True, slots=True)
class Hole:
    """A promise that does not hold, and the shortest way there."""

    what: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join((self.what, *(f"  {number:2}. {step}" for number, step in enumerate(self.trace, start=1))))


@dataclass(frozen=True, slots=True)
class Explored:
    """What a search found."""

    states: int
    moves: int
    depth: int
    """Length of the longest of all shortest paths."""
    complete: bool
    """Whether every reachable state was seen, and liveness checked."""
    hole: Hole | None


class _Graph(Generic[S]):
    """States in the order of their discovery, with the way back to the start, and all fault-free moves."""

    def __init__(self, start: S) -> None:
        self.states: list[S] = [start]
        self.numbers: dict[S, int] = {start: 0}
        self.parents, self.by = array("i", [-1]), array("i", [-1])
        self.depths = array("i", [0])
        self.labels: dict[str, int] = {}
        self.sources, self.targets = array("i"), array("i")
        self.moves = 0

    def add(self, number: int, move: Move[S]) -> None:
        self.moves += 1
        after = self.numbers.setdefault(move.after, len(self.states))
        if after == len(self.states):
            self.states.append(move.after)
            self.parents.append(number)
            self.by.append(self.labels.setdefault(move.label, len(self.labels)))
            self.depths.append(self.depths[number] + 1)
        if not move.fault and after != number:
            self.sources.append(number)
            self.targets.append(after)

    def trace(self, number: int) -> tuple[str, ...]:
        names = list(self.labels)
        steps = []
        while number:
            steps.append(names[self.by[number]])
            number = self.parents[number]
        return tuple(reversed(steps))


def explore(model: Model[S], *, most_states: int = 10_000_000, most_s: float = float("inf")) -> Explored:
    """Explore until there is nothing new, a hole, or one of the limits."""
    graph = _Graph(model.start())
    ends_s = time.monotonic() + most_s
    number, hole, complete = 0, None, True
    while number < len(graph.states) and hole is None and complete:
        for move in model.moves(graph.states[number]):
            graph.add(number, move)
            if move.wrong:
                hole = Hole(move.wrong, (*graph.trace(number), move.label))
                break
        number += 1
        if not number % 1024:
            complete = len(graph.states) < most_states and time.monotonic() < ends_s
    if hole is None and complete:
        hole = _stuck(model, graph)
    return Explored(len(graph.states), graph.moves, graph.depths[-1], complete, hole)


def _stuck(model: Model[S], graph: _Graph[S]) -> Hole | None:
    """Return the nearest state from which no fault-free path leads to a settled one."""
    settled = [number for number, state in enumerate(graph.states) if model.settled(state)]
    if not settled:
        return Hole("Nothing is ever settled.", ())
    alive = _reach(len(graph.states), graph.sources, graph.targets, settled)
    dead = np.flatnonzero(~alive)
    if not len(dead):
        return None
    first = int(dead[0])
    return Hole(f"No fault-free path leads on from here: {graph.states[first]}", graph.trace(first))


def _reach(count: int, sources: Sequence[int], targets: Sequence[int], goals: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return which of `count` states reach a goal: backwards, by the moves sorted by where they lead to."""
    source, target = np.asarray(sources, dtype=np.int64), np.asarray(targets, dtype=np.int64)
    source = source[np.argsort(target, kind="stable")]
    begins: Indices = np.concatenate(([0], np.cumsum(np.bincount(target, minlength=count))))
    alive = np.zeros(count, dtype=np.bool_)
    alive[np.asarray(goals, dtype=np.int64)] = True
    front: Indices = np.flatnonzero(alive)
    while len(front):
        before = source[_ranges(begins[front], begins[front + 1])]
        before = np.unique(before[~alive[before]])
        alive[before] = True
        front = before
    return alive


def _ranges(begins: Indices, ends: Indices) -> Indices:
    """Return all indices of all ranges, one after the other."""
    lengths = ends - begins
    offsets = np.repeat(begins - np.concatenate(([0], np.cumsum(lengths)[:-1])), lengths)
    return np.asarray(offsets + np.arange(lengths.sum()), dtype=np.int64)
