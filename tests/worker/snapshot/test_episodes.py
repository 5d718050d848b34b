"""Claims about the episodes that are read off the replay rows."""

import numpy as np

from worker.snapshot.episodes import episodes_csv
from worker.snapshot.replay_rows import ReplayRows


def rows(rewards: list[float], ends: list[int], first_row: int = 0) -> ReplayRows:
    n = len(rewards)
    dones = np.isin(np.arange(n), ends)
    nothing = np.zeros((n, 1), dtype=np.float32)
    return ReplayRows(first_row, nothing, nothing, nothing, np.array(rewards, dtype=np.float32), dones, dones)


def test_every_episode_has_its_last_step_its_return_and_its_length() -> None:
    text = episodes_csv(rows([1, 2, 3, 4, 5, 6], ends=[1, 4])).decode()
    assert text == "step,return,length\n2,3.000000,2\n5,12.000000,3\n"


def test_an_episode_whose_beginning_was_overwritten_is_left_out() -> None:
    text = episodes_csv(rows([1, 2, 3, 4, 5, 6], ends=[1, 4], first_row=10)).decode()
    assert text == "step,return,length\n15,12.000000,3\n"


def test_a_run_that_ended_no_episode_has_none() -> None:
    assert episodes_csv(rows([1, 2], ends=[])) == b"step,return,length\n"
    assert episodes_csv(rows([], ends=[])) == b"step,return,length\n"
    assert episodes_csv(rows([1, 2], ends=[], first_row=7)) == b"step,return,length\n"
