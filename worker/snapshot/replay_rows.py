"""Transitions as they are checkpointed: a run of rows of the replay buffer, counted from the first one ever stored."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from worker.contract.base import STATE_VERSION, Frozen
from worker.contract.errors import CheckpointCorrupt
from worker.snapshot.arrays import Array, Floats, Reader, encode

MAX_SCALED_ACTION = 1.01
"""Actions are stored scaled to [-1, 1]; SB3's scaling may round to a little more."""

_DONE, _TIMEOUT = 1, 2


class _Head(Frozen):
    version: Literal[1] = STATE_VERSION
    first_row: Annotated[int, Field(ge=0, lt=2**48)]
    rows: Annotated[int, Field(ge=0, lt=2**31)]


@dataclass(frozen=True, eq=False)
class ReplayRows:
    """Consecutive transitions. Row numbers are absolute: they go on counting when the ring buffer wraps."""

    first_row: int
    observations: Floats
    """(rows, observation size)"""
    next_observations: Floats
    """(rows, observation size)"""
    actions: Floats
    """(rows, action size), scaled to [-1, 1] as SB3 stores them."""
    rewards: Floats
    """(rows,)"""
    dones: NDArray[np.bool_]
    """(rows,) The episode ended with this transition."""
    timeouts: NDArray[np.bool_]
    """(rows,) It ended by its time limit; implies `dones`."""

    def __len__(self) -> int:
        return len(self.rewards)

    @property
    def stop_row(self) -> int:
        """Return the absolute number of the row after the last."""
        return self.first_row + len(self)

    def slice(self, start: int, stop: int) -> Self:
        """Return the rows from `start` to before `stop`, both absolute. The arrays are views.

        Raises:
            ValueError: not all of them are here.
        """
        if not self.first_row <= start <= stop <= self.stop_row:
            raise ValueError(f"rows {start} to {stop} are not within {self.first_row} to {self.stop_row}")
        part = slice(start - self.first_row, stop - self.first_row)
        return type(self)(start, *(array[part] for array in self._arrays()))

    def _arrays(self) -> tuple[Array, ...]:
        return (
            self.observations,
            self.next_observations,
            self.actions,
            self.rewards,
            self.dones,
            self.timeouts,
        )

    @classmethod
    def concatenate(cls, parts: Iterable["ReplayRows"]) -> "ReplayRows":
        """Return consecutive parts as one; at least one part.

        Raises:
            ValueError: there is none, or a part does not begin where the one before it ends.
        """
        parts = list(parts)
        for before, after in itertools.pairwise(parts):
            if before.stop_row != after.first_row:
                raise ValueError(f"rows {before.stop_row} to {after.first_row} are missing or twice there")
        columns = zip(*(part._arrays() for part in parts), strict=True)  # noqa: SLF001 - of the same class
        return cls(parts[0].first_row, *(np.concatenate(column) for column in columns))

    def encode(self) -> bytes:
        """Return the rows as safetensors.

        A next observation is stored only where the next row's observation is another one (bit by bit), which it
        is at an episode's end, and for the last row. With LunarLander's sizes that makes 45 bytes a row.
        """
        stored = _differing(self.observations, self.next_observations)
        head = _Head(first_row=self.first_row, rows=len(self))
        flags = self.dones * np.uint8(_DONE) + self.timeouts * np.uint8(_TIMEOUT)
        arrays: dict[str, Array] = {
            "observations": self.observations,
            "actions": self.actions,
            "rewards": self.rewards,
            "flags": flags.astype(np.uint8),
            "next_rows": stored.astype(np.int32),
            "next_observations": self.next_observations[stored],
        }
        return encode(head, arrays)

    @classmethod
    def decode(cls, body: bytes, sizes: tuple[int, int]) -> "ReplayRows":
        """Return what `encode` made bytes of; `sizes` are the job's (observation, action) lengths.

        Raises:
            CheckpointCorrupt: anything is not as `encode` writes it.
        """
        reader = Reader(body)
        head = reader.head(_Head)
        n, (observation, action) = head.rows, sizes
        observations = reader.take("observations", np.float32, (n, observation))
        actions = reader.take("actions", np.float32, (n, action))
        rewards = reader.take("rewards", np.float32, (n,))
        flags = reader.take("flags", np.uint8, (n,))
        stored = reader.take("next_rows", np.int32, (None,))
        values = reader.take("next_observations", np.float32, (len(stored), observation))
        reader.nothing_else()
        if n and np.abs(actions).max() > MAX_SCALED_ACTION:
            raise CheckpointCorrupt("An action is outside of [-1, 1].")
        if not np.isin(flags, (0, _DONE, _DONE | _TIMEOUT)).all():
            raise CheckpointCorrupt("A row's flags are unknown.")
        if not _in_order(stored, n):
            raise CheckpointCorrupt("The rows with a next observation of their own are out of order.")
        following = np.empty_like(observations)
        following[:-1] = observations[1:]
        following[stored] = values
        return cls(head.first_row, observations, following, actions, rewards, flags > 0, flags > _DONE)


def _differing(observations: Floats, next_observations: Floats) -> NDArray[np.intp]:
    """Return the rows whose next observation is not the next row's observation, and the last row."""
    if not len(observations):
        return np.empty(0, dtype=np.intp)
    ahead, behind = (np.ascontiguousarray(a).view(np.uint32) for a in (observations[1:], next_observations[:-1]))
    return np.append(np.flatnonzero((ahead != behind).any(axis=1)), len(observations) - 1)


def _in_order(stored: NDArray[np.int32], rows: int) -> bool:
    """Return whether `stored` goes up within 0 … rows - 1 and ends at the last row."""
    if rows == 0:
        return not len(stored)
    return bool(len(stored) and stored[0] >= 0 and stored[-1] == rows - 1 and (np.diff(stored) > 0).all())
