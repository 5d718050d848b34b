"""The jobs of a plan."""

from worker.contract.job import Job
from worker.contract.plan import Plan


def jobs_of(plan: Plan) -> tuple[Job, ...]:
    """Return every job, in the order of the plan."""
    return tuple(plan.job(planned) for planned in plan.jobs)
