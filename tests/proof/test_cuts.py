"""A job that is cut anywhere and resumed in new processes is the job that was never cut, bit for bit (row 7)."""

from pathlib import Path

import pytest

from tests.proof.rows import ablation, cuts


@pytest.mark.parametrize("name", cuts.JOBS)
def test_a_run_that_is_cut_and_resumed_in_new_processes_is_the_run_that_was_not(name: str, tmp_path: Path) -> None:
    found = cuts.cut(name, cuts.CUTS["small"][name], tmp_path)
    assert list(found.failures) == []
    assert int(found.figures["processes that died for nothing"]) > 0


def test_leaving_out_any_item_of_the_state_is_seen(tmp_path: Path) -> None:
    found = ablation.ablate(tmp_path)
    assert list(found.failures) == []
    assert found.trials >= ablation.ITEMS
