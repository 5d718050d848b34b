"""A plan says every job of a sweep again."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.fakes.plans import jobs_of
from worker.contract.base import Frozen
from worker.contract.job import Configuration, EnvironmentSpec, Job, job_id
from worker.contract.plan import MAX_JOBS, Plan, PlannedJob, PlannedSet, resolve

COMMON = Configuration(environment=EnvironmentSpec(id="LunarLanderContinuous-v3"), timesteps=1000, trainer="sb3")


def plan(**more: Any) -> Plan:
    sets = (PlannedSet(differs={"tau": 0.01}, baseline=True), PlannedSet(differs={"tau": 0.02}))
    jobs = tuple(
        PlannedJob(id=job_id(resolve(COMMON, one.differs), seed), set=number, seed=seed)
        for number, one in enumerate(sets)
        for seed in (0, 1)
    )
    return Plan(sweep="lunar", common=COMMON, sets=sets, jobs=jobs, **more)


def test_a_plan_comes_back_from_its_own_json() -> None:
    found = plan(source="name: lunar # ü\n", budget_usd=3.5)
    assert Plan.model_validate_json(found.canonical()) == found


def test_a_plan_says_its_jobs_again_in_order() -> None:
    found = plan()
    assert [(job.id, job.seed, job.configuration.hyperparameters.tau) for job in jobs_of(found)] == [
        (planned.id, seed, tau)
        for planned, (tau, seed) in zip(found.jobs, [(0.01, 0), (0.01, 1), (0.02, 0), (0.02, 1)], strict=True)
    ]
    assert found.by_id[found.jobs[2].id] is found.jobs[2]


@pytest.mark.parametrize(
    ("differs", "path", "value"),
    [
        ({"tau": 0.5}, ("hyperparameters", "tau"), 0.5),
        ({"policy_kwargs.net_arch": [8]}, ("hyperparameters", "policy_kwargs", "net_arch"), (8,)),
        ({"env.kwargs.wind_power": 5}, ("environment", "kwargs"), {"wind_power": 5.0}),
        ({"env.kwargs": {"gravity": -5}}, ("environment", "kwargs"), {"gravity": -5.0}),
        ({"timesteps": 7}, ("timesteps",), 7),
        ({"evaluation.every": 200}, ("evaluation", "every"), 200),
        ({"trainer": "fast"}, ("trainer",), "fast"),
    ],
)
def test_a_dotted_key_lands_where_the_sweep_file_means_it(
    differs: dict[str, Any], path: tuple[str, ...], value: object
) -> None:
    found: Any = resolve(COMMON, differs)
    for part in path:
        found = getattr(found, part) if isinstance(found, Frozen) else found[part]
    assert found == value


@pytest.mark.parametrize("differs", [{"tau": 2}, {"env.id": "CartPole-v1"}, {"unknown": 1}, {"evaluation.never": 1}])
def test_what_resolves_to_no_configuration_is_refused(differs: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        resolve(COMMON, differs)


def test_resolving_leaves_the_common_configuration_as_it_is() -> None:
    before = COMMON.canonical()
    resolve(COMMON, {"tau": 0.5, "env.kwargs.wind_power": 5})
    assert COMMON.canonical() == before


def test_a_plan_has_at_most_ten_thousand_jobs() -> None:
    job = Job.of("lunar", COMMON, 0)
    with pytest.raises(ValidationError, match="at most 10000"):
        Plan(
            sweep="lunar",
            common=COMMON,
            sets=(PlannedSet(differs={}),),
            jobs=(PlannedJob(id=job.id, set=0, seed=0),) * (MAX_JOBS + 1),
        )
