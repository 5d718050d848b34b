"""Claims about rankings: what is ranked with what, and what the words say."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from producer.results.leaderboard import Leaderboard, environment_label, leaderboards, selection, separation
from producer.results.progress import JobProgress, SweepProgress
from producer.results.ranking_table import ranking, run_rows, to_csv
from tests.fakes.sweeps import COMMON, episodes, make_plan
from worker.contract.score import summarise

Scores = Mapping[float, Sequence[float]]
"""tau → the score of each seed."""


def finished(scores: Scores, name: str = "lunar", **common: Any) -> SweepProgress:
    """Return a sweep over tau whose runs have these scores."""
    seeds = max(map(len, scores.values()))
    plan = make_plan([{"tau": tau} for tau in scores], range(seeds), name, COMMON.model_copy(update=common))
    lists = list(scores.values())
    jobs = []
    for planned in plan.jobs:
        job = JobProgress(planned.id, planned.set, planned.seed, plan.common.timesteps)
        runs = lists[planned.set]
        if planned.seed < len(runs):
            score = summarise(episodes(runs[planned.seed]), [300] * 100, 200.0)
            job = replace(job, state="done", score=score, attempts=1, releases=("0.1.0-aaa",))
        jobs.append(job)
    return SweepProgress(plan, tuple(jobs))


def board(scores: Scores, **common: Any) -> Leaderboard:
    (found,) = leaderboards([finished(scores, **common)])
    return found


def text(found: Leaderboard, width: int = 80, top: int = 20) -> str:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(ranking(found, top))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def test_the_sentence_of_a_sweep_with_three_seeds() -> None:
    scores = {
        0.01: (180, 221, 235),
        0.02: (190, 200, 190),
        0.03: (170, 215, 190),
        0.04: (210, 160, 150),
        0.05: (150, 200, 168),
    }
    assert board(scores).sentence == (
        "tau=0.01 leads with 212 (180, 221, 235; 3 seeds); not separated from 4 others; not confirmed on fresh seeds."
    )


def test_from_five_seeds_the_sentence_has_an_interval_instead_of_every_seed() -> None:
    found = board({0.01: (200, 210, 220, 230, 240), 0.02: (0, 10, 20, 30, 40)})
    assert found.sentence == (
        "tau=0.01 leads with 220 (95 % t interval 200 to 240; 5 seeds); "
        "separated from every other set (exploratory: the leader was selected); not confirmed on fresh seeds."
    )


def test_one_seed_a_set_separates_nothing_and_says_so() -> None:
    found = board({0.01: (212,), 0.02: (100,)})
    assert found.sentence == (
        "tau=0.01 leads with 212 (1 seed); one seed a set says nothing of the spread, so nothing is separated; "
        "not confirmed on fresh seeds."
    )
    assert found.leader.rank_one_share is None
    assert separation(found).startswith("With one seed a set, nobody can say")


@pytest.mark.parametrize(
    ("scores", "why"),
    [
        ({0.01: (250.0,) * 3, 0.02: (240.0,) * 3}, "no set has any spread between seeds"),
        ({0.01: (250.0,), 0.02: (240.0, 230.0, 220.0)}, "one seed of the leader says nothing of its spread"),
    ],
)
def test_why_nothing_is_separated_is_said_as_it_is(scores: dict[float, tuple[float, ...]], why: str) -> None:
    assert f"; {why}, so nothing is separated; " in board(scores).sentence


def test_a_single_set_leads_nobody() -> None:
    assert board({0.01: (200, 210)}).sentence == "tau=0.01 is the only set with results: 205 (200, 210; 2 seeds)."


def test_no_words_claim_a_winner() -> None:
    found = board({0.01: (300, 301, 302, 303, 304), 0.02: (0, 1, 2, 3, 4)})
    assert "winner" not in text(found).lower()


def test_ranks_follow_the_mean_over_seeds_and_not_the_best_seed() -> None:
    found = board({0.01: (290, 100, 100), 0.02: (170, 180, 190)})
    assert [standing.entrant.label for standing in found.standings] == ["tau=0.02", "tau=0.01"]
    assert [standing.entrant.worst for standing in found.standings] == pytest.approx([170, 100])


def test_the_tests_against_the_leader_are_corrected_for_their_number() -> None:
    two = board({0.01: (200, 210, 220), 0.02: (150, 160, 185)})
    three = board({0.01: (200, 210, 220), 0.02: (150, 160, 185), 0.03: (150, 160, 184)})
    assert two.leader.p is None
    one_test, *_ = (standing.p for standing in two.standings[1:])
    first, second = (standing.p for standing in three.standings[1:])
    assert one_test is not None
    assert first is not None
    assert second is not None
    assert max(first, second) >= one_test
    assert min(first, second) > one_test


def test_sets_in_different_environments_are_never_ranked_together() -> None:
    plan = make_plan([{"env.kwargs.gravity": -10.0}, {"env.kwargs.gravity": -5.0}, {"tau": 0.1}], [0])
    score = summarise(episodes(100.0), [300] * 100, 200.0)
    jobs = tuple(JobProgress(job.id, job.set, job.seed, 200_000, "done", score=score) for job in plan.jobs)
    found = leaderboards([SweepProgress(plan, jobs)])
    assert [environment_label(one.environment) for one in found] == [
        "LunarLanderContinuous-v3(gravity=-10.0)",
        "LunarLanderContinuous-v3(gravity=-5.0)",
        "LunarLanderContinuous-v3",
    ]
    assert [len(one.standings) for one in found] == [1, 1, 1]


def test_two_sweeps_are_ranked_together_under_their_names() -> None:
    found = leaderboards([finished({0.01: (200, 210)}, "a"), finished({0.01: (100, 110)}, "b")])
    assert len(found) == 1
    assert [standing.entrant.label for standing in found[0].standings] == ["a: tau=0.01", "b: tau=0.01"]


def test_a_sweep_without_a_finished_run_has_no_ranking() -> None:
    plan = make_plan([{"tau": 0.01}], [0, 1])
    waiting = tuple(JobProgress(job.id, job.set, job.seed, 200_000) for job in plan.jobs)
    assert leaderboards([SweepProgress(plan, waiting)]) == ()


def test_runs_too_short_to_learn_anything_are_called_that() -> None:
    found = board({0.01: (-150, -140), 0.02: (-200, -210)}, timesteps=5_000)
    (warning,) = found.warnings
    assert warning == (
        "No set has learned the task in 5,000 steps: the best mean return is −145, a success is 200 or more. "
        "The order says little of longer runs."
    )


def test_a_leader_that_lands_draws_no_such_warning() -> None:
    assert board({0.01: (230, 240), 0.02: (100, 90)}).warnings == ()


def test_missing_seeds_and_sets_without_a_result_are_named() -> None:
    found = board({0.01: (230, 240, 250), 0.02: (220,), 0.03: ()})
    assert found.warnings == (
        "Not every run has a result: 1 set lacks seeds and 1 set has none. The order may change.",
    )


def changed(sweep: SweepProgress, **values: Any) -> SweepProgress:
    first, *rest = sweep.jobs
    return replace(sweep, jobs=(replace(first, **values), *rest))


def test_results_that_mix_releases_are_flagged() -> None:
    (found,) = leaderboards([changed(finished({0.01: (230, 240)}), releases=("0.1.0-bbb",))])
    assert found.warnings == (
        "The runs were made by 2 releases (0.1.0-aaa, 0.1.0-bbb): differences may be the code's.",
    )


def test_inexact_resumes_are_flagged() -> None:
    (found,) = leaderboards([changed(finished({0.01: (230, 240)}), exact=False)])
    assert found.warnings == ("1 run resumed on another kind of machine, so not bit by bit what one machine makes.",)


def test_results_that_mix_trainers_lengths_and_evaluations_are_flagged() -> None:
    shorter = COMMON.evaluation.model_copy(update={"final_episodes": 10})
    found = leaderboards(
        [
            finished({0.01: (230, 240)}, "a"),
            finished({0.01: (220, 230)}, "b", trainer="sb3", timesteps=100_000, evaluation=shorter),
        ]
    )[0]
    assert found.warnings == (
        "The runs were made by different trainers (fast, sb3).",
        "Final models were evaluated on 10 or 100 held-out episodes.",
        "Sets were trained for different lengths, 100,000 to 200,000 steps.",
    )


def test_close_sets_would_need_too_many_seeds_and_count_as_tied() -> None:
    found = board({0.01: (180, 221, 235), 0.02: (181, 220, 232)})
    assert separation(found) == ("More than 50 seeds a set would be needed to separate the first two: treat as tied.")


def test_distant_sets_say_how_many_seeds_would_do() -> None:
    found = board({0.01: (200, 210, 220), 0.02: (180, 190, 200)})
    assert separation(found) == "About 6 seeds a set would separate the first two, if their difference is real."


def test_the_best_of_many_equal_sets_is_said_to_look_too_good() -> None:
    # 20 sets of 4 runs with a standard deviation of 10: 1.87 × 10 / √4.
    spread = (100 - 10 * 0.75**0.5, 100 - 10 * 0.75**0.5, 100 + 10 * 0.75**0.5, 100 + 10 * 0.75**0.5)
    found = board({0.001 * (1 + index): spread for index in range(20)})
    assert selection(found) == (
        "Of 20 equally good sets, the best would look 1.9 standard errors (9) better than it is."
    )


def test_the_table_at_80_columns() -> None:
    found = board({0.01: (180, 221, 235), 0.02: (150, 170, 168), 0.03: (120, 131)})
    assert (
        text(found)
        == """\
