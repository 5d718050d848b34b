"""How a moment of a sweep looks on a terminal: one renderer for watch, status and `local run`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from producer.results.cost import Cost
from producer.results.progress import ALIVE, JobProgress, State
from producer.results.view import Tone, View
from producer.words import duration, label_keys, number, plural, set_values, short, sparkline
from worker.contract.money import money

WIDE = 100
"""Columns from which on there is room for the worker and long sparklines."""
STYLE: dict[State, str] = {
    "waiting": "dim",
    "running": "cyan",
    "evaluating": "blue",
    "silent": "yellow",
    "done": "green",
    "failed": "red",
    "poisoned": "red",
    "cancelled": "magenta",
}
TONE: dict[Tone, str] = {"good": "green", "bad": "yellow", "plain": ""}
ORDER: tuple[State, ...] = ("silent", "running", "evaluating", "failed", "poisoned", "waiting", "done", "cancelled")
"""Who is shown first where not all jobs fit."""
HELD = ALIVE | {"silent"}
"""Jobs that a worker has, or had until it fell silent."""
SHOWN_HAPPENINGS = 5
LEAST_JOBS = 3
MOST_ROWS = 100
"""Where the height does not matter: 10,000 rows are read by programs, with --json."""
LOW = 16
"""Lines below which no line of the head may wrap."""
_MEASURE = Console(width=1)
"""Only to ask Rich where it would break a line."""


@dataclass(frozen=True, slots=True)
class Size:
    """Room on the terminal."""

    width: int
    height: int | None = None
    """Lines; None = as many as it takes."""
    ascii_only: bool = False

    @property
    def wide(self) -> bool:
        """Return whether the wide form fits."""
        return self.width >= WIDE


def screen(view: View, size: Size) -> RenderableType:
    """Return the whole picture, at most `size.height` lines high."""
    head = _head(view, size)
    jobs, workers, happenings = len(view.sweep.jobs), len(view.fleet.slots), len(view.happened)
    if size.height is None:
        shares = Shares(min(jobs, MOST_ROWS), min(workers, MOST_ROWS), min(SHOWN_HAPPENINGS, happenings))
    else:
        used = sum(_lines(part, size.width) for part in head)
        shares = share_out(size.height - used, jobs, workers, happenings)
    parts: list[RenderableType] = [*head, Text(), *_jobs(view, size, shares.jobs)]
    if shares.workers:
        parts += [Text(), *_workers(view, size, shares.workers)]
    if shares.happenings:
        parts += [Text(), *_happenings(view, shares.happenings)]
    return Group(*parts)


def _lines(text: RenderableType, width: int) -> int:
    return len(text.wrap(_MEASURE, width)) if isinstance(text, Text) else 1


@dataclass(frozen=True, slots=True)
class Shares:
    """Lines for each part below the head, without its blank line and its heading."""

    jobs: int
    workers: int
    happenings: int


def share_out(lines: int, jobs: int, workers: int, happenings: int) -> Shares:
    """Divide the lines below the head: some jobs first, then what happened, then all jobs, then workers."""
    room = lines - 2  # the blank line and the heading of the jobs
    least = min(jobs, LEAST_JOBS)
    told = max(0, min(SHOWN_HAPPENINGS, happenings, room - least - 1))
    room -= told + (1 if told else 0)
    for_workers = room - jobs - 2
    if for_workers < workers:
        for_workers = max(for_workers, room // 3 - 2)
    shown = max(0, min(workers, for_workers))
    room -= shown + 2 if shown else 0
    return Shares(max(1, min(jobs, room)), shown, told)


# ---- the head --------------------------------------------------------------------------------------------------------


def _head(view: View, size: Size) -> list[RenderableType]:
    low = size.height is not None and size.height < LOW
    lines = [_jobs_line(view), _fleet_line(view)]
    if view.cost is not None:
        lines.append(_cost_line(view.cost, view.sweep.plan.budget_usd))
    reasons = view.warnings[:1] if low else view.warnings
    head: list[RenderableType] = [_bar(view, size)]
    head += [_line(line, "", cut=low) for line in lines]
    return head + [_line(f"! {reason}", "yellow", cut=low) for reason in reasons]


def _line(text: str, style: str, *, cut: bool) -> Text:
    return Text(text, style, no_wrap=cut, overflow="ellipsis" if cut else None)


def _bar(view: View, size: Size) -> Table:
    sweep = view.sweep
    made, total = sweep.steps
    if sweep.finished:
        eta = "finished"
    elif sweep.eta_s is None:
        eta = "ETA unknown"
    else:
        eta = f"ETA {duration(sweep.eta_s)}"
    grid = Table.grid(padding=(0, 1), expand=False)
    share = f"{100 * made / total:.0f} %" if total else "0 %"
    text = f"{share}  {short(made)}/{short(total)} steps  {eta}"
    room = max(8, size.width - len(sweep.sweep) - len(text) - 3)
    bar: RenderableType = ProgressBar(total=max(total, 1), completed=made, width=room)
    grid.add_row(Text(sweep.sweep, "bold"), bar, Text(text))
    return grid


def _jobs_line(view: View) -> str:
    sweep = view.sweep
    states = [f"{sweep.counts[state]:,} {state}" for state in ORDER if sweep.counts.get(state)]
    evicted = plural(sweep.evictions, "eviction")
    lost = f"; {plural(sweep.lost_steps, 'step')} lost" if sweep.lost_steps else ""
    return f"jobs   {', '.join(states) or 'none'}; {evicted}{lost}"


def _fleet_line(view: View) -> str:
    fleet = view.fleet
    parts = [f"{view.sweep.steps_per_second:,.0f} steps/s", f"queue {fleet.queued:,}"]
    if fleet.poisoned:
        parts.append(f"poison {fleet.poisoned:,}")
    if fleet.set is not None:
        parts.append(f"capacity {fleet.set.capacity}{f'/{view.max_instances}' if view.max_instances else ''}")
        parts.append(_instances(view))
    parts.append(f"{fleet.busy}/{plural(fleet.living, 'slot')} busy")
    if fleet.boot_to_step_s:
        parts.append(f"training {duration(fleet.boot_to_step_s)} after boot")
    return f"fleet  {' · '.join(parts)}"


def _instances(view: View) -> str:
    states: dict[str, int] = {}
    for vm in view.fleet.set.instances if view.fleet.set else ():
        states[vm.state] = states.get(vm.state, 0) + 1
    count = sum(states.values())
    if len(states) == 1:
        (state,) = states
        return f"{plural(count, 'VM')} {state}"
    mixed = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return f"{plural(count, 'VM')}{f' ({mixed})' if mixed else ''}"


def _cost_line(cost: Cost, budget: float | None) -> str:
    parts = [f"{cost}" if budget is None else f"{cost} of {money(budget)}"]
    if cost.lost_usd >= 0.005:
        parts.append(f"{money(cost.lost_usd)} lost to evictions")
    if cost.saved_usd is not None:
        parts.append(f"{money(cost.saved_usd)} saved by spot")
    return f"spend  {' · '.join(parts)}"


# ---- jobs ------------------------------------------------------------------------------------------------------------


def _jobs(view: View, size: Size, room: int) -> Iterator[RenderableType]:
    jobs = view.sweep.jobs
    shown: Sequence[JobProgress] = jobs if len(jobs) <= room else chosen(jobs, room - 1)
    if shown:
        yield _job_table(view, size, shown)
    if len(shown) < len(jobs):
        hidden = Counter(job.state for job in jobs)
        hidden.subtract(job.state for job in shown)
        yield Text(f"… and {', '.join(f'{hidden[state]:,} {state}' for state in ORDER if hidden[state])}", "dim")


def chosen(jobs: Sequence[JobProgress], room: int) -> Sequence[JobProgress]:
    """Return the jobs to show where not all fit: those that someone may want to act on first, and moving ones."""
    ranked = sorted(jobs, key=lambda job: (ORDER.index(job.state), -job.shown_step))
    return ranked[:room]


def _job_table(view: View, size: Size, jobs: Sequence[JobProgress]) -> Table:
    sets = view.sweep.plan.sets
    keys = label_keys([planned.differs for planned in sets[:300]])
    with_sets, tries = len(sets) > 1, _tries(view, size)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=True, header_style="dim")
    table.add_column("JOB", no_wrap=True, width=12 if size.wide else 6)
    if with_sets:
        # The names once, above the values: "learning_rate=…" in every line would leave no room for what differs.
        names = " ".join(key.rpartition(".")[2] for key in keys)
        table.add_column(names, no_wrap=True, ratio=1, overflow="ellipsis")
    table.add_column("SEED", no_wrap=True, justify="right", width=4)
    table.add_column("STATE", no_wrap=True, width=10)
    table.add_column("STEP", no_wrap=True, justify="right", width=11)
    table.add_column("/S", no_wrap=True, justify="right", width=4)
    table.add_column("RETURN", no_wrap=True, justify="right", width=6)
    table.add_column("", no_wrap=True, width=16 if size.wide else 8)
    for heading in tries:
        table.add_column(heading, no_wrap=True, justify="right", width=len(heading))
    table.add_column("ETA", no_wrap=True, justify="right", width=6)
    if size.wide:
        table.add_column("WORKER", no_wrap=True, max_width=20, overflow="ellipsis")
    for job in jobs:
        cells = [job.id[:12] if size.wide else job.id[:6]]
        if with_sets:
            cells.append(set_values(sets[job.set].differs, keys))
        table.add_row(*cells, *_cells(job, size, tries))
    return table


def _tries(view: View, size: Size) -> tuple[str, ...]:
    """Return the headings of attempts and evictions; in 80 columns only where there is something to tell."""
    with_tries = size.wide or any(job.attempts > 1 for job in view.sweep.jobs)
    return (*(("TRY",) if with_tries else ()), *(("EV",) if size.wide or view.sweep.evictions else ()))


def _cells(job: JobProgress, size: Size, tries: tuple[str, ...]) -> Iterator[RenderableType]:
    yield str(job.seed)
    yield Text(job.state, STYLE[job.state])
    yield f"{short(job.shown_step)}/{short(job.total)}"
    yield short(job.steps_per_second) if job.state in ALIVE else ""
    yield number(job.score.mean if job.score else job.latest_return)
    yield sparkline(job.trail, 16 if size.wide else 8, ascii_only=size.ascii_only)
    yield from (str({"TRY": job.attempts, "EV": job.evictions}[heading] or "") for heading in tries)
    yield duration(job.eta_s) if job.eta_s else ""
    if size.wide:
        yield job.worker if job.state in HELD else ""


# ---- workers and what happened --------------------------------------------------------------------------------------


def _workers(view: View, size: Size, room: int) -> Iterator[RenderableType]:
    slots = sorted(view.fleet.slots, key=lambda slot: (slot.alive, slot.name))
    shown = slots if len(slots) <= room else slots[: room - 1]
    if shown:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), expand=False, header_style="dim")
        for name, width in (("WORKER", None), ("STATE", 9), ("JOB", 6), ("HEARTBEAT", 9)):
            table.add_column(name, no_wrap=True, width=width, max_width=size.width - 30, overflow="ellipsis")
        for slot in shown:
            report = slot.seen.report
            state = slot.flag or report.state if slot.alive else "silent"
            style = "yellow" if not slot.alive or slot.flag else "cyan" if report.state == "busy" else ""
            table.add_row(slot.name, Text(state, style), (report.job or "")[:6], duration(slot.seen.age_s))
        yield table
    if len(shown) < len(slots):
        yield Text(f"… and {plural(len(slots) - len(shown), 'worker')}", "dim")


def _happenings(view: View, count: int) -> list[Text]:
    return [
        Text(f"{one.clock} {one.text}".strip(), TONE[one.tone], no_wrap=True, overflow="ellipsis")
        for one in view.happened[-count:]
    ]
