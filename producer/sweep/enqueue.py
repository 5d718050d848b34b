"""Enqueue: the plan first, then the messages (rule 7).

It may be killed at any line and started again, and run on two laptops at once: what is planned stays planned, what is
recorded as sent is not sent again, and a message sent twice does no harm.
"""

import contextlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import ValidationError

from producer.session import Session
from producer.sweep.budget import settle_budget
from producer.sweep.parallel import Progress, silent
from producer.sweep.plans import all_terminal, job_statuses, reopen, reopened, write_plan
from producer.sweep.sending import SentRecords, due_jobs, send
from producer.words import plural
from worker.contract.base import canonical_json
from worker.contract.control import Hold, read_hold
from worker.contract.errors import ConditionFailed, InputError, StorageUnavailable
from worker.contract.job import Configuration
from worker.contract.plan import MAX_JOBS, MAX_PLAN_BYTES, Plan, PlannedJob, PlannedSet, resolve
from worker.contract.plans import StoredPlan, find_plan

PLAN_WRITES: Final = 10
"""So often in a row may somebody else change the plan before we give up."""

Confirm = Callable[[str], bool]
"""Asks the person; True = go on."""


class NotConfirmed(InputError):
    """The person said no."""


@dataclass(frozen=True)
class Enqueued:
    """What an enqueue found and did."""

    sweep: str
    jobs: int
    """Planned in all."""
    added: int
    """Planned by this call."""
    sent: int
    """Messages sent by this call."""
    ended: int
    """Jobs that had ended already."""
    unnamed: tuple[str, ...]
    """Jobs of the plan that the file no longer names."""
    hold: Hold | None
    """Why jobs of this sweep may not run."""
    lifted: bool = False
    """Whether a higher budget lifted the sweep's hold."""


@dataclass(frozen=True)
class Written:
    """A plan that was written, or that needed no change."""

    before: StoredPlan | None
    """As it was at the first look."""
    plan: Plan
    """As it stands now."""
    opened: str = ""
    """What `reopen` returned, where jobs were added."""


def enqueue(
    session: Session,
    wanted: Plan,
    confirm: Confirm,
    *,
    update: bool = False,
    progress: Progress = silent,
    file: str = "SWEEP.yaml",
) -> Enqueued:
    """Plan a sweep and send its jobs.

    Args:
        session: where to.
        wanted: the plan that the sweep file makes.
        confirm: asked before somebody else's sweep is changed.
        update: whether jobs may be added to a sweep that exists.
        progress: told of messages sent.
        file: the sweep file, for what a refusal says.

    Raises:
        InputError: the name is another sweep's, or that sweep is being deleted.
        NotConfirmed: the person does not want it.
        StorageError: the same command again goes on from here.
    """
    wanted = wanted.model_copy(update={"enqueued_by": session.user})

    def change(stored: Plan | None) -> Plan:
        return merged(stored, wanted, update=update, file=file)

    written = write_change(session, wanted.sweep, change, confirm)
    unnamed = (planned.id for planned in written.plan.jobs if not planned.fresh and planned.id not in wanted.by_id)
    return replace(send_planned(session, written, progress), unnamed=tuple(unnamed))


def send_planned(session: Session, written: Written, progress: Progress = silent) -> Enqueued:
    """Send what a plan's jobs still need. Raises StorageError."""
    stored, plan = written.before, written.plan
    lifted = settle_budget(session, plan)
    statuses = job_statuses(session, plan.sweep)
    hold = read_hold(session.blobs, plan.sweep)
    records = SentRecords(session, plan.sweep)
    sent = 0
    if not all_terminal(plan, statuses):
        held_for_s = 0.0 if lifted else session.durations.visibility_timeout_s
        due = due_jobs(plan, statuses, records.newest_epochs(), hold, held_for_s=held_for_s)
        if stored is not None:
            due.reverse()  # whoever enqueues the same sweep now began at the other end
        sent = send(session, plan, due, records, progress)
        hold = read_hold(session.blobs, plan.sweep)  # one may have come meanwhile
    reopened(session, written.opened)
    return Enqueued(
        sweep=plan.sweep,
        jobs=len(plan.jobs),
        added=len(plan.jobs) - (len(stored.plan.jobs) if stored else 0),
        sent=sent,
        ended=sum(planned.id in statuses and statuses[planned.id].terminal for planned in plan.jobs),
        unnamed=(),
        hold=hold,
        lifted=lifted,
    )


def write_change(session: Session, sweep: str, change: Callable[[Plan | None], Plan], confirm: Confirm) -> Written:
    """Write what `change` makes of a sweep's plan, by CAS; somebody else's only where `confirm` says so.

    Raises:
        NotConfirmed: the person does not want it.
        StorageError: nothing is known; the same again does no harm.
    """
    first: StoredPlan | None = None
    opened = ""
    for attempt in range(PLAN_WRITES):
        stored = find_plan(session.blobs, sweep)
        if attempt == 0:
            first = stored
        plan = change(stored.plan if stored else None)
        if stored is not None:
            if plan == stored.plan:
                return Written(first, plan, opened)
            if stored.plan.enqueued_by != session.user and not confirm(_question(stored.plan, plan)):
                raise NotConfirmed(f"{sweep} stays as it is.")
            if len(plan.jobs) > len(stored.plan.jobs):
                opened = opened or reopen(session, sweep)  # before the plan: no audit must pass the new jobs over
        with contextlib.suppress(ConditionFailed):  # somebody else was quicker, or our answer was lost: look again
            write_plan(session, plan, stored)
            return Written(first, plan, opened)
    raise StorageUnavailable(f"The plan of {sweep} changed {PLAN_WRITES} times in a row while we wrote it.")


