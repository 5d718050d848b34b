"""No schedule of crashes, outages, evictions and users breaks a rule of docs/protocol.md."""

from collections.abc import Sequence
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.proof.row import told
from tests.proof.rows.simulator import SMALL, run
from tests.simulator.__main__ import history
from tests.simulator.mutants import PAUSED
from tests.simulator.scenario import Mishap, Scenario, draw
from tests.simulator.world import DURATIONS, Outcome, play
from worker.liveness import Liveness

T = TypeVar("T")


def test_no_seeded_schedule_breaks_a_rule() -> None:
    found = run("small", told)
    assert list(found.failures) == []
    assert found.trials == SMALL


def test_a_pause_while_a_holder_stands_still_leaves_no_job_without_a_message() -> None:
    assert [scenario.told() for scenario in PAUSED if play(scenario).broken] == []


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


SLOW = Scenario("slots", timesteps=230, stride_s=3.0, mishaps=(Mishap(100.0, "kill slot"),))
"""A restore takes two strides and a final evaluation three: each is longer than the watchdog waits."""


def _kills(outcome: Outcome) -> list[str]:
    return [entry.what for entry in outcome.history if entry.what.startswith("is killed")]


def test_a_long_restore_and_a_long_final_evaluation_starve_no_watchdog() -> None:
    outcome = play(SLOW)
    assert list(outcome.broken) == []
    assert _kills(outcome) == ["is killed: signal KILL"]
    (claimed_s,) = [one.at_s for one in outcome.history if "job.claimed" in one.what and "attempt=2" in one.what]
    (resumed_s,) = [one.at_s for one in outcome.history if "job.resumed" in one.what]
    assert resumed_s - claimed_s > DURATIONS.watchdog_s
    assert 3 * SLOW.stride_s > DURATIONS.watchdog_s


def test_a_trainer_that_tells_of_no_progress_is_killed_by_its_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Liveness, "beat", lambda self: None)
    assert "is killed: watchdog ABRT" in _kills(play(SLOW))
