"""A sweep's plan: the one record of all its jobs, written before any message is sent."""

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import Field

from worker.contract.base import SCHEMA_VERSION, Frozen, JobId, SweepName
from worker.contract.job import Configuration, Job

MAX_JOBS = 10_000
MAX_PLAN_BYTES = 4_000_000


class PlannedSet(Frozen):
    """A hyperparameter set: what differs from the sweep's common configuration."""

    differs: Mapping[str, Any]
    """Dotted key of the sweep file → value; `tau`, `policy_kwargs.net_arch`, `env.kwargs.wind_power`, `timesteps`."""
    baseline: bool = False


class PlannedJob(Frozen):
    """A job: its set (index into `sets`) and its seed."""

    id: JobId
    set: Annotated[int, Field(ge=0)]
    seed: int
    fresh: bool = False
    """Added by `confirm`: its seed had no part in choosing the set, so a ranking leaves it out."""


class Plan(Frozen):
    """A whole sweep."""

    schema_version: Literal[1] = SCHEMA_VERSION
    sweep: SweepName
    enqueued_by: str = ""
    source: str = ""
    """The sweep file as it was written, so that a row can be reproduced."""
    common: Configuration
    sets: Annotated[tuple[PlannedSet, ...], Field(max_length=MAX_JOBS)]
    jobs: Annotated[tuple[PlannedJob, ...], Field(max_length=MAX_JOBS)]
    budget_usd: Annotated[float, Field(gt=0)] | None = None
    deleted: bool = False
    """A tombstone: the sweep is being deleted, and nothing may be added to it."""

    @cached_property
    def configurations(self) -> tuple[Configuration, ...]:
        """Return the resolved configuration of each set, in the order of `sets`."""
        return tuple(resolve(self.common, planned.differs) for planned in self.sets)

    @cached_property
    def by_id(self) -> Mapping[str, PlannedJob]:
        """Return the planned jobs by id."""
        return {planned.id: planned for planned in self.jobs}

    def job(self, planned: PlannedJob) -> Job:
        """Return the job that a planned job stands for."""
        return Job.of(self.sweep, self.configurations[planned.set], planned.seed)


def resolve(common: Configuration, differs: Mapping[str, Any]) -> Configuration:
    """Return `common` with the dotted keys of `differs` set."""
    content = common.model_dump(mode="json")
    for key, value in differs.items():
        place, leaf = _place(content, key)
        place[leaf] = value
    return Configuration.model_validate(content)


def _place(content: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """Find where a key of the sweep file lives in a configuration: `env.…` is `environment`, plain keys are SAC's."""
    path = key.split(".")
    if path[0] == "env":
        path[0] = "environment"
    elif path[0] not in Configuration.model_fields:
        path.insert(0, "hyperparameters")
    for part in path[:-1]:
        content = content[part]
    return content, path[-1]
