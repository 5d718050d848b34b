"""The protocol's models hold as far as the small ones go, and none of the rules can be done without."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.proof.model.engine import Hole, Move, explore
from tests.proof.model.sizes import MODELS
from tests.proof.rows.model import TAKEN_AWAY


@pytest.mark.parametrize("name", MODELS["small"])
def test_every_state_is_safe_and_leads_to_the_end(name: str) -> None:
    explored = explore(MODELS["small"][name])
    assert explored.complete
    assert explored.hole is None, str(explored.hole)


@pytest.mark.parametrize("rule", TAKEN_AWAY)
def test_without_this_rule_there_is_a_hole(rule: str) -> None:
    hole = explore(TAKEN_AWAY[rule]).hole
    assert hole is not None
    assert hole.what


# ---- the engine itself -----------------------------------------------------------------------------------------------


class Place(NamedTuple):
    """Where a walker is."""

    x: int
    y: int


class Walk:
    """Walks right and up on a small grid; falls by fault into a pit at one place, if there is one."""

    def __init__(self, *, pit: bool = False, bad: Place | None = None, way_out: bool = False) -> None:
        self.pit, self.bad, self.way_out = pit, bad, way_out

    def start(self) -> Place:
        return Place(0, 0)

    def settled(self, place: Place) -> bool:
        return place == Place(3, 3)

    def moves(self, place: Place) -> Iterator[Move[Place]]:
        if place == Place(-1, -1):
            if self.way_out:
                yield Move("climbs out", Place(0, 0))
            return
        for label, after in (("right", Place(place.x + 1, place.y)), ("up", Place(place.x, place.y + 1))):
            if after.x <= 3 and after.y <= 3:
                yield Move(label, after, wrong="trod on the grass" if after == self.bad else "")
        if self.pit and place == Place(1, 1):
            yield Move("falls", Place(-1, -1), fault=True)


def test_all_states_and_moves_are_counted_and_a_good_model_has_no_hole() -> None:
    explored = explore(Walk())
    assert (explored.states, explored.moves, explored.depth) == (16, 24, 6)
    assert explored.complete
    assert explored.hole is None


def test_a_broken_promise_is_found_by_the_shortest_way() -> None:
    explored = explore(Walk(bad=Place(2, 1)))
    assert explored.hole is not None
    assert explored.hole.what == "trod on the grass"
    assert sorted(explored.hole.trace) == ["right", "right", "up"]
    assert "1. " in str(explored.hole)


def test_a_state_from_which_nothing_leads_on_is_found_and_a_way_out_mends_it() -> None:
    hole = explore(Walk(pit=True)).hole
    assert isinstance(hole, Hole)
    assert hole.trace[-1] == "falls"
    assert len(hole.trace) == 3
    assert explore(Walk(pit=True, way_out=True)).hole is None


class Line:
    """Counts for ever."""

    def start(self) -> int:
        return 0

    def settled(self, number: int) -> bool:
        return False

    def moves(self, number: int) -> Iterator[Move[int]]:
        yield Move("counts", number + 1)


def test_a_search_that_is_cut_short_says_so_and_judges_no_liveness() -> None:
    for explored in (explore(Line(), most_states=3000), explore(Line(), most_s=0.0)):
        assert not explored.complete
        assert explored.states > 1000
        assert explored.hole is None
