"""A sweep file becomes a plan: which sets, which jobs, under which ids."""

import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from producer.sweep.document import InvalidFile, parse_document
from producer.sweep.environment import CannotExamine, EnvironmentRefused, Examine, examine
from producer.sweep.planning import MAX_PROBED_VARIANTS, Planned, make_plan, plan_file
from producer.sweep.sweep_file import parse_sweep_file
from tests.fakes.plans import jobs_of
from worker.contract.base import Scalar
from worker.contract.environments import ProbeVerdict
from worker.contract.plan import Plan

EXAMPLES = Path(__file__).parents[3] / "examples"
TOP = "name: s\nenv: LunarLanderContinuous-v3\ntimesteps: 1000\nseeds: [0, 1]\n"
OTHER = TOP.replace("LunarLanderContinuous-v3", "MountainCarContinuous-v0")
VERDICT = ProbeVerdict(observation_size=2, action_size=1, max_episode_steps=999, episodes=20, exact=True)


def never(environment: str, kwargs: Mapping[str, Scalar], episodes: int | None) -> ProbeVerdict:
    raise AssertionError(f"{environment} is proven: nobody need look at it")


def planned(text: str, *, allow_unproven: bool = False, look: Examine = never) -> Planned:
    document = parse_document("s.yaml", text.encode())
    return make_plan(parse_sweep_file(document), document, allow_unproven=allow_unproven, look=look)


def plan(text: str) -> Plan:
    return planned(text).plan


def complaint(text: str, *, allow_unproven: bool = False, look: Examine = never) -> str:
    with pytest.raises(InvalidFile) as caught:
        planned(text, allow_unproven=allow_unproven, look=look)
    return str(caught.value)


@pytest.mark.parametrize(("name", "jobs"), [("demo", 4), ("lunar", 9)])
def test_the_examples_are_sweeps(name: str, jobs: int) -> None:
    found = plan_file(EXAMPLES / f"{name}.yaml", look=never)
    assert found.plan.sweep == name
    assert len(found.plan.jobs) == jobs
    assert not found.notes


def test_a_plan_says_every_job_again() -> None:
    found = plan(TOP + "search: {method: random, count: 3}\nspace: zoo\nbaseline: {tau: 0.01}\n")
    again = Plan.model_validate_json(found.canonical())
    assert again == found
    assert [job.id for job in jobs_of(again)] == [one.id for one in found.jobs]
    assert len({one.id for one in found.jobs}) == len(found.jobs) == 4 * 2
    assert found.source.startswith("name: s")


def test_without_a_search_there_is_one_set() -> None:
    assert [len(plan(TOP).sets), len(plan(TOP).jobs)] == [1, 2]


def test_an_id_does_not_depend_on_how_the_same_thing_is_written() -> None:
    one = plan(TOP + "fixed: {tau: 1, train_freq: [4, step], learning_rate: lin_7.3e-4}\n")
    two = plan(TOP + "fixed: {learning_rate: lin_0.00073, batch_size: 256, train_freq: 4, tau: 1.0}\n")
    assert one.jobs == two.jobs
    wind = "env: {id: LunarLanderContinuous-v3, kwargs: {wind_power: %s}}\n"
    top = TOP.replace("env: LunarLanderContinuous-v3\n", wind)
    assert plan(top % "5").jobs == plan(top % "5.0").jobs


def test_searching_a_value_or_fixing_it_gives_the_same_job() -> None:
    fixed = plan(TOP + "fixed: {tau: 0.02}\n")
    searched = plan(TOP + "search: {method: grid}\nspace: {tau: {choices: [0.02, 0.03]}}\n")
    assert fixed.by_id.keys() < searched.by_id.keys()


def test_raising_count_and_adding_seeds_keeps_the_jobs() -> None:
    text = TOP + "search: {method: random, count: %d}\nspace: {tau: {low: 0.001, high: 0.1}}\n"
    few, many = plan(text % 3), plan((text % 8).replace("[0, 1]", "[1, 2, 0]"))
    assert few.by_id.keys() < many.by_id.keys()


def test_the_budget_is_no_part_of_a_jobs_identity() -> None:
    assert plan(TOP).jobs == plan(TOP + "budget_usd: 3\n").jobs


