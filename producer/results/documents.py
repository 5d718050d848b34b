"""What `--json` prints: plain dictionaries, stable names, units in the names."""

from typing import Any

from producer.results.cost import Cost
from producer.results.fleet_view import FleetView
from producer.results.progress import JobProgress, SweepProgress
from producer.results.view import View


def view_document(view: View) -> dict[str, Any]:
    """Return a moment of a sweep."""
    return {
        **sweep_document(view.sweep),
        "why_idle": list(view.why_idle),
        "fleet": fleet_document(view.fleet),
        "cost": cost_document(view.cost),
        "jobs": [job_document(job, view.sweep) for job in view.sweep.jobs],
    }


def sweep_document(sweep: SweepProgress) -> dict[str, Any]:
    """Return a sweep without its jobs."""
    made, total = sweep.steps
    return {
        "sweep": sweep.sweep,
        "enqueued_by": sweep.plan.enqueued_by,
        "finished": sweep.finished,
        "hold": sweep.hold.model_dump(mode="json") if sweep.hold else None,
        "states": dict(sorted(sweep.counts.items())),
        "steps": made,
        "total_steps": total,
        "steps_per_second": sweep.steps_per_second,
        "eta_s": sweep.eta_s,
        "evictions": sweep.evictions,
        "lost_steps": sweep.lost_steps,
        "seconds": sweep.seconds,
    }


def job_document(job: JobProgress, sweep: SweepProgress) -> dict[str, Any]:
    """Return one job."""
    return {
        "job": job.id,
        "set": job.set,
        "differs": dict(sweep.plan.sets[job.set].differs),
        "seed": job.seed,
        "state": job.state,
        "step": job.step,
        "reached_step": job.reached,
        "total_steps": job.total,
        "latest_return": job.latest_return,
        "score": job.score.model_dump(mode="json") if job.score else None,
        "attempts": job.attempts,
        "evictions": job.evictions,
        "lost_steps": job.lost_steps,
        "steps_per_second": job.steps_per_second,
        "seconds": job.seconds,
        "eta_s": job.eta_s,
        "worker": job.worker,
        "manifest_age_s": job.age_s,
        "exact": job.exact,
        "releases": list(job.releases),
        "reason": job.reason,
    }


def fleet_document(fleet: FleetView) -> dict[str, Any]:
    """Return the fleet."""
    return {
        "queue": fleet.queued,
        "poison_queue": fleet.poisoned,
        "hold": fleet.hold,
        "refusal": fleet.refusal.message if fleet.refusal else "",
        "pulse_age_s": fleet.pulse_age_s,
        "commit_age_s": fleet.commit_age_s,
        "capacity": fleet.set.capacity if fleet.set else None,
        "instances": [{"name": vm.name, "state": vm.state} for vm in fleet.set.instances] if fleet.set else None,
        "scale_set_error": fleet.set_error,
        "slots": [
            {
                "worker": slot.name,
                "state": slot.seen.report.state,
                "alive": slot.alive,
                "flag": slot.flag,
                "sweep": slot.seen.report.sweep,
                "job": slot.seen.report.job,
                "heartbeat_age_s": slot.seen.age_s,
                "boot_s": slot.seen.report.boot_seconds,
                "boot_to_first_step_s": slot.seen.report.first_step_seconds,
                "release": slot.seen.report.release,
                "cpu": slot.seen.report.cpu,
            }
            for slot in fleet.slots
        ],
    }


def cost_document(cost: Cost | None) -> dict[str, Any] | None:
    """Return what was spent; None where no price is known."""
    if cost is None:
        return None
    return {
        "usd": cost.usd,
        "upper_bound": cost.upper_bound,
        "lost_to_evictions_usd": cost.lost_usd,
        "saved_usd": cost.saved_usd,
        "idle_usd": cost.idle_usd,
        "boot_usd": cost.boot_usd,
    }
