"""The first receive of a VM comes a while after its first pulse, whoever gave it (rule 12)."""

from dataclasses import replace
from pathlib import Path

import pytest
from azure.core.credentials import TokenCredential

from tests.fakes.clock import VirtualRuntime
from tests.fakes.slot import World
from worker.contract.control import Control
from worker.contract.settings import Durations, Target, WorkerSettings
from worker.run import _let_the_pulse_be_seen, assemble
from worker.slot import Slot
from worker.stop import StopRequest

WAIT_S = Durations().first_receive_after_pulse_s


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
