"""How a slot starts: it receives a while after the first pulse of its VM (rule 12), and is ready once answered."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from azure.core.credentials import TokenCredential

from tests.fakes.clock import VirtualRuntime
from tests.fakes.slot import World, silent
from tests.fakes.trouble import Trouble
from worker.contract.control import Control
from worker.contract.errors import AccessDenied, StorageError, StorageUnavailable
from worker.contract.settings import Durations, Target, WorkerSettings
from worker.contract.through import BlobsThrough, QueueThrough
from worker.exit_status import STOPPED
from worker.liveness import Liveness
from worker.notify import START_EXTENSION_S, Supervisor
from worker.run import _let_the_pulse_be_seen, assemble, run_assembled
from worker.signs import Signs
from worker.slot import Slot
from worker.stop import StopRequest

WAIT_S = Durations().first_receive_after_pulse_s
T = TypeVar("T")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def slot(world: World) -> Slot:
    return replace(world.slot(durations=Durations()), runtime=VirtualRuntime(now_s=10_000.0))


def begins_at(slot: Slot, noted_at_boot: Path | None = None) -> float:
    _let_the_pulse_be_seen(slot, noted_at_boot)
    return slot.runtime.monotonic()


def test_a_slot_on_a_vm_without_a_note_pulses_and_waits(world: World, slot: Slot) -> None:
    assert begins_at(slot) == 10_000 + WAIT_S
    assert world.blobs.get("control", "pulse") is not None


def test_the_other_slots_and_a_restarted_one_wait_for_the_rest_only(slot: Slot) -> None:
    (slot.runtime_directory / "first-pulse").write_text("9990.0")
    assert begins_at(slot) == 9_990 + WAIT_S
    assert begins_at(slot) == 9_990 + WAIT_S


def test_the_note_of_the_boot_counts_and_is_not_written(world: World, slot: Slot, tmp_path: Path) -> None:
    note = tmp_path / "first-pulse"
    note.write_text("9970.125\n")  # as bootstrap.py writes it
    assert begins_at(slot, note) == 9_970.125 + WAIT_S
    assert note.read_text() == "9970.125\n"
    assert not (slot.runtime_directory / "first-pulse").exists()
    assert world.blobs.get("control", "pulse") is None


def test_where_the_boot_left_no_note_the_slots_make_their_own(slot: Slot, tmp_path: Path) -> None:
    assert begins_at(slot, tmp_path / "absent") == 10_000 + WAIT_S
    assert (slot.runtime_directory / "first-pulse").exists()


def test_a_runtime_directory_that_takes_no_file_only_costs_the_wait(world: World, slot: Slot) -> None:
    assert begins_at(replace(slot, runtime_directory=slot.runtime_directory / "absent")) == 10_000 + WAIT_S
    assert world.blobs.get("control", "pulse") is not None


def test_an_empty_note_of_a_full_disk_is_none(slot: Slot) -> None:
    (slot.runtime_directory / "first-pulse").touch()
    assert begins_at(slot) == 10_000 + WAIT_S


def test_what_a_slot_asks_only_to_show_that_it_lives_is_no_sign_that_its_job_moves(
    storage: Target, credential: TokenCredential
) -> None:
    """A trainer that hangs would else be kept alive by the pulse of its own process."""
    settings = WorkerSettings(target=Path("unused"), vm="vm1")
    runtime = VirtualRuntime()
    slot = assemble(settings, storage, credential, 0, runtime, StopRequest(runtime))
    slot.liveness.without_sign_s()
    runtime.advance(100.0)
    Control(slot.presence_blobs).pulse(slot.name)
    assert slot.liveness.without_sign_s() == 100.0
    slot.control.pulse(slot.name)
    assert slot.liveness.without_sign_s() == 0.0


class Systemd(Supervisor):
    """Notes what a slot says to it, and when."""

    def __init__(self, runtime: VirtualRuntime) -> None:
        super().__init__(silent(), {})
        self._runtime = runtime
        self.heard: list[tuple[float, str]] = []

    def _say(self, message: str) -> bool:
        self.heard.append((self._runtime.now_s, message))
        return True

    def times(self, key: str) -> list[float]:
        return [at_s for at_s, message in self.heard if message.startswith(f"{key}=")]


def starts(ends_s: float, *, queue: Trouble, blobs: Trouble, admitted_s: float = float("inf")) -> Systemd:
    """Run a slot on a virtual clock from 0, whose troubles end at `admitted_s`; return what it said to systemd."""
    runtime, world = VirtualRuntime(now_s=0.0), World()
    liveness, systemd = Liveness(runtime), Systemd(runtime)

    def observed(trouble: Trouble) -> Callable[[Callable[[], T]], T]:
        def through(request: Callable[[], T]) -> T:
            try:
                return trouble.through(request)
            finally:
                liveness.request_returned()

        return through

    slot = replace(
        world.slot(durations=Durations()),
        blobs=BlobsThrough(world.blobs, observed(blobs)),
        jobs=QueueThrough(world.jobs, observed(queue)),
        runtime=runtime,
        liveness=liveness,
        stop=StopRequest(runtime),
        signs=Signs("vm1", 0, "test", {}, runtime),
    )
    for trouble in (queue, blobs):
        runtime.after(admitted_s, lambda trouble=trouble: setattr(trouble, "down", False))  # type: ignore[misc]
    runtime.after(ends_s, lambda: slot.stop.ask("stopped"))
    assert run_assembled(slot, systemd, booted_s=0.0) == STOPPED
    runtime.close()
    return systemd


def refusing(error: StorageError | None = None) -> Trouble:
    trouble = Trouble(error)
    trouble.down = error is not None
    return trouble


def test_a_slot_is_ready_when_the_queue_and_the_flags_have_answered() -> None:
    systemd = starts(600.0, queue=refusing(), blobs=refusing())
    (ready_s,) = systemd.times("READY")
    assert WAIT_S <= ready_s <= WAIT_S + 1
    assert max(systemd.times("EXTEND_TIMEOUT_USEC")) <= ready_s <= min(systemd.times("WATCHDOG"))


@pytest.mark.parametrize("error", [AccessDenied("No role."), StorageUnavailable("An outage.")])
@pytest.mark.parametrize("where", ["queue", "blobs"])
def test_a_slot_that_the_storage_refuses_is_not_ready_and_asks_for_time_until_it_is_let_in(
    error: StorageError, where: str
) -> None:
    """A role takes up to ten minutes to be known; and a VM that never gets it must stay what the dead man ends."""
    troubles = {"queue": refusing(), "blobs": refusing(), where: refusing(error)}
    systemd = starts(1_800.0, **troubles, admitted_s=1_200.0)
    (ready_s,) = systemd.times("READY")
    assert 1_200 <= ready_s < 1_260
    asked = [0.0, *systemd.times("EXTEND_TIMEOUT_USEC"), ready_s]
    assert max(after - before for before, after in itertools.pairwise(asked)) < START_EXTENSION_S


def test_a_slot_that_is_refused_for_ever_is_never_ready() -> None:
    systemd = starts(7_200.0, queue=refusing(AccessDenied("No role.")), blobs=refusing())
    assert systemd.times("READY") == []
    assert systemd.times("WATCHDOG") == []


@pytest.mark.parametrize(("began_s", "told_s"), [(90.0, 90.0), (1_500.0, 1_500.0), (4_000.0, 0.0)])
def test_a_process_that_begins_long_after_the_boot_is_not_taken_for_a_slow_boot(began_s: float, told_s: float) -> None:
    runtime, world = VirtualRuntime(now_s=began_s), World()
    slot = replace(
        world.slot(durations=Durations()),
        runtime=runtime,
        liveness=Liveness(runtime),
        stop=StopRequest(runtime),
        signs=Signs("vm1", 0, "test", {}, runtime),
    )
    runtime.after(60.0, lambda: slot.stop.ask("stopped"))
    run_assembled(slot, Systemd(runtime), booted_s=0.0)
    runtime.close()
    assert slot.signs.report().boot_seconds == told_s
