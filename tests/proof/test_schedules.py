"""Row 9 in small: a few schedules of each kind; and what a storm is made of."""

from collections import Counter

import pytest

from tests.proof.row import told
from tests.proof.rows.scale import ROW
from tests.proof.schedules import play


def test_a_few_schedules_of_every_kind_break_no_promise() -> None:
    found = ROW.run("small", told)
    assert found.failures == ()
    assert found.figures["PATCHes"]


@pytest.mark.parametrize("seed", [1, 3])
def test_a_seed_is_a_schedule(seed: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    first, again = (play(seed, tmp_path_factory.mktemp("schedule")) for _ in range(2))
    assert first == again
    assert first.counts != Counter()
