"""The mutants of row 10 are real, and one is killed here; `make mutants` kills them all."""

import pytest

from tests.proof.broken_lines import MUTANTS, Mutant
from tests.proof.mutants import occurrences
from tests.proof.records import ROOT
from tests.proof.row import told
from tests.proof.rows import mutants


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_changes_one_place_and_names_tests_that_are_there(mutant: Mutant) -> None:
    assert occurrences(mutant) == 1
    assert mutant.before != mutant.after
    assert mutant.tests
    assert all((ROOT / test).is_file() for test in mutant.tests)


def test_there_are_thirty_and_no_name_twice() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 30


def test_a_mutant_is_killed() -> None:
    found = mutants.run("small", told)
    assert list(found.failures) == []
    assert found.trials == 1
