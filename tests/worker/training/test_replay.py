"""The replay buffer's rows are counted from the first one ever stored, however often the ring wraps."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.snapshot.replay_rows import ReplayRows
from worker.training.replay import CountedReplayBuffer, ring_slices

SIZE = 50


def new_buffer() -> CountedReplayBuffer:
    observations, actions = gymnasium.spaces.Box(-9, 9, (3,)), gymnasium.spaces.Box(-1, 1, (2,))
    return CountedReplayBuffer(SIZE, observations, actions, device="cpu")


def filled(total: int) -> CountedReplayBuffer:
    """Return a buffer into which `total` different transitions went one by one."""
    buffer = new_buffer()
    for row in range(total):
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": row % 14 == 13}]
        observation = np.full((1, 3), row, dtype=np.float32)
        action = np.full((1, 2), row / 1000, dtype=np.float32)
        buffer.add(observation, observation + 1, action, np.array([-row]), np.array([row % 7 == 6]), infos)
    return buffer


@given(total=st.integers(0, 170), low=st.integers(0, 170), high=st.integers(0, 170))
def test_a_ring_gives_the_rows_that_it_holds_and_refuses_others(total: int, low: int, high: int) -> None:
    oldest = max(0, total - SIZE)
    ring = np.full(SIZE, -1)
    for row in range(total):
        ring[row % SIZE] = row
    if oldest <= low <= high <= total:
        found = [row for place in ring_slices(low, high, total, SIZE) for row in ring[place].tolist()]
        assert found == list(range(low, high))
    else:
        with pytest.raises(ValueError, match="not in a buffer"):
            ring_slices(low, high, total, SIZE)


@pytest.mark.parametrize("total", [0, 7, 50, 51, 120, 150])
@pytest.mark.parametrize("part", [1, 16, 200])
def test_a_buffer_filled_from_copied_rows_is_the_one_that_they_were_copied_from(total: int, part: int) -> None:
    buffer = filled(total)
    oldest = max(0, total - SIZE)
    again = new_buffer()
    for start in range(oldest, total, part):
        again.append_rows(buffer.copy_rows(start, min(start + part, total)))
    assert (again.total, again.pos, again.full) == (buffer.total, buffer.pos, buffer.full)
    for name in ("observations", "next_observations", "actions", "rewards", "dones", "timeouts"):
        assert getattr(again, name).tobytes() == getattr(buffer, name).tobytes()


def test_rows_from_before_the_ring_began_may_be_given_too() -> None:
    long_run = [filled(40).copy_rows(0, 40), filled(90).copy_rows(40, 90)]
    again = new_buffer()
    again.append_rows(ReplayRows.concatenate(long_run))
    assert again.copy_rows(40, 90).encode() == long_run[1].encode()


def test_rows_that_do_not_follow_are_refused() -> None:
    with pytest.raises(ValueError, match="row 20 is missing"):
        filled(20).append_rows(filled(60).copy_rows(30, 40))


def test_copied_rows_stay_as_they_were_when_the_ring_goes_on() -> None:
    buffer = filled(60)
    copied = buffer.copy_rows(10, 60)
    before = copied.encode()
    buffer.append_rows(filled(110).copy_rows(60, 110))
    assert copied.encode() == before


def test_every_batch_is_told() -> None:
    buffer = filled(20)
    told: list[None] = []
    buffer.on_sample = lambda: told.append(None)
    buffer.sample(4)
    buffer.sample(4)
    assert len(told) == 2
