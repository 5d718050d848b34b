"""No schedule of crashes, outages, evictions and users breaks a rule of docs/protocol.md."""

import pytest

from tests.simulator.__main__ import history, scenario_of
from tests.simulator.world import play

SEEDS = 40


@pytest.mark.parametrize("part", range(4))
def test_no_schedule_breaks_a_rule(part: int) -> None:
    broken = {seed: play(scenario_of(seed)).broken for seed in range(part, SEEDS, 4)}
    assert {seed: found for seed, found in broken.items() if found} == {}


def test_a_seed_gives_the_same_history_each_time() -> None:
    first, second = (list(history(play(scenario_of(11)))) for _ in range(2))
    assert first == second
    assert len(first) > 100
