"""Confirm: the leaders of a sweep run once more, on seeds that had no part in choosing them.

The best of many sets looks better than it is, because it was selected. Runs on fresh seeds were not: only they can say
that a set is the winner. They are added to the sweep's own plan, as an enqueue with --update adds jobs (rule 7), so the
same call again adds nothing and goes on where an earlier one was killed.
"""

from collections.abc import Sequence
from itertools import chain, islice
from typing import Final

from producer.session import Session
from producer.sweep.enqueue import Confirm, Enqueued, checked, send_planned, write_change
from producer.sweep.parallel import Progress, silent
from producer.sweep.sweep_file import MAX_SEED
from worker.contract.errors import InputError
from worker.contract.job import job_id
from worker.contract.plan import Plan, PlannedJob

FEWEST_SEEDS: Final = 5
"""Below it nothing could be said of a winner: there is no interval from fewer runs."""
ROUND: Final = 1_000
"""Fresh seeds begin at a multiple of it, so that a person sees which they are and a longer `seeds:` stays clear."""


def confirm(
    session: Session, sweep: str, sets: Sequence[int], seeds: int, ask: Confirm, progress: Progress = silent
) -> Enqueued:
    """Plan and send `seeds` fresh seeds for each of these sets, as far as the plan has not got them yet.

    Args:
        session: where to.
        sweep: its name.
        sets: the leaders, as indices into the plan's sets, which never change.
        seeds: how many for each set.
        ask: asked before somebody else's sweep is changed.
        progress: told of messages sent.

    Raises:
        InputError: there is no such sweep, it is being deleted, or it would grow too large.
        NotConfirmed: the person does not want it.
        StorageError: the same call again goes on from here.
    """

    def change(stored: Plan | None) -> Plan:
        if stored is None or stored.deleted:
            raise InputError(f"{sweep} has been deleted meanwhile.")
        return with_fresh_seeds(stored, sets, seeds)

    return send_planned(session, write_change(session, sweep, change, ask), progress)


def with_fresh_seeds(plan: Plan, sets: Sequence[int], count: int) -> Plan:
    """Return the plan in which each of `sets` has at least `count` fresh seeds, the same for all; itself if it has."""
    seeds = fresh_seeds(plan, count)
    there = {(planned.set, planned.seed) for planned in plan.jobs}
    new = tuple(
        PlannedJob(id=job_id(plan.configurations[index], seed), set=index, seed=seed, fresh=True)
        for index in sets
        for seed in seeds
        if (index, seed) not in there
    )
    if not new:
        return plan
    return checked(plan.model_copy(update={"jobs": (*plan.jobs, *new)}), len(plan.jobs))


def fresh_seeds(plan: Plan, count: int) -> tuple[int, ...]:
    """Return `count` seeds that no set was chosen by; those of an earlier confirm first."""
    used = {planned.seed for planned in plan.jobs if not planned.fresh}
    begun = sorted({planned.seed for planned in plan.jobs if planned.fresh} - used)
    start = (max(used) // ROUND + 1) * ROUND
    others = (seed for seed in chain(range(start, MAX_SEED + 1), range(start)) if seed not in used | set(begun))
    return (*begun, *islice(others, max(0, count - len(begun))))[:count]
