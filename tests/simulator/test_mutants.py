"""The simulator notices when a rule is broken in the code."""

import pytest

from tests.simulator.mutants import MUTANTS, first_found
from tests.simulator.scenario import at_every_request
from tests.simulator.world import play

MOST = 3
"""What a schedule of its own finds is looked for here; longer searches are the proof's."""


@pytest.mark.parametrize("name", [name for name, mutant in MUTANTS.items() if len(mutant.scenarios) <= MOST])
def test_a_broken_rule_is_noticed(name: str) -> None:
    assert all(not play(scenario).broken for scenario in MUTANTS[name].scenarios)
    assert first_found(name) is not None


def test_a_holder_that_sleeps_at_any_request_harms_nothing() -> None:
    for scenario in at_every_request("sleep", 90)[::9]:
        assert list(play(scenario).broken) == [], scenario.told()
