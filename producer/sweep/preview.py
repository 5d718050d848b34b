"""What an enqueue would do, before it does it: `enqueue --dry-run`."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from producer.sweep.planning import Planned
from producer.words import duration, plural
from worker.contract.plan import Plan

STEPS_PER_SECOND: Final = 100.0
"""What one core makes with SB3 and the zoo's networks, give or take a factor of two."""
ROWS: Final = 40


def core_hours(plan: Plan, steps_per_second: float) -> float:
    """Return the hours that one core would train; evaluations come on top."""
    return _steps(plan) / steps_per_second / 3600


def preview(planned: Planned, steps_per_second: float) -> Iterator[RenderableType]:
    """Yield what a person wants to see of a plan."""
    plan = planned.plan
    total = _steps(plan)
    yield Text(
        f"{plan.sweep}: {plural(len(plan.sets), 'set')} × {_seed_words(plan)} = {plural(len(plan.jobs), 'job')}, "
        f"{plural(total, 'step')} in all; about {duration(total / steps_per_second)} of one core at "
        f"{steps_per_second:g} steps/s, and evaluations on top."
    )
    yield _table(plan)
    if len(plan.sets) > ROWS:
        yield Text(f"… and {plural(len(plan.sets) - ROWS, 'more set')} (--json prints all).")
    yield _common(plan)
    yield from (Text(note) for note in planned.notes)


def document(planned: Planned, steps_per_second: float) -> dict[str, Any]:
    """Return the same for programs."""
    plan = planned.plan
    jobs: list[list[dict[str, Any]]] = [[] for _ in plan.sets]
    for job in plan.jobs:
        jobs[job.set].append({"id": job.id, "seed": job.seed})
    return {
        "sweep": plan.sweep,
        "jobs": len(plan.jobs),
        "steps": _steps(plan),
        "core_hours": round(core_hours(plan, steps_per_second), 3),
        "steps_per_second": steps_per_second,
        "budget_usd": plan.budget_usd,
        "common": plan.common.model_dump(mode="json"),
        "sets": [
            {"differs": dict(one.differs), "baseline": one.baseline, "jobs": own}
            for one, own in zip(plan.sets, jobs, strict=True)
        ],
        "notes": list(planned.notes),
    }


def _table(plan: Plan) -> Table:
    keys = list(dict.fromkeys(key for one in plan.sets for key in one.differs))
    seeds: list[list[int]] = [[] for _ in plan.sets]
    for job in plan.jobs:
        seeds[job.set].append(job.seed)
    table = Table(box=None, pad_edge=False)
    table.add_column("set", justify="right")
    for key in keys:
        table.add_column(key.rpartition(".")[2], justify="right", overflow="fold")
    table.add_column("seeds", overflow="fold")
    for number, one in enumerate(plan.sets[:ROWS]):
        values = (_shown(one.differs[key]) if key in one.differs else "-" for key in keys)
        table.add_row(f"{number}{' baseline' if one.baseline else ''}", *values, _seed_list(seeds[number]))
    return table


def _common(plan: Plan) -> Table:
    searched = {key for one in plan.sets for key in one.differs}
    table = Table(box=None, pad_edge=False, show_header=False, title="All sets share", title_justify="left")
    table.add_column()
    table.add_column(overflow="fold")
    for key, value in _lines(plan).items():
        if key not in searched:
            table.add_row(key, _shown(value))
    return table


def _lines(plan: Plan) -> Mapping[str, Any]:
    common = plan.common.model_dump(mode="json")
    sac = common["hyperparameters"]
    lines: dict[str, Any] = {"env": common["environment"]["id"]}
    lines |= {f"env.kwargs.{name}": value for name, value in common["environment"]["kwargs"].items()}
    lines |= {"timesteps": common["timesteps"], "trainer": common["trainer"]}
    lines |= {name: value for name, value in sac.items() if name != "policy_kwargs"}
    lines |= {f"policy_kwargs.{name}": value for name, value in sac["policy_kwargs"].items()}
    lines |= {f"evaluation.{name}": value for name, value in common["evaluation"].items()}
    return lines if plan.budget_usd is None else lines | {"budget_usd": plan.budget_usd}


def _steps(plan: Plan) -> int:
    steps = [int(one.differs.get("timesteps", plan.common.timesteps)) for one in plan.sets]
    return sum(steps[job.set] for job in plan.jobs)


def _seed_words(plan: Plan) -> str:
    return plural(len({job.seed for job in plan.jobs}), "seed")


def _seed_list(seeds: list[int]) -> str:
    if len(seeds) > 3 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds[:8])) + (" …" if len(seeds) > 8 else "")


def _shown(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
