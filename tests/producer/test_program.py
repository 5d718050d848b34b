"""Claims about the program: how an enqueue ends, with its tick, and what of it is imported for which command."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import typer
from typer.core import TyperGroup
from typer.testing import CliRunner

from producer import program
from producer.fleet.look import Look, ScaleSetState
from producer.fleet.memory import Memory
from producer.fleet.reconcile import Standing
from producer.fleet.scaler import TickReport
from tests.fakes.producing import Storage
from worker.contract.errors import FleetDenied

DENIED = TickReport(
    Memory(),
    Look(0.0, ScaleSetState(0, '"1"'), 3),
    Standing((), (), usable=0, needed=3),
    problem="403 AuthorizationFailed: virtualMachineScaleSets/write",
    denied=True,
)


def close(report: TickReport, wake: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """End an enqueue whose tick went like this; return what the person is told."""
    session = Storage().session()
    said: list[str] = []
    monkeypatch.setattr(program, "ensure_capacity", lambda _session, _say: report)
    program.close_enqueue(replace(session, target=session.target.model_copy(update={"wake": wake})), said.append)
    return said


def test_without_the_scalers_role_a_person_enqueues_all_the_same_where_a_wake_raises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert close(DENIED, "tranq-wake", monkeypatch) == [f"The set may be too small: {DENIED.problem}"]


def test_where_nobody_would_raise_the_refused_tick_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FleetDenied, match="The jobs are queued, and no wake runs here"):
        close(DENIED, "", monkeypatch)


def test_a_tick_that_was_enough_is_not_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    enough = replace(DENIED, standing=Standing((), (), usable=3, needed=3))
    assert close(enough, "tranq-wake", monkeypatch) == []
    assert close(enough, "", monkeypatch) == [
        "No wake runs here: VMs that are evicted are replaced only while `tranquility scale --watch` runs."
    ]


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, command
    if not isinstance(command, TyperGroup):
        return
    context = typer.Context(command)
    for name in command.list_commands(context):
        yield from walk(command.get_command(context, name), f"{path} {name}")


@pytest.mark.parametrize(("path", "command"), list(walk(typer.main.get_command(program.app), "tranquility")))
def test_every_command_and_every_group_has_help_with_an_example_of_itself(path: str, command: Any) -> None:
    assert command.help
    assert (command.epilog or "").startswith(f"Example: {path} ") or command.epilog == f"Example: {path}"


def test_a_command_imports_its_own_module_and_no_other() -> None:
    call = "import sys; from producer.program import run; sys.argv[1:] = ['status', '--help']; run()"
    seen = "import atexit, sys; atexit.register(lambda: print([m for m in sys.modules if 'producer.commands.' in m]))"
    told = subprocess.run([sys.executable, "-c", f"{seen}; {call}"], capture_output=True, text=True, check=True)
    loaded = told.stdout.splitlines()[-1]
    assert "'producer.commands.results'" in loaded
    assert "'producer.commands.deploy'" not in loaded


def test_a_mistyped_command_is_answered_with_those_that_look_like_it() -> None:
    told = CliRunner().invoke(program.app, ["statis"])
    assert told.exit_code == 2
    assert "Did you mean 'status'?" in told.output


def test_every_name_of_a_command_belongs_to_the_module_that_is_imported_for_it() -> None:
    for names, register in program.COMMANDS.items():
        app = typer.Typer()
        register(app)
        assert set(typer.main.get_group(app).commands) == set(names)
