"""Watching a sweep: looks again and again, draws on a terminal, and elsewhere says in plain lines what changed."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from rich.console import Console
from rich.live import Live

from producer.results.cost import Price, cost_of, price_of
from producer.results.fleet_view import FleetReader, SetReader
from producer.results.progress import ProgressReader, SweepProgress
from producer.results.screen import Size, screen
from producer.results.view import Happening, View, since
from producer.session import Session
from producer.words import duration, plural, short
from worker.contract.beside import beside
from worker.contract.errors import StorageUnavailable
from worker.contract.runtime import Event, Runtime

KEPT_HAPPENINGS = 50
_NUMBERS = re.compile(r"\d+")
"""A reason that only grew older is not worth a line."""


@dataclass(frozen=True)
class Watcher:
    """Reads moments of one sweep, and remembers what happened between them."""

    sweep: ProgressReader
    fleet: FleetReader
    price: Price | None
    max_instances: int
    clock: Callable[[], str]
    """Hours, minutes and seconds for people."""

    def look(self, before: View | None = None) -> View:
        """Return the sweep as it is now, with what happened since `before`. Raises StorageError."""
        reading = beside("fleet", self.fleet.read)  # a large sweep takes a while, most of it the storage's
        sweep = self.sweep.read()
        fleet = reading.result()
        cost = cost_of(sweep.jobs, self.price, fleet) if self.price else None
        view = View(sweep, fleet, cost, self.max_instances)
        if before is None:
            return view
        new = tuple(replace(one, clock=self.clock()) for one in since(before, view))
        return replace(view, happened=(*before.happened, *new)[-KEPT_HAPPENINGS:])


def open_watcher(session: Session, sweep: str, scale_set: SetReader | None) -> Watcher:
    """Return a watcher of a sweep on a session's target; `local run` uses it too."""
    return Watcher(
        ProgressReader(session.blobs, sweep, session.durations.visibility_timeout_s),
        FleetReader(session.blobs, session.jobs, session.poison, session.durations, scale_set),
        price_of(session.target),
        session.target.max_instances,
        lambda: datetime.now().astimezone().strftime("%H:%M:%S"),
    )


def finished(view: View) -> bool:
    """Return whether every job has ended."""
    return view.sweep.finished


def watch(
    watcher: Watcher,
    console: Console,
    runtime: Runtime,
    stop: Event,
    *,
    every_s: float = 2.0,
    until: Callable[[View], bool] = finished,
) -> View:
    """Show a sweep until `until` holds or `stop` is set, and return the last moment seen.

    On a terminal the picture is redrawn in place; elsewhere lines without escapes are written, and only when something
    changed. A storage outage is shown and waited out; what fails on the first look is raised.
    """
    view = watcher.look()
    if not console.is_terminal:
        return _watch_plainly(watcher, console, runtime, stop, every_s, until, view)
    with Live(console=console, auto_refresh=False, screen=False, transient=False) as live:
        while True:
            live.update(screen(view, _size(console)), refresh=True)
            if until(view) or runtime.wait(stop, every_s):
                live.update(screen(view, Size(console.width, None, console.options.ascii_only)), refresh=True)
                return view
            view = _look_again(watcher, view)


def _size(console: Console) -> Size:
    # One line is left free: a picture as high as the terminal scrolls at every redraw.
    return Size(console.width, max(8, console.height - 1), console.options.ascii_only)


def _look_again(watcher: Watcher, view: View) -> View:
    try:
        return watcher.look(view)
    except StorageUnavailable as error:
        happened = Happening(f"storage does not answer: {error.detail}", "bad", watcher.clock())
        if view.happened and view.happened[-1].text == happened.text:
            return view
        return replace(view, happened=(*view.happened, happened))


def _watch_plainly(
    watcher: Watcher,
    console: Console,
    runtime: Runtime,
    stop: Event,
    every_s: float,
    until: Callable[[View], bool],
    view: View,
) -> View:
    said = ""
    while True:
        line, reasons = summary(view), view.warnings
        worth_saying = _gist(view) + _NUMBERS.sub("", "".join(reasons))
        if worth_saying != said:
            said = worth_saying
            console.out(f"{watcher.clock()} {line}", highlight=False)
            for reason in reasons:
                console.out(f"{watcher.clock()} ! {reason}", highlight=False)
        if until(view) or runtime.wait(stop, every_s):
            return view
        before, view = view, _look_again(watcher, view)
        known = before.happened[-1:] or (None,)
        for one in _after(view.happened, known[0]):
            console.out(f"{one.clock} {one.text}", highlight=False)


def _after(happened: tuple[Happening, ...], last: Happening | None) -> tuple[Happening, ...]:
    """Return what stands behind `last`: the list is cut at its front when it grows long."""
    for index in range(len(happened) - 1, -1, -1):
        if happened[index] is last:
            return happened[index + 1 :]
    return happened


def summary(view: View) -> str:
    """Return one line about a moment."""
    sweep, fleet = view.sweep, view.fleet
    made, total = sweep.steps
    parts = [
        f"{sweep.sweep}: {sweep.ended:,} of {plural(len(sweep.jobs), 'job')} ended, {len(sweep.alive):,} running",
        f"{short(made)}/{short(total)} steps",
        f"{sweep.steps_per_second:,.0f} steps/s",
        f"queue {fleet.queued:,}",
    ]
    if fleet.set is not None:
        parts.append(f"capacity {fleet.set.capacity}, {plural(len(fleet.set.instances), 'VM')}")
    parts.append(plural(sweep.evictions, "eviction"))
    if view.cost is not None:
        parts.append(f"spend {view.cost}")
    if sweep.eta_s is not None and not sweep.finished:
        parts.append(f"ETA {duration(sweep.eta_s)}")
    return ", ".join(parts)


def _gist(view: View) -> str:
    """Return what a new line is worth: not every step, but every twentieth of the way."""
    sweep: SweepProgress = view.sweep
    made, total = sweep.steps
    twentieth = 20 * made // total if total else 0
    size = (view.fleet.set.capacity, len(view.fleet.set.instances)) if view.fleet.set else ()
    return repr((sorted(sweep.counts.items()), twentieth, sweep.evictions, size, view.fleet.poisoned))
