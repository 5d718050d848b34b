"""Claims about fresh seeds: they alone make a winner, and only when all of them have ended."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from producer.results.answers import leaders
from producer.results.best import best_config
from producer.results.leaderboard import Leaderboard, leaderboards
from producer.results.progress import JobProgress, SweepProgress
from producer.results.ranking_table import board_document, ranking, run_rows
from producer.results.statistics import all_pairs
from producer.sweep.confirm import with_fresh_seeds
from tests.fakes.sweeps import COMMON, episodes, make_plan
from worker.contract.errors import InputError
from worker.contract.score import summarise

CHOSEN: Mapping[float, Sequence[float]] = {0.01: (180, 221, 235), 0.02: (170, 215, 190), 0.03: (100, 110, 120)}
CLEAR = {0: (230, 232, 228, 231, 229), 1: (200, 202, 198, 201, 199)}
CLOSE = {0: (230, 190, 210, 250, 170), 1: (228, 191, 205, 255, 171)}
NO_RESULT = float("nan")


def sweep(fresh: Mapping[int, Sequence[float]], running: int = 0) -> SweepProgress:
    """Return a finished sweep whose sets in `fresh` have these scores on fresh seeds; NaN = failed."""
    plan = make_plan([{"tau": tau} for tau in CHOSEN], range(3))
    if fresh:
        plan = with_fresh_seeds(plan, sorted(fresh), max(map(len, fresh.values())) + running)
    jobs = []
    for planned in plan.jobs:
        scores = fresh[planned.set] if planned.fresh else list(CHOSEN.values())[planned.set]
        place = planned.seed % 1000
        job = JobProgress(planned.id, planned.set, planned.seed, 200_000, fresh=planned.fresh)
        if place < len(scores) and scores[place] == scores[place]:
            score = summarise(episodes(scores[place]), [300] * 100, 200.0)
            job = replace(job, state="done", score=score, releases=("r1",))
        elif place < len(scores):
            job = replace(job, state="failed")
        jobs.append(job)
    return SweepProgress(plan, tuple(jobs))


def board(fresh: Mapping[int, Sequence[float]], running: int = 0) -> Leaderboard:
    (found,) = leaderboards([sweep(fresh, running)])
    return found


def text(found: Leaderboard) -> str:
    console = Console(width=80, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(ranking(found, 20))
    return capture.get()


def said(found: Leaderboard) -> str:
    assert found.confirmation is not None
    return found.confirmation.sentence


def test_fresh_seeds_change_nothing_in_the_ranking_that_chose_them() -> None:
    before, after = board({}), board({0: (0,) * 5, 1: (0,) * 5})
    assert [one.entrant.scores for one in after.standings] == [one.entrant.scores for one in before.standings]
    assert [one.p for one in after.standings] == [one.p for one in before.standings]
    assert after.warnings == before.warnings


def test_without_fresh_seeds_nobody_is_called_the_winner() -> None:
    found = board({})
    assert found.confirmation is None
    assert "winner" not in text(found).lower()
    assert found.sentence.endswith("not confirmed on fresh seeds.")


def test_a_set_separated_from_all_others_on_fresh_seeds_is_the_winner() -> None:
    found = board(CLEAR)
    assert said(found) == (
        "Winner: tau=0.01 with 230 (95 % t interval 228 to 232; 5 seeds) on fresh seeds, "
        "separated from 1 other set tried there."
    )
    assert found.sentence.endswith("and the winner on fresh seeds.")
    assert "On fresh seeds" in text(found)


def test_the_winner_need_not_be_the_leader() -> None:
    found = board({0: CLEAR[1], 1: CLEAR[0]})
    assert found.sentence.endswith("but on fresh seeds tau=0.02 is the winner.")
    assert "fixed: {tau: 0.02}" in best_config(found, "lunar", COMMON.model_copy(update={"hyperparameters": tau(0.02)}))


def tau(value: float) -> object:
    return COMMON.hyperparameters.model_copy(update={"tau": value})


def test_sets_that_fresh_seeds_do_not_separate_have_no_winner() -> None:
    found = board(CLOSE)
    assert "No winner: on fresh seeds tau=0.01 has 210 (" in said(found)
    assert said(found).endswith("not separated from tau=0.02.")
    assert found.sentence.endswith("no winner on fresh seeds.")
    assert "Winner" not in text(found)


def test_there_is_no_winner_before_all_fresh_runs_have_ended() -> None:
    found = board(CLEAR, running=1)
    assert said(found) == (
        "Confirmation under way: 10 of 12 runs on fresh seeds have ended. There is no winner before all have."
    )
    assert found.sentence.endswith("10 of 12 runs on fresh seeds have ended.")


def test_too_few_finished_runs_make_no_winner() -> None:
    found = board({0: CLEAR[0], 1: (*CLEAR[1][:4], NO_RESULT)})
    assert said(found) == "No winner: tau=0.02 has 4 finished runs on fresh seeds, and it takes 5."


def test_a_set_that_failed_on_every_fresh_seed_is_not_beaten_but_untried() -> None:
    found = board({**CLEAR, 2: (NO_RESULT,) * 5})
    assert said(found) == "No winner: tau=0.03 has 0 finished runs on fresh seeds, and it takes 5."
    assert found.sentence.endswith("no winner on fresh seeds.")


def test_one_set_alone_beats_nobody() -> None:
    assert said(board({0: CLEAR[0]})).startswith("Fewer than two sets")


def test_every_pair_counts_in_the_correction_since_the_best_of_them_is_selected_again() -> None:
    sets = ((1.0, 2.0, 3.0), (2.0, 3.0, 5.0), (9.0, 8.0, 7.5))
    corrected, raw = all_pairs(sets), [all_pairs((sets[i], sets[j]))[0, 1] for i, j in ((0, 1), (0, 2), (1, 2))]
    smallest = min(p for p in raw if p is not None)
    assert list(corrected) == [(0, 1), (0, 2), (1, 2)]
    assert min(p for p in corrected.values() if p is not None) == pytest.approx(3 * smallest)


def test_programs_get_the_confirmation_and_every_fresh_run() -> None:
    found = board(CLEAR)
    document = board_document(found)["confirmation"]
    assert document["winner"] == {"sweep": "lunar", "set": 0, "label": "tau=0.01"}
    assert [len(one["runs"]) for one in document["standings"]] == [5, 5]
    assert board_document(board({}))["confirmation"] is None
    rows = list(run_rows([found]))
    assert sum(row["fresh"] for row in rows) == 10
    assert len(rows) == 19


def test_the_leaders_are_taken_from_the_ranking_when_it_stands() -> None:
    assert [one.label for one in leaders(sweep({}), 2)] == ["tau=0.01", "tau=0.02"]
    assert [one.label for one in leaders(sweep(CLEAR, running=2), 2)] == ["tau=0.01", "tau=0.02"]
    waiting = sweep({})
    waiting = replace(waiting, jobs=(replace(waiting.jobs[0], state="running"), *waiting.jobs[1:]))
    with pytest.raises(InputError, match="1 job has not ended, and the leaders of lunar"):
        leaders(waiting, 2)


def test_a_single_set_has_nothing_to_confirm() -> None:
    plan = make_plan([{"tau": 0.01}], range(1))
    score = summarise([1.0], [3], 200.0)
    job = JobProgress(plan.jobs[0].id, 0, 0, 200_000, "done", score=score)
    with pytest.raises(InputError, match="nothing to confirm"):
        leaders(SweepProgress(plan, (job,)), 3)
