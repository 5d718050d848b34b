"""Rows come back from their bytes bit by bit, can be cut and joined anywhere, and nothing else passes for rows."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.contract.errors import CheckpointCorrupt
from worker.snapshot.arrays import Array
from worker.snapshot.replay_rows import ReplayRows

SIZES = (8, 2)


def some_rows(count: int, first_row: int = 0, episode: int = 7, seed: int = 0) -> ReplayRows:
    """Return rows of episodes that end after `episode` steps, every second one by its time limit."""
    chance = np.random.default_rng(seed)
    observations = chance.normal(size=(count, SIZES[0])).astype(np.float32)
    ends = np.arange(count) % episode == episode - 1
    following = np.concatenate([observations[1:], observations[:1]])
    following[ends] = chance.normal(size=(int(ends.sum()), SIZES[0]))
    actions = chance.uniform(-1, 1, (count, SIZES[1])).astype(np.float32)
    rewards = chance.normal(size=count).astype(np.float32)
    timeouts = ends & (np.arange(count) // episode % 2 == 0)
    return ReplayRows(first_row, observations, following, actions, rewards, ends, timeouts)


def arrays(rows: ReplayRows) -> list[bytes]:
    names = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
    return [getattr(rows, name).tobytes() for name in names]


@settings(max_examples=40)
@given(count=st.integers(0, 60), first_row=st.integers(0, 2**40), episode=st.integers(1, 20), cuts=st.data())
def test_rows_survive_being_cut_encoded_decoded_and_joined(
    count: int, first_row: int, episode: int, cuts: st.DataObject
) -> None:
    rows = some_rows(count, first_row, episode)
    at = sorted(cuts.draw(st.lists(st.integers(first_row, first_row + count), max_size=4)))
    bounds = [first_row, *at, first_row + count]
    parts = [rows.slice(a, b).encode() for a, b in pairwise(bounds)]
    again = ReplayRows.concatenate([ReplayRows.decode(part, SIZES) for part in parts])
    assert (again.first_row, again.stop_row) == (rows.first_row, rows.stop_row)
    assert arrays(again) == arrays(rows)
    assert again.encode() == rows.encode()


def test_bits_that_compare_equal_are_told_apart() -> None:
    rows = some_rows(3)
    rows.observations[1, 0], rows.next_observations[0, 0] = 0.0, -0.0
    again = ReplayRows.decode(rows.encode(), SIZES)
    assert np.signbit(again.next_observations[0, 0])


def test_a_row_of_lunar_lander_takes_at_most_48_bytes() -> None:
    assert len(some_rows(8192, episode=100).encode()) <= 48 * 8192


def test_rows_that_are_not_there_cannot_be_cut_out_nor_gaps_joined() -> None:
    rows = some_rows(10, first_row=100)
    for start, stop in ((99, 105), (100, 111), (106, 105)):
        with pytest.raises(ValueError, match="not within"):
            rows.slice(start, stop)
    with pytest.raises(ValueError, match="missing or twice"):
        ReplayRows.concatenate([rows.slice(100, 103), rows.slice(104, 110)])
    with pytest.raises(ValueError, match="missing or twice"):
        ReplayRows.concatenate([rows.slice(100, 103), rows.slice(102, 110)])


def put(name: str, value: Any, index: Any = 0) -> Any:
    def tamper(content: dict[str, Array]) -> None:
        content[name] = content[name].copy()
        content[name][index] = value

    return tamper


def replaced(name: str, value: Array) -> Any:
    return lambda content: content.update({name: value})


TAMPERED = {
    "an observation is NaN": put("observations", np.nan),
    "a reward is infinite": put("rewards", np.inf),
    "an action out of bounds": put("actions", -1.5),
    "an unknown flag": put("flags", 4),
    "a time limit without an end": put("flags", 2),
    "a next row twice": put("next_rows", 6, 1),
    "a next row before the first": put("next_rows", -1),
    "a last row without a next observation": put("next_rows", 8, -1),
    "double precision": replaced("rewards", np.zeros(10)),
    "too few rewards": replaced("rewards", np.zeros(9, dtype=np.float32)),
    "other sizes": replaced("actions", np.zeros((10, 3), dtype=np.float32)),
    "something else": replaced("code", np.zeros(3)),
    "nothing where the rewards were": lambda content: content.pop("rewards"),
    "a head that is not JSON": replaced("head", np.frombuffer(b"{", dtype=np.uint8)),
    "a head that is deep": replaced("head", np.frombuffer(b"[" * 100_000, dtype=np.uint8)),
    "a head of another version": replaced("head", np.frombuffer(b'{"version":2,"first_row":0,"rows":10}', np.uint8)),
    "a head of fewer rows": replaced("head", np.frombuffer(b'{"version":1,"first_row":0,"rows":9}', np.uint8)),
    "a negative row": replaced("head", np.frombuffer(b'{"version":1,"first_row":-1,"rows":10}', np.uint8)),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_bytes_that_encode_did_not_write_are_a_corrupt_checkpoint(what: str) -> None:
    content = safetensors.numpy.load(some_rows(10).encode())
    TAMPERED[what](content)
    with pytest.raises(CheckpointCorrupt):
        ReplayRows.decode(safetensors.numpy.save(content), SIZES)


@pytest.mark.parametrize("body", [b"", b"\x80\x04K\x01.", b"\xff" * 100, b"PK\x03\x04" + bytes(60)])
def test_bytes_that_are_no_safetensors_are_a_corrupt_checkpoint(body: bytes) -> None:
    with pytest.raises(CheckpointCorrupt, match="not safetensors"):
        ReplayRows.decode(body, SIZES)
    with pytest.raises(CheckpointCorrupt, match="not safetensors"):
        ReplayRows.decode(some_rows(10).encode()[:-5], SIZES)
