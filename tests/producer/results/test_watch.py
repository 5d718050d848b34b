"""Claims about watching: plain lines off a terminal, one picture on it, outages waited out."""

import io
from collections.abc import Callable, Iterator

import pytest
from rich.console import Console

from producer.results.cost import Price
from producer.results.fleet_view import FleetReader
from producer.results.progress import ProgressReader
from producer.results.view import View
from producer.results.watch import Watcher, finished, summary, watch
from tests.fakes.plans import jobs_of
from tests.fakes.storage import MemoryBlobs
from tests.fakes.sweeps import Storage, episodes, make_plan, running
from worker.contract.control import Control, SlotReport
from worker.contract.errors import InputError, StorageUnavailable
from worker.contract.records import Listed
from worker.contract.runtime import Event, RealRuntime
from worker.contract.settings import Durations

PLAN = make_plan([{"tau": 0.01}], seeds=[0, 1])
JOBS = jobs_of(PLAN)


class Script(RealRuntime):
    """Waiting means that the next thing happens; when nothing is left, someone presses Ctrl-C."""

    def __init__(self, *happens: Callable[[], None]) -> None:
        self._happens = iter(happens)

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        step = next(self._happens, None)
        if step is None:
            return True
        step()
        return False


def a_watcher(storage: Storage, price: Price | None = None) -> Watcher:
    return Watcher(
        ProgressReader(storage.blobs, "lunar", 120.0),
        FleetReader(storage.blobs, storage.jobs, storage.poison, Durations()),
        price,
        10,
        lambda: "10:00:00",
    )


def seen(storage: Storage, *happens: Callable[[], None], terminal: bool = False) -> tuple[str, View]:
    file = io.StringIO()
    console = Console(file=file, width=80, height=24, force_terminal=terminal, _environ={})
    runtime = Script(*happens)
    last = watch(a_watcher(storage), console, runtime, runtime.event())
    return file.getvalue(), last


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    storage.jobs.send("one")
    return storage


def test_off_a_terminal_there_are_plain_lines_and_only_when_something_changed(storage: Storage) -> None:
    def nothing() -> None:
        return

    def start() -> None:
        storage.put_manifest(running(JOBS[0], 1_000))

    def a_little_further() -> None:
        storage.put_manifest(running(JOBS[0], 1_500))

    def end() -> None:
        for job in JOBS:
            storage.finish(job, episodes(212.0))

    text, last = seen(storage, nothing, start, nothing, a_little_further, nothing, end, nothing)
    first, second = (job.id[:6] for job in JOBS)
    assert text.splitlines() == [
        "10:00:00 lunar: 0 of 2 jobs ended, 0 running, 0/400k steps, 0 steps/s, queue 1, 0 evictions",
        "10:00:00 ! No worker has reported yet.",
        f"10:00:00 job {first}: started on vm-1/0",
        "10:00:00 lunar: 0 of 2 jobs ended, 1 running, 1.0k/400k steps, 90 steps/s, queue 1, 0 evictions, ETA 74 min",
        f"10:00:00 job {first}: done, return 212.0",
        f"10:00:00 job {second}: started on vm-1/0",
        f"10:00:00 job {second}: done, return 212.0",
        "10:00:00 lunar: 2 of 2 jobs ended, 0 running, 400k/400k steps, 0 steps/s, queue 1, 0 evictions",
    ]
    assert finished(last)


def test_off_a_terminal_there_is_no_escape_sequence(storage: Storage) -> None:
    text, _ = seen(storage, lambda: storage.put_manifest(running(JOBS[0], 1_000)))
    assert "\x1b" not in text


def test_on_a_terminal_the_picture_is_redrawn_in_place(storage: Storage) -> None:
    text, _ = seen(storage, lambda: storage.put_manifest(running(JOBS[0], 1_000)), terminal=True)
    assert "\x1b[" in text
    assert text.count("\x1b[1A") > 10  # the cursor goes up, over what was drawn before
    assert "started on vm-1/0" in text


class Outage(MemoryBlobs):
    """Storage that does not answer for a while."""

    down = False

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        if self.down:
            raise StorageUnavailable("no route to host")
        return super().list(container, prefix)


@pytest.mark.parametrize("terminal", [True, False])
def test_an_outage_is_shown_once_and_waited_out(storage: Storage, terminal: bool) -> None:
    blobs = Outage(lambda: storage.now_s)
    storage.blobs = blobs
    storage.put_plan(PLAN)

    def down() -> None:
        blobs.down = True

    def still_down() -> None:
        return

    def up() -> None:
        blobs.down = False
        for job in JOBS:
            storage.finish(job, episodes(212.0))

    text, last = seen(storage, down, still_down, up, terminal=terminal)
    assert finished(last)
    told = [one.text for one in last.happened]
    assert told.count("storage does not answer: no route to host") == 1
    assert "no route to host" in text


def test_an_outage_at_the_first_look_is_an_error(storage: Storage) -> None:
    blobs = Outage(lambda: storage.now_s)
    blobs.down = True
    storage.blobs = blobs
    with pytest.raises(StorageUnavailable):
        seen(storage)


def test_an_unknown_sweep_is_an_error() -> None:
    with pytest.raises(InputError, match="There is no sweep 'lunar'"):
        seen(Storage())


def test_watching_can_go_on_until_something_else_than_the_last_job(storage: Storage) -> None:
    for job in JOBS:
        storage.finish(job, episodes(212.0))
    looks: list[int] = []

    def twice(_: View) -> bool:
        looks.append(1)
        return len(looks) == 2

    runtime = Script(lambda: None, lambda: None)
    watch(a_watcher(storage), Console(file=io.StringIO()), runtime, runtime.event(), until=twice)
    assert len(looks) == 2


def test_the_summary_has_the_spend_where_a_price_is_known(storage: Storage) -> None:
    storage.put_manifest(running(JOBS[0], 1_000, seconds=3600.0))
    price = Price(0.8, 8, None, upper_bound=True, source="")
    assert "spend ≤ 0.10 $" in summary(a_watcher(storage, price).look())


def test_off_a_terminal_a_reason_that_only_grew_older_is_not_said_again(storage: Storage) -> None:
    gone = SlotReport(vm="vm-1", slot=0, state="stopped")
    Control(storage.blobs).report_slot(gone)

    def a_second_later() -> None:
        storage.now_s += 1.0

    text, _ = seen(storage, *[a_second_later] * 5)
    assert text.count("! All workers have stopped, the last one") == 1
