"""`local run`, up to the fleet that it starts."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from producer.commands import local
from producer.emulator import run
from producer.sweep import planning
from producer.sweep.planning import Planned
from tests.fakes.sweeps import make_plan

PLAN = make_plan([{"tau": 0.01}], seeds=[0])


def test_local_run_takes_an_unproven_environment_and_says_what_the_plan_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, bool]] = []

    def plan_file(path: Path, *, allow_unproven: bool = False) -> Planned:
        asked.append((path, allow_unproven))
        return Planned(PLAN, ("Two sets are equal.",))

    def no_fleet(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(planning, "plan_file", plan_file)
    monkeypatch.setattr(run, "local_fleet", no_fleet)
    monkeypatch.setattr(local, "stop_on_term", lambda: None)
    app = typer.Typer()
    local.register(app)
    sweep = tmp_path / "s.yaml"
    done = CliRunner().invoke(app, ["local", "run", str(sweep), "--allow-unproven"])
    assert done.exit_code == 130
    assert asked == [(sweep, True)]
    assert "Two sets are equal." in done.output
