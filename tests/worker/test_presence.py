"""A slot's signs of life: report, pulse, watchdog, and how it hears of an eviction (rule 5)."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import pytest

from tests.fakes.hand_runtime import InlineRuntime
from tests.fakes.slot import World, listening, silent
from tests.fakes.trouble import Trouble
from worker.contract import names
from worker.contract.settings import Durations
from worker.contract.through import BlobsThrough
from worker.liveness import Liveness
from worker.notify import Supervisor
from worker.presence import Presence
from worker.signs import Signs
from worker.stop import StopRequest
from worker.vm.files import Notice, notice_file, write_file

DURATIONS = Durations()
T = TypeVar("T")


class Watchdog(Supervisor):
    """Counts how often it is fed."""

    def __init__(self) -> None:
        super().__init__(silent(), {})
        self.fed = 0

    def alive(self) -> None:
        self.fed += 1


class Present:
    """A slot with its presence, on one virtual clock."""

    def __init__(self) -> None:
        self.runtime, self.trouble, self.world, self.watchdog = InlineRuntime(), Trouble(), World(), Watchdog()
        self.slot = replace(
            self.world.slot(blobs=BlobsThrough(self.world.blobs, self.trouble.through), durations=DURATIONS),
            runtime=self.runtime,
            liveness=Liveness(self.runtime),
            stop=StopRequest(self.runtime),
            signs=Signs("vm1", 0, "test", {}, self.runtime),
        )
        self.presence = Presence(self.slot, self.watchdog)

    def live(self, seconds: float) -> None:
        self.runtime.after(seconds, self.presence._ended.set)
        self.presence._task.join()

    def state(self) -> str:
        (seen,) = self.world.slot().control.slots("vm1")
        return seen.report.state


def test_a_change_is_published_at_once_and_a_pulse_with_it() -> None:
    present = Present()
    present.slot.signs.idle()
    present.live(1)
    assert present.state() == "idle"
    pulse = present.world.blobs.get(names.CONTROL, names.PULSE)
    assert pulse is not None
    assert pulse.body == b"vm1/0"


def test_the_last_report_is_published_when_the_slot_ends() -> None:
    present = Present()
    present.live(1)
    present.slot.signs.answers("drain")
    present.slot.signs.stopped()
    present.presence.join()
    assert present.state() == "stopped"


def test_an_outage_delays_the_report_but_ends_nothing() -> None:
    present = Present()
    present.trouble.down = True
    present.runtime.after(50, lambda: setattr(present.trouble, "down", False))
    present.live(60)
    assert present.trouble.refused > 1
    assert present.state() == "starting"


def test_an_outage_at_the_end_is_no_error() -> None:
    present = Present()
    present.trouble.down = True
    present.presence.join()
    assert present.trouble.refused == 1


def test_the_watchdog_starves_when_nothing_moves_for_too_long() -> None:
    present = Present()
    present.live(1000)
    assert 0 < present.watchdog.fed <= DURATIONS.watchdog_s * 2 + 1


def test_what_presence_itself_asks_of_the_storage_does_not_feed_the_watchdog() -> None:
    """A hung trainer's slot goes on pulsing and reporting: that must not keep its process alive."""
    present = Present()
    returned = present.slot.liveness.request_returned

    def observed(request: Callable[[], T]) -> T:
        returned()
        return request()

    slot = replace(present.slot, blobs=BlobsThrough(present.world.blobs, observed))
    present.presence = Presence(slot, present.watchdog)
    present.live(1000)
    assert present.watchdog.fed <= DURATIONS.watchdog_s * 2 + 1


def test_progress_and_storage_requests_feed_the_watchdog() -> None:
    for sign in ("beat", "request_returned"):
        present = Present()
        for second in range(0, 1000, 50):
            present.runtime.after(second, getattr(present.slot.liveness, sign))
        present.live(1000)
        assert present.watchdog.fed > 1900


def test_an_eviction_notice_stops_the_slot() -> None:
    present = Present()
    path = notice_file(present.slot.runtime_directory)
    present.runtime.after(10, lambda: write_file(path, Notice(type="Preempt")))
    present.live(20)
    assert present.slot.stop.reason == "evicted"


def test_without_a_notice_the_slot_goes_on() -> None:
    present = Present()
    present.live(20)
    assert present.slot.stop.reason is None


def test_what_presence_dies_of_is_said_and_stops_the_slot_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot without it would be deaf to evictions, and silent until its watchdog bites."""
    present = Present()
    log, events = listening()
    monkeypatch.setattr(present.watchdog, "alive", [].pop)
    Presence(replace(present.slot, log=log), present.watchdog)._task.join()
    assert present.slot.stop.reason == "stopped"
    (event,) = events
    assert (event["event"], event["thread"]) == ("thread.raised", "presence")
    assert "IndexError: pop from empty list" in str(event["trace"])
