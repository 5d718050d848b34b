"""The command `play`, up to the process that flies: what it is handed, and what is refused before."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from producer.commands import models
from producer.sweep.planning import Planned
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import Storage, episodes, make_plan
from worker.contract.errors import InputError

PLAN = make_plan([{"tau": 0.01}], seeds=[0])
(JOB,) = jobs_of(PLAN)
Calls = list[tuple[bytes, tuple[str, ...]]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What a data plane would have been handed: the file's content, and the other arguments."""
    storage = Storage()
    storage.put_plan(PLAN)
    storage.finish(JOB, episodes(200.0))
    calls: Calls = []

    def hand_over(command: str, file: str, *arguments: str) -> None:
        assert command == "play"
        calls.append((Path(file).read_bytes(), arguments))

    monkeypatch.setattr(models, "hand_over", hand_over)
    monkeypatch.setattr(models, "open_session", lambda _: storage.session())
    return calls


def play(*arguments: str) -> Result:
    return call("play", *arguments)


def call(*arguments: str) -> Result:
    app = typer.Typer()
    models.register(app)
    return CliRunner(env={"TERM": "dumb"}).invoke(app, list(arguments))


def test_the_best_of_the_newest_sweep_flies_from_its_verified_weights(ran: Calls) -> None:
    done = play("best", "--episodes", "3", "--video", "a.mp4")
    assert done.exit_code == 0, done.output
    assert f"lunar/{JOB.id}" in done.output
    assert ran == [(b"policy of " + JOB.id.encode(), ("--episodes", "3", "--video", "a.mp4"))]


def test_for_a_program_standard_output_is_the_data_planes_alone(ran: Calls) -> None:
    done = play("best", "--json")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert ran[0][1] == ("--episodes", "5", "--json")


def test_a_file_of_ones_own_needs_no_target(ran: Calls, tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK")
    done = play(str(tmp_path / "model.zip"), "--env", "Pendulum-v1", "--window")
    assert done.exit_code == 0, done.output
    assert ran == [(b"PK", ("--episodes", "5", "--env", "Pendulum-v1", "--window"))]


def test_an_environment_cannot_be_forced_on_a_job(ran: Calls) -> None:
    error = play("best", "--env", "Pendulum-v1").exception
    assert isinstance(error, InputError)
    assert "a job knows its environment" in str(error)
    assert ran == []


def test_a_job_file_that_cannot_be_read_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    missing = tmp_path / "nix.json"
    error = call("train", str(missing)).exception
    assert isinstance(error, InputError)
    assert error.detail == f"{missing} cannot be read: No such file or directory."
    missing.write_bytes(b"{\xff")
    assert f"{missing} is not UTF-8 text (byte 1)" in str(call("train", str(missing)).exception)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"sweep": "lunar"}', "It is not a job: id: Field required."),
        ('{"sweep": ', "It is not JSON: "),
        ('{"schema_version": 99}', "Its schema is 99, this release knows up to "),
    ],
)
def test_a_job_file_that_holds_no_job_of_this_release_is_wrong_input_and_named(
    content: str, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "job.json"
    file.write_text(content)
    error = call("train", str(file)).exception
    assert isinstance(error, InputError)
    assert str(error).startswith(f"{file}: {words}")


def test_train_takes_an_unproven_environment_when_told_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[bool] = []

    def plan_file(_: Path, *, allow_unproven: bool = False) -> Planned:
        asked.append(allow_unproven)
        return Planned(PLAN)

    monkeypatch.setattr(models, "plan_file", plan_file)
    monkeypatch.setattr(models, "hand_over", lambda *_: None)
    for options in ([], ["--allow-unproven"]):
        done = call("train", str(tmp_path / "s.yaml"), *options)
        assert done.exit_code == 0, done.output
    assert asked == [False, True]