LunarLanderContinuous-v3
! Not every run has a result: 1 set lacks seeds. The order may change.

# SET                          MEAN EVERY SEED         WORST ≥200 5 %    P LEADS
1 tau=0.01                      212 180 221 235          180 67 % 185      100 %
2 tau=0.02                      163 150 170 168          150  0 % 136 .081   0 %
3 tau=0.03                      126 120 131 (of 3)       120  0 %  98 .052   0 %

tau=0.01 leads with 212 (180, 221, 235; 3 seeds); not separated from 2 others;
not confirmed on fresh seeds.
About 5 seeds a set would separate the first two, if their difference is real.
Of 3 equally good sets, the best would look 0.8 standard errors (9) better than
it is.
5 %: a twentieth of the held-out episodes ended below it (mean over runs).
P: Welch's t test against the leader, Holm-corrected over all sets; exploratory.
LEADS: how often a set leads when the seeds are drawn again (bootstrap)."""
    )


def test_a_long_ranking_is_cut_and_says_so() -> None:
    found = board({0.001 * (1 + index): (100 + index, 120 + index) for index in range(30)})
    shown = text(found, 120, top=5)
    assert "… and 25 more sets" in shown
    assert shown.count("tau=") == 6


def test_every_run_is_a_row_with_its_hyperparameters() -> None:
    rows = list(run_rows([board({0.01: (200, 210), 0.02: (100, 110)})]))
    assert [(row["tau"], row["seed"], row["rank"]) for row in rows] == [
        (0.01, 0, 1),
        (0.01, 1, 1),
        (0.02, 0, 2),
        (0.02, 1, 2),
    ]
    assert [row["mean"] for row in rows] == pytest.approx([200, 210, 100, 110])


def test_csv_has_a_column_for_every_key_of_any_row() -> None:
    assert to_csv([{"a": 1}, {"a": 2, "b": 3}]) == "a,b\n1,\n2,3\n"