def test_the_baseline_is_the_first_set_and_is_flagged() -> None:
    found = plan(TOP + "search: {method: grid}\nspace: {tau: {choices: [0.1, 0.2]}}\nbaseline: {tau: 0.01}\n")
    assert [(one.baseline, dict(one.differs)) for one in found.sets] == [
        (True, {"tau": 0.01}),
        (False, {"tau": 0.1}),
        (False, {"tau": 0.2}),
    ]


def test_every_set_names_every_searched_hyperparameter() -> None:
    text = "fixed: {gamma: 0.9}\nsearch: {method: list}\nspace: [{tau: 0.1}, {batch_size: 64}]\n"
    found = plan(TOP + text + "baseline: {learning_rate: 1e-3}\n")
    assert [dict(one.differs) for one in found.sets] == [
        {"learning_rate": 1e-3, "tau": 0.005, "batch_size": 256},
        {"learning_rate": 3e-4, "tau": 0.1, "batch_size": 256},
        {"learning_rate": 3e-4, "tau": 0.005, "batch_size": 64},
    ]
    assert [one.hyperparameters.gamma for one in found.configurations] == [0.9] * 3


def test_a_range_of_one_minus_gamma_gives_gammas() -> None:
    found = plan(
        TOP + "search: {method: random, count: 5}\nspace: {one_minus_gamma: {low: 1e-4, high: 0.03, log: true}}\n"
    )
    gammas = [one.hyperparameters.gamma for one in found.configurations]
    assert all(0.97 <= gamma < 1 for gamma in gammas)
    assert [one.differs["gamma"] for one in found.sets] == gammas


def test_equal_sets_count_once_and_that_is_said() -> None:
    found = planned(TOP + "search: {method: random, count: 50}\nspace: {batch_size: {choices: [64, 128]}}\n")
    assert len(found.plan.sets) == 2
    assert found.notes == ("48 of 50 sets are equal to an earlier one and count once.",)


def test_a_baseline_in_an_environment_of_its_own_is_said() -> None:
    found = planned(
        TOP + "search: {method: grid}\nspace: {env.kwargs.wind_power: {choices: [5]}}\nbaseline: {tau: 0.01}\n"
    )
    assert "is not ranked with the other sets" in found.notes[0]


def test_timesteps_and_environment_keywords_can_be_searched() -> None:
    text = (
        "search: {method: grid}\nspace: {timesteps: {choices: [500, 900]}, env.kwargs.gravity: {choices: [-5, -10]}}\n"
    )
    found = plan(TOP + text)
    assert [(one.timesteps, one.environment.kwargs) for one in found.configurations] == [
        (500, {"gravity": -5.0}),
        (500, {"gravity": -10.0}),
        (900, {"gravity": -5.0}),
        (900, {"gravity": -10.0}),
    ]


def test_what_is_fixed_may_make_sense_only_with_what_is_searched() -> None:
    """1,000 updates at once are too many with batches of 256, and fine with batches of 8."""
    found = plan(
        TOP + "fixed: {gradient_steps: 1000}\nsearch: {method: grid}\nspace: {batch_size: {choices: [8, 16]}}\n"
    )
    assert [one.hyperparameters.batch_size for one in found.configurations] == [8, 16]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "fixed: {gradient_steps: 10_000}\n",
            "line 5: fixed: with train_freq=1, gradient_steps=10000, batch_size=256, net_arch=[256, 256]: about",
        ),
        (
            "search: {method: grid}\nspace: {gradient_steps: {choices: [1, 10_000]}}\n",
            "s.yaml, line 6: space: with gradient_steps=10000: about",
        ),
        (
            "search: {method: list}\nspace:\n- {tau: 0.1}\n- {gradient_steps: 10_000}\n",
            "s.yaml, line 8: space[1]: with tau=0.005, gradient_steps=10000: about",
        ),
        (
            "search: {method: grid}\nspace: {tau: {choices: [0.1]}}\nbaseline: {gradient_steps: 10_000}\n",
            "baseline: with gradient_steps=10000, tau=0.005: about",
        ),
    ],
)
def test_a_job_that_an_eviction_notice_is_too_short_for_is_refused(text: str, words: str) -> None:
    message = complaint(TOP + text)
    assert words in message
    assert "too long for an eviction notice: lower gradient_steps, batch_size" in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "search: {method: random, count: 5001}\nspace: zoo\n",
            "line 5: search.count: 5,001 sets × 2 seeds are 10,002 jobs; a sweep has at most 10,000",
        ),
        (
            "search: {method: grid}\nspace: {buffer_size: {low: 1000, high: 2000000}, tau: {choices: [0.1, 0.2]}}\n",
            "space: 3,998,002 sets × 2 seeds are 7,996,004 jobs",
        ),
        (
            "search: {method: list}\nspace:\n" + "- {tau: 0.1}\n" * 5001,
            "space: 5,001 sets × 2 seeds are 10,002 jobs",
        ),
        (
            "search: {method: grid}\nspace: {tau: {low: 0.1, high: 0.2}}\n",
            "space.tau: a grid needs choices, or a range",
        ),
    ],
)
def test_too_many_jobs_are_refused_before_they_are_made(text: str, words: str) -> None:
    assert words in complaint(TOP + text)