def merged(stored: Plan | None, wanted: Plan, *, update: bool, file: str = "SWEEP.yaml") -> Plan:
    """Return the plan to store: equal to `stored` where there is nothing to change. Raises InputError."""
    if stored is None:
        return wanted
    if stored.deleted:
        raise InputError(
            f'{file}: name: "{wanted.sweep}" is the name of a sweep that is being deleted. End that with: tranquility '
            f"delete {wanted.sweep}; or write another name: into the file."
        )
    new = [planned for planned in wanted.jobs if planned.id not in stored.by_id]
    if not new:
        if stored.budget_usd == wanted.budget_usd:
            return stored
        return stored.model_copy(update={"budget_usd": wanted.budget_usd, "source": wanted.source})
    if not update:
        raise InputError(_another_plan(stored, wanted, len(new), file))
    return _with_jobs(stored, wanted, new)


def _another_plan(stored: Plan, wanted: Plan, new: int, file: str) -> str:
    gone = sum(not planned.fresh and planned.id not in wanted.by_id for planned in stored.jobs)
    also = f", and {gone:,} of its {len(stored.jobs):,} are not in this file" if gone else ""
    verb = "is" if new == 1 else "are"
    return (
        f'{file}: name: "{wanted.sweep}" is the name of a sweep with another plan: {plural(new, "job")} of this file '
        f"{verb} not in it{also}. Either add what is new (tranquility enqueue {shlex.quote(file)} --update: nothing is "
        "taken away), or write another name: into the file."
    )


def _question(stored: Plan, plan: Plan) -> str:
    added = len(plan.jobs) - len(stored.jobs)
    what = f"{added:,} jobs are added" if added else f"its budget becomes {plan.budget_usd} $"
    return f"{stored.sweep} was enqueued by {stored.enqueued_by or 'somebody else'}. Change it ({what})?"


def _with_jobs(stored: Plan, wanted: Plan, new: list[PlannedJob]) -> Plan:
    """Append jobs; a set that is known already gets them as more seeds."""
    places = {configuration.set_id: number for number, configuration in enumerate(stored.configurations)}
    sets = list(stored.sets)
    jobs = list(stored.jobs)
    for planned in new:
        configuration = wanted.configurations[planned.set]
        if configuration.set_id not in places:
            places[configuration.set_id] = len(sets)
            own = wanted.sets[planned.set]
            differs = _differs(stored.common, own.differs, configuration)
            sets.append(PlannedSet(differs=differs, baseline=own.baseline))
        jobs.append(PlannedJob(id=planned.id, set=places[configuration.set_id], seed=planned.seed))
    plan = stored.model_copy(
        update={
            "sets": tuple(sets),
            "jobs": tuple(jobs),
            "source": wanted.source,
            "budget_usd": wanted.budget_usd,
        }
    )
    return checked(plan, len(stored.jobs))


def checked(plan: Plan, before: int) -> Plan:
    """Return a plan that grew from `before` jobs, made anew. Raises InputError where it is too large."""
    if len(plan.jobs) > MAX_JOBS:
        raise InputError(
            f"{plan.sweep} has {before:,} jobs, and {len(plan.jobs) - before:,} more would be above {MAX_JOBS:,}: "
            "take another name: for the new ones."
        )
    plan = Plan.model_validate(plan.model_dump())  # a copy would keep what was computed from the old sets
    if len(plan.canonical()) > MAX_PLAN_BYTES:
        raise InputError(f"The plan of {plan.sweep} would have more than {MAX_PLAN_BYTES:,} bytes: take another name.")
    return plan


def _differs(common: Configuration, own: Mapping[str, Any], configuration: Configuration) -> Mapping[str, Any]:
    """Return what a set differs by from a common configuration that is not its file's."""
    with contextlib.suppress(ValidationError):
        if resolve(common, own) == configuration:
            return own
    return {**own, **difference(common, configuration)}


def difference(common: Configuration, configuration: Configuration) -> Mapping[str, Any]:
    """Return the dotted keys by which `configuration` comes out of `common` (`resolve` is the way back)."""
    before, after = _dotted(common), _dotted(configuration)
    return {name: value for name, value in after.items() if canonical_json(value) != canonical_json(before[name])}


def _dotted(configuration: Configuration) -> dict[str, Any]:
    content = configuration.model_dump(mode="json")
    sac = content["hyperparameters"]
    policy = sac.pop("policy_kwargs")
    parts = {
        "": {name: content[name] for name in ("timesteps", "trainer")} | sac,
        "policy_kwargs.": policy,
        "env.": content["environment"],
        "evaluation.": content["evaluation"],
    }
    return {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}
