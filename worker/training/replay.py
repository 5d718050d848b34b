"""SB3's replay buffer, with rows that are counted from the first one ever stored, so that they can be checkpointed."""

from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from worker.snapshot.arrays import Array
from worker.snapshot.replay_rows import ReplayRows
from worker.training.packed_buffer import PackedReplayBuffer


def ignore() -> None:
    """Do nothing."""


class CountedReplayBuffer(ReplayBuffer):
    """SB3's replay buffer for one environment, which also counts.

    Mixed into a faster buffer with arrays of the same names and shapes, it makes that one count: what it calls of its
    base class goes by the order of the bases.

    Attributes:
        total: transitions ever stored; the buffer holds the last `buffer_size` of them.
        on_sample: called for every batch drawn, which is once a gradient step.
    """

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.total = 0
        self.on_sample: Callable[[], None] = ignore

    def add(self, *arguments: Any, **keywords: Any) -> None:
        """Store one transition."""
        super().add(*arguments, **keywords)
        self.total += 1

    def sample(self, *arguments: Any, **keywords: Any) -> ReplayBufferSamples:
        """Draw a batch."""
        self.on_sample()
        return super().sample(*arguments, **keywords)

    def copy_rows(self, start: int, stop: int) -> ReplayRows:
        """Return copies of the rows `start` to before `stop`, absolute numbers; ValueError if it does not hold them."""
        places = ring_slices(start, stop, self.total, self.buffer_size)

        def column(array: Array) -> Array:
            return np.concatenate([array[place, 0] for place in places])

        return ReplayRows(
            first_row=start,
            observations=column(self.observations),
            next_observations=column(self.next_observations),
            actions=column(self.actions),
            rewards=column(self.rewards),
            dones=column(self.dones) > 0,
            timeouts=column(self.timeouts) > 0,
        )

    def append_rows(self, rows: ReplayRows) -> None:
        """Store rows, which follow the last one (an empty buffer begins with any); ValueError if they do not."""
        if self.total not in (0, rows.first_row):
            raise ValueError(f"row {self.total} is missing, the next part begins with {rows.first_row}")
        kept = rows.slice(max(rows.first_row, rows.stop_row - self.buffer_size), rows.stop_row)
        offset = 0
        for place in ring_slices(kept.first_row, kept.stop_row, kept.stop_row, self.buffer_size):
            part = slice(offset, offset + place.stop - place.start)
            self.observations[place, 0] = kept.observations[part]
            self.next_observations[place, 0] = kept.next_observations[part]
            self.actions[place, 0] = kept.actions[part]
            self.rewards[place, 0] = kept.rewards[part]
            self.dones[place, 0] = kept.dones[part]
            self.timeouts[place, 0] = kept.timeouts[part]
            offset = part.stop
        self.total = rows.stop_row
        self.pos = self.total % self.buffer_size
        self.full = self.total >= self.buffer_size


class CountedPackedBuffer(CountedReplayBuffer, PackedReplayBuffer):
    """The fast trainer's buffer, that also counts."""


def ring_slices(start: int, stop: int, total: int, size: int) -> tuple[slice, ...]:
    """Return where the absolute rows `start` to before `stop` lie in a ring of `size`: one or two slices, in order.

    Raises:
        ValueError: the ring, into which `total` rows went, does not hold all of them.
    """
    if not max(0, total - size) <= start <= stop <= total:
        raise ValueError(f"rows {start} to {stop} are not in a buffer that holds {max(0, total - size)} to {total}")
    first = start % size
    length = stop - start
    if first + length <= size:
        return (slice(first, first + length),)
    return slice(first, size), slice(0, first + length - size)
