"""The simulator notices when a rule is broken in the code."""

import pytest

from tests.simulator.mutants import MUTANTS, first_found
from tests.simulator.scenario import at_every_request
from tests.simulator.world import play

SOME = 15
"""Of the schedules that are to notice a mutant, every so-manieth is played with the code as it is; the proof: all."""


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_noticed(name: str) -> None:
    assert first_found(name) is not None


@pytest.mark.parametrize("name", MUTANTS)
def test_the_schedules_that_notice_it_break_nothing_in_the_code_as_it_is(name: str) -> None:
    for scenario in MUTANTS[name].scenarios[::SOME]:
        assert list(play(scenario).broken) == [], scenario.told()


def test_a_holder_that_sleeps_at_any_request_harms_nothing() -> None:
    for scenario in at_every_request("sleep", 90)[::9]:
        assert list(play(scenario).broken) == [], scenario.told()
