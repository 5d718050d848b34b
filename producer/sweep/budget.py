"""A sweep's budget: written for the workers, who watch it; a hold that it caused is lifted when it suffices again.

`budget_usd` is no part of a sweep's identity. The price is that of the moment when the sweep was last enqueued.
"""

from producer.results.bill import no_price
from producer.results.cost import HOUR_S, price_of
from producer.session import Session
from producer.sweep.hold import find_hold, lift
from producer.words import plural
from worker.contract import names
from worker.contract.budget import Budget, spent_seconds
from worker.contract.plan import Plan


def settle_budget(session: Session, plan: Plan) -> bool:
    """Store what a plan's budget is in the time of slots; return whether that lifted the budget's hold.

    First the budget, then the look for a hold: a worker that goes by the old one places its hold first, and then looks
    at the budget again, so that one of the two sees the other.
    """
    budget = budget_of(session, plan)
    name = names.budget(plan.sweep)
    found = session.blobs.get(names.SWEEPS, name)
    if budget is not None and (found is None or found.body != budget.canonical()):
        session.blobs.put(names.SWEEPS, name, budget.canonical())
    elif budget is None and found is not None:
        session.blobs.delete(names.SWEEPS, name)
    held = find_hold(session, plan.sweep)
    if held is None or held.hold.kind != "budget":
        return False
    spent_s = spent_seconds(session.blobs.list(names.SWEEPS, names.manifests(plan.sweep)))
    if budget is not None and budget.hold(spent_s) is not None:
        return False
    return lift(session, plan.sweep, held.etag)


def unwatched(session: Session, plan: Plan) -> tuple[str, ...]:
    """Return what to tell the person where a plan has a budget, and without a price nobody can watch it."""
    if plan.budget_usd is None or budget_of(session, plan) is not None:
        return ()
    return (f"Nobody watches budget_usd: {no_price(session.target)}",)


def budget_of(session: Session, plan: Plan) -> Budget | None:
    """Return a plan's budget at the target's price; None where it has none, or nothing is known of the price."""
    price = price_of(session.target)
    if plan.budget_usd is None or price is None:
        return None
    bought_s = plan.budget_usd / price.usd * price.slots * HOUR_S
    source = f"{price.usd:.4g} $ per VM hour of {plural(price.slots, 'slot')}, {price.source}"
    return Budget(usd=plan.budget_usd, slot_seconds=bought_s, price=source)
