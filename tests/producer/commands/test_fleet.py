"""`tranquility scale`, as a person calls it."""

import io
from collections.abc import Callable

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from producer.commands import fleet
from producer.fleet.scaler import TickReport
from producer.session import TARGET_VARIABLE
from producer.sweep.audit import AuditReport
from tests.producer.fleet.test_scaler import World
from worker.contract.control import FleetHold
from worker.contract.errors import CapacityRefused, FleetDenied, FleetError, InputError


@pytest.fixture
def world() -> World:
    return World()


def said(world: World, command: Callable[..., None]) -> tuple[list[str], int]:
    """Run a command; return its lines without the time of day, and its exit status."""
    stream = io.StringIO()
    status = 0
    try:
        command(world.scaler, Console(file=stream, width=500))
    except typer.Exit as ended:
        status = ended.exit_code
    lines = stream.getvalue().splitlines()
    return [line.split("  ", 1)[-1] for line in lines], status


def test_once_says_what_changed_and_where_the_fleet_stands(world: World) -> None:
    world.send(3)
    assert said(world, fleet.run_once) == (
        [
            "Raised the capacity to 3: 3 jobs in the queue, and the set was of 0 VMs.",
            "3 jobs in the queue, capacity 3, 0 VMs",
        ],
        0,
    )


@pytest.mark.parametrize(
    "problem", [FleetDenied("AuthorizationFailed: write"), FleetError("503"), CapacityRefused("no spot capacity")]
)
def test_once_fails_with_the_reason_where_azure_says_no(world: World, problem: FleetError) -> None:
    world.send(1)
    world.set.faults += [problem, problem]
    lines, status = said(world, fleet.run_once)
    assert status == 1
    assert any(problem.detail in line for line in lines)


def test_resume_lifts_the_hold_and_raises(world: World) -> None:
    world.control.hold_fleet(FleetHold(reason="no job made a commit", since="2026-01-01T00:00:00+00:00"))
    world.send(2)
    lines, status = said(world, fleet.run_resume)
    assert status == 0
    assert lines[0] == "The hold of 2026-01-01T00:00:00+00:00 is lifted: no job made a commit"
    assert world.control.fleet_hold() is None
    assert world.set.capacity == 2


def test_resume_without_a_hold_says_so(world: World) -> None:
    lines, status = said(world, fleet.run_resume)
    assert lines[0] == "The fleet was not on hold."
    assert status == 0


def test_watch_ends_with_ctrl_c_and_without_a_trace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.runtime, "wait", interrupt)
    lines, status = said(world, fleet.run_watch)
    assert status == 0
    assert lines[-1] == "Ended. VMs work on; idle ones delete themselves."


def test_nothing_is_told_twice_in_a_row(world: World) -> None:
    stream = io.StringIO()
    told = fleet.Told(Console(file=stream, width=500))
    found, failed = world.tick(), TickReport(world.tick().memory, problem="503")
    for report in (found, found, failed, failed, found):
        told.tell(report)
    lines = [line.split("  ", 1)[1] for line in stream.getvalue().splitlines()]
    stands = "0 jobs in the queue, capacity 0, 0 VMs"
    assert lines == [stands, "503", stands]


@pytest.mark.parametrize("options", [[], ["--watch", "--once"], ["--once", "--resume"]])
def test_one_way_has_to_be_chosen(options: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    fleet.register(app, lambda _: AuditReport())
    result = CliRunner().invoke(app, options)
    assert isinstance(result.exception, InputError)
    assert "--watch" in str(result.exception)


def test_without_a_target_it_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TARGET_VARIABLE, "/nowhere.json")
    app = typer.Typer()
    fleet.register(app, lambda _: AuditReport())
    result = CliRunner().invoke(app, ["--once"])
    assert isinstance(result.exception, InputError)
    assert "/nowhere.json" in str(result.exception)
