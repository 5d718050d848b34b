"""What sweeps cost, as a table: spend, what evictions lost, what spot saved, and what boots and idle slots cost."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from producer.results.cost import Cost, Price, cost_of, job_usd, lost_seconds
from producer.results.documents import cost_document
from producer.results.fleet_view import FleetView
from producer.results.progress import SweepProgress
from producer.words import duration, plural
from worker.contract.money import money
from worker.contract.settings import Target

SHOWN_JOBS = 20


def no_price(target: Target) -> str:
    """Return why nothing can be said of cost, and what to do."""
    if target.kind == "local":
        return "A fleet on this machine costs nothing, so there is no bill (price_usd in the target file sets a price)."
    where = f"{target.vm_size} in {target.location}" if target.vm_size else "this target, which names no VM size"
    return f"The price table of this release does not know {where}: set price_usd in the target file."


def bill(sweeps: Sequence[SweepProgress], fleet: FleetView, price: Price) -> RenderableType:
    """Return the table and what it rests on."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("SWEEP", no_wrap=True, overflow="ellipsis")
    for heading in ("JOBS", "SLOT TIME", "SPEND", "BUDGET", "A JOB", "LOST", "SAVED"):
        table.add_column(heading, no_wrap=True, justify="right")
    for sweep in sweeps:
        cost = cost_of(sweep.jobs, price)
        started = sum(job.attempts > 0 for job in sweep.jobs)
        table.add_row(
            Text(sweep.sweep, "bold"),
            f"{started:,}/{len(sweep.jobs):,}",
            duration(sweep.seconds),
            str(cost),
            "" if sweep.plan.budget_usd is None else money(sweep.plan.budget_usd),
            money(cost.usd / started) if started else "",
            money(cost.lost_usd) if cost.lost_usd else "",
            "" if cost.saved_usd is None else money(cost.saved_usd),
        )
    jobs = [job_bill(sweeps[0], price)] if len(sweeps) == 1 else []
    return Group(table, *jobs, Text(), *(Text(line, "dim") for line in _footnotes(cost_of((), price, fleet), price)))


def job_bill(sweep: SweepProgress, price: Price) -> RenderableType:
    """Return the dearest jobs of a sweep."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("JOB", no_wrap=True)
    for heading in ("STATE", "TRY", "EV", "SLOT TIME", "SPEND", "LOST"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "STATE" else "right")
    started = [job for job in sweep.jobs if job.attempts]
    for job in sorted(started, key=lambda job: -job.seconds)[:SHOWN_JOBS]:
        lost = price.of_slot_seconds(lost_seconds(job))
        spend = money(job_usd(job, price))
        table.add_row(
            job.id[:12],
            job.state,
            str(job.attempts),
            str(job.evictions or ""),
            duration(job.seconds),
            f"≤ {spend}" if price.upper_bound else spend,
            money(lost) if lost else "",
        )
    left = len(started) - SHOWN_JOBS
    return Group(Text(), table, *([Text(f"… and {plural(left, 'cheaper job')}", "dim")] if left > 0 else []))


def _footnotes(around: Cost, price: Price) -> list[str]:
    bound = ": spot VMs cost less, so the spend is an upper bound" if price.upper_bound else ""
    return [
        f"A VM costs {price.usd:.4g} $ an hour and has {plural(price.slots, 'slot')} ({price.source}){bound}.",
        "SPEND is the time of all attempts; LOST is the part that evictions and crashes took.",
        f"Beside that, for the VMs there now: boots {money(around.boot_usd)}, idle slots {money(around.idle_usd)}.",
    ]


def bill_document(sweeps: Sequence[SweepProgress], fleet: FleetView, price: Price) -> dict[str, Any]:
    """Return the bill for `--json`."""
    around = cost_of((), price, fleet)
    return {
        "price": {
            "usd_per_vm_hour": price.usd,
            "regular_usd_per_vm_hour": price.regular_usd,
            "slots_per_vm": price.slots,
            "upper_bound": price.upper_bound,
            "source": price.source,
        },
        "boot_usd": around.boot_usd,
        "idle_usd": around.idle_usd,
        "sweeps": [
            {
                "sweep": sweep.sweep,
                "jobs": len(sweep.jobs),
                "seconds": sweep.seconds,
                "budget_usd": sweep.plan.budget_usd,
                **(cost_document(cost_of(sweep.jobs, price)) or {}),
                "by_job": {job.id: job_usd(job, price) for job in sweep.jobs if job.attempts},
            }
            for sweep in sweeps
        ],
    }