def test_10001_seeds_are_10001_jobs() -> None:
    seeds = ", ".join(map(str, range(10_001)))
    assert "seeds: 1 set × 10,001 seeds are 10,001 jobs" in complaint(TOP.replace("0, 1", seeds))


def test_a_job_that_fits_into_no_message_is_refused() -> None:
    text = OTHER.replace(
        "MountainCarContinuous-v0", "{id: MountainCarContinuous-v0, kwargs: {map: %s}}" % ("x" * 16_000)
    )
    message = complaint(text, allow_unproven=True, look=lambda *_: VERDICT)
    assert "does not fit into a message (16000)" in message


# ---- environments that are not in the table ------------------------------------------------------------------------


def test_sets_that_end_before_they_learn_are_noted() -> None:
    text = "search: {method: grid}\nspace: {learning_starts: {choices: [999, 1000, 5000]}}\n"
    assert planned(TOP + text).notes == (
        "In 2 of 3 sets learning_starts is not below timesteps: nothing is trained there.",
    )
    assert len(planned(TOP.replace("1000", "100")).notes) == 1


WHOLE_EPISODES = "fixed: {train_freq: [1, episode], gradient_steps: -1}\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (WHOLE_EPISODES, "batch_size=256"),
        (
            WHOLE_EPISODES
            + "search: {method: random, count: 3}\nspace: {tau: {low: 0.01, high: 0.02}}\n"
            + "baseline: {tau: 0.01, batch_size: 256}\n",
            "batch_size=256",
        ),
        (WHOLE_EPISODES + "search: {method: grid}\nspace: {batch_size: {choices: [512, 256]}}\n", "batch_size=512"),
    ],
)
def test_what_no_set_makes_sense_of_is_blamed_on_what_is_fixed(text: str, words: str) -> None:
    message = complaint(TOP + text)
    assert message.startswith('s.yaml, line 5: fixed: with train_freq=[1, "episode"], gradient_steps=-1, batch_size=')
    assert f"{words}, net_arch=[256, 256]: about " in message
    assert "too long for an eviction notice" in message


def test_where_one_set_makes_sense_of_what_is_fixed_another_is_blamed_for_its_own() -> None:
    fixed = WHOLE_EPISODES + "search: {method: list}\n"
    assert complaint(TOP + fixed + "space: [{batch_size: 256}, {batch_size: 4}]\n").startswith(
        "s.yaml, line 7: space[0]: with batch_size=256: about "
    )
    assert len(plan(TOP + fixed + "space: [{batch_size: 4}, {batch_size: 8}]\n").sets) == 2


def test_an_unproven_environment_needs_the_persons_word() -> None:
    message = complaint(OTHER, look=lambda *_: VERDICT)
    assert message.startswith("s.yaml, line 2: env: MountainCarContinuous-v0 exists, but nobody has proven yet")
    assert "--allow-unproven" in message


def test_the_proof_travels_with_the_job() -> None:
    looked: list[int | None] = []

    def look(environment: str, kwargs: Mapping[str, Scalar], episodes: int | None) -> ProbeVerdict:
        looked.append(episodes)
        return VERDICT

    found = planned(OTHER, allow_unproven=True, look=look).plan
    assert looked == [None]
    assert jobs_of(found)[0].configuration.environment.probe == VERDICT


