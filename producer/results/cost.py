"""What a sweep costs: price of a VM × time of every attempt ÷ slots."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from producer.results.fleet_view import FleetView
from producer.results.progress import JobProgress
from worker.contract.base import Frozen
from worker.contract.money import money
from worker.contract.settings import Target

HOUR_S = 3600.0


class PriceTable(Frozen):
    """Regular prices, as they were on a day."""

    as_of: str
    source: str
    unit: str
    regular: Mapping[str, Mapping[str, float]]
    """Region → VM size → price."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a VM costs an hour."""

    usd: float
    slots: int
    regular_usd: float | None
    """The regular price, where it is known."""
    upper_bound: bool
    """True where only the regular price is known, and the VMs are spot: they cost less."""
    source: str

    def of_slot_seconds(self, seconds: float) -> float:
        """Return what so much time of one slot costs."""
        return seconds / HOUR_S * self.usd / self.slots


@dataclass(frozen=True, slots=True)
class Cost:
    """Money, as far as the blobs tell."""

    usd: float
    """Of all attempts, evicted ones included."""
    lost_usd: float
    """Of steps that evictions and crashes took: trained after a job's last commit, and to be made again."""
    saved_usd: float | None
    """Against the regular price; None where the spot price is not known."""
    idle_usd: float
    """Of the slots that wait for work now: not part of `usd`."""
    boot_usd: float
    """Of the boots of the VMs that are there now: not part of `usd`."""
    upper_bound: bool

    def __str__(self) -> str:
        return ("≤ " if self.upper_bound else "") + money(self.usd)


@cache
def price_table() -> PriceTable:
    """Return the release's price table."""
    return PriceTable.model_validate(json.loads(files(__package__).joinpath("prices.json").read_text()))


def price_of(target: Target, table: PriceTable | None = None) -> Price | None:
    """Return the price of a target's VMs; None for a fleet on this machine and for a size that the table lacks."""
    table = table or price_table()
    listed = table.regular.get(target.location, {}).get(target.vm_size)
    regular = target.regular_price_usd or listed
    slots = target.slots_per_instance
    if target.price_usd is not None:
        return Price(target.price_usd, slots, regular, upper_bound=False, source="the target's settings")
    if regular is None:
        return None
    source = f"the regular price of {target.vm_size} in {target.location} on {table.as_of}"
    if target.regular_price_usd is not None:
        source = "the regular price in the target's settings"
    return Price(regular, slots, regular, upper_bound=True, source=source)


def job_usd(job: JobProgress, price: Price) -> float:
    """Return what a job has cost so far, all attempts."""
    return price.of_slot_seconds(job.seconds)


def lost_seconds(job: JobProgress) -> float:
    """Return the part of a job's time that went into steps that were lost, at its own average pace."""
    made = max(job.reached, job.step) + job.lost_steps
    return job.seconds * job.lost_steps / made if made else 0.0


def cost_of(jobs: Iterable[JobProgress], price: Price, fleet: FleetView | None = None) -> Cost:
    """Return the cost of jobs, and beside it what the fleet's boots and idle slots cost."""
    jobs = tuple(jobs)
    seconds = sum(job.seconds for job in jobs)
    usd = price.of_slot_seconds(seconds)
    at_regular = None if price.upper_bound or price.regular_usd is None else price.regular_usd / price.usd * usd
    living = [slot.seen.report for slot in fleet.slots if slot.alive] if fleet else []
    return Cost(
        usd=usd,
        lost_usd=price.of_slot_seconds(sum(map(lost_seconds, jobs))),
        saved_usd=None if at_regular is None else at_regular - usd,
        idle_usd=price.of_slot_seconds(sum(report.idle_s for report in living)),
        boot_usd=price.of_slot_seconds(sum(report.boot_seconds for report in living)),
        upper_bound=price.upper_bound,
    )
