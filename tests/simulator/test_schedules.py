"""No schedule of crashes, outages, evictions and users breaks a rule of docs/protocol.md."""

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proof.row import told
from tests.proof.rows.simulator import SMALL, run
from tests.simulator.__main__ import history
from tests.simulator.scenario import Mishap, Scenario, draw
from tests.simulator.world import play

T = TypeVar("T")


def test_no_seeded_schedule_breaks_a_rule() -> None:
    found = run("small", told)
    assert list(found.failures) == []
    assert found.trials == SMALL


class DrawnChooser:
    """Choices of hypothesis."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def integer(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))

    def item(self, items: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(items))


@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_drawn_schedule_breaks_a_rule(data: st.DataObject) -> None:
    scenario = draw(DrawnChooser(data))
    assert list(play(scenario).broken) == [], scenario.told()


def test_a_scenario_gives_the_same_history_each_time() -> None:
    mishaps = (Mishap(5.0, "evict with notice"), Mishap(9.0, "outage", seconds=6.0), Mishap(12.0, "kill laptop"))
    scenario = Scenario("fleet", jobs=3, machines=2, noise=7, loss=0.1, mishaps=mishaps)
    first, second = (list(history(play(scenario))) for _ in range(2))
    assert first == second
    assert any("job.ended" in line for line in first)