def test_an_environment_that_does_not_replay_is_refused() -> None:
    inexact = VERDICT.model_copy(update={"exact": False})
    message = complaint(OTHER, allow_unproven=True, look=lambda *_: inexact)
    assert "could not be resumed after an eviction" in message


def test_each_variant_of_an_unproven_environment_is_examined() -> None:
    seen: list[Mapping[str, Scalar]] = []

    def look(environment: str, kwargs: Mapping[str, Scalar], episodes: int | None) -> ProbeVerdict:
        seen.append(kwargs)
        return VERDICT

    text = OTHER + "search: {method: grid}\nspace: {env.kwargs.goal: {choices: [1, 2]}, tau: {choices: [0.1, 0.2]}}\n"
    planned(text, allow_unproven=True, look=look)
    assert seen == [{"goal": 1}, {"goal": 2}]
    many = text.replace("[1, 2]", str(list(range(MAX_PROBED_VARIANTS + 1))))
    assert "come in 17 variants" in complaint(many, allow_unproven=True, look=look)


def test_sets_with_other_sizes_do_not_fit_into_one_sweep() -> None:
    def look(environment: str, kwargs: Mapping[str, Scalar], episodes: int | None) -> ProbeVerdict:
        return VERDICT.model_copy(update={"observation_size": kwargs["size"]})

    text = OTHER + "search: {method: grid}\nspace: {env.kwargs.size: {choices: [3, 4]}}\n"
    assert "differ between the sets" in complaint(text, allow_unproven=True, look=look)


@pytest.mark.parametrize("reason", ["It has no actions.", "It has no actions", "Did you mean: `Ant`?"])
def test_a_refused_environment_is_told_with_its_reason_and_the_proven_ones(reason: str) -> None:
    def look(environment: str, kwargs: Mapping[str, Scalar], episodes: int | None) -> ProbeVerdict:
        raise EnvironmentRefused(reason)

    end = reason if reason.endswith("?") else f"{reason.rstrip('.')}."
    assert complaint(OTHER, look=look).endswith(
        f"MountainCarContinuous-v0 is not allowed: {end} Proven environments: LunarLanderContinuous-v3, Pendulum-v1."
    )


def test_where_nobody_can_look_that_is_said() -> None:
    def look(environment: str, kwargs: Mapping[str, Scalar], episodes: int | None) -> ProbeVerdict:
        raise CannotExamine("pip install 'tranquility[worker]'.")

    for allow in (False, True):
        message = complaint(OTHER, allow_unproven=allow, look=look)
        assert "is not one of the proven environments (LunarLanderContinuous-v3, Pendulum-v1)" in message
        assert "pip install 'tranquility[worker]'" in message


def looked_at(environment: str) -> ProbeVerdict | EnvironmentRefused:
    try:
        return examine(environment, {}, 1)
    except EnvironmentRefused as error:
        return error


def test_the_real_probe_tells_what_does_not_exist_what_is_discrete_and_what_is_exact() -> None:
    names = ("LunarLanderContinous-v3", "CartPole-v1", "MountainCarContinuous-v0")
    with ThreadPoolExecutor() as at_once:
        missing, discrete, exact = at_once.map(looked_at, names)
    assert isinstance(missing, EnvironmentRefused)
    assert missing.detail.startswith("The environment LunarLanderContinous-v3 cannot be made: ")
    assert isinstance(discrete, EnvironmentRefused)
    assert discrete.detail.startswith("CartPole-v1 has ")
    assert "iscrete" in discrete.detail
    assert isinstance(exact, ProbeVerdict)
    assert (exact.observation_size, exact.action_size, exact.exact) == (2, 1, True)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; sys.stderr.write('boom'); sys.exit(1)", "ended with 1: boom"),
        ("print('{}')", "printed no verdict"),
    ],
)
def test_a_probe_that_breaks_is_told_from_a_refusal(script: str, words: str) -> None:
    with pytest.raises(CannotExamine, match=words):
        examine("X-v0", {}, 1, (sys.executable, "-c", script))


def test_the_producer_loads_neither_torch_nor_gymnasium() -> None:
    heavy = "{'torch', 'gymnasium', 'stable_baselines3'} & {name.split('.')[0] for name in sys.modules}"
    script = f"import sys, producer.commands.sweep, producer.sweep.audit; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])
