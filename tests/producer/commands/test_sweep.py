"""The commands that change sweeps, as a person calls them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from producer.commands.sweep import EXAMPLES, Say, register
from producer.session import Session
from producer.sweep.enqueue import NotConfirmed
from tests.fakes.plans import jobs_of
from tests.fakes.producing import Storage, commit_all, receive, receive_all
from worker.contract.errors import InputError
from worker.contract.manifest import Outcome
from worker.contract.score import summarise

FILE = (
    "name: s\nenv: Pendulum-v1\ntimesteps: 1000\nseeds: [0, 1]\n"
    "search: {method: grid}\nspace: {tau: {choices: [0.1, 0.2]}}\n"
)


class Shell:
    """A terminal at which nobody sits, over storage in memory."""

    def __init__(self, folder: Path) -> None:
        self.storage = Storage()
        self.user = "ada"
        self.ticks = 0
        self.file = folder / "s.yaml"
        self.file.write_text(FILE)
        self.opened = 0
        app = typer.Typer()
        register(app, self._tick, self._open)
        self._app = app
        self._runner = CliRunner()

    def __call__(self, *words: str) -> Result:
        """Call a command that works."""
        result = self.fails(*words)
        assert result.exception is None, result.output
        return result

    def fails(self, *words: str) -> Result:
        """Call a command."""
        return self._runner.invoke(self._app, list(words))

    def json(self, *words: str) -> Any:
        """Call a command with --json; nothing else may stand on standard output."""
        return json.loads(self(*words, "--json").stdout)

    def _open(self, _target: Path | None) -> Session:
        self.opened += 1
        return self.storage.session(self.user)

    def _tick(self, session: Session, say: Say) -> None:
        self.ticks += 1
        say(f"{session.jobs.count()} messages, and a tick")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_enqueue_sends_tells_and_ends_with_a_tick(shell: Shell) -> None:
    result = shell("enqueue", str(shell.file))
    assert result.stdout == "s: 4 jobs planned (4 new), 4 messages sent, 0 jobs have ended.\n"
    assert result.stderr == "4 messages, and a tick\n"
    assert shell.ticks == 1


def test_enqueue_again_ticks_again_and_sends_nothing(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    assert shell.json("enqueue", str(shell.file))["sent"] == 0
    assert shell.ticks == 2


def finish(shell: Shell) -> None:
    """Let every job of the sweep be done, the first set's better than the second's."""
    plan = shell.storage.plan("s")
    for planned in plan.jobs:
        job = plan.job(planned)
        score = summarise([-100.0 - planned.seed - 50 * planned.set], [200], None)
        shell.storage.put_status(job, "done", outcome=Outcome(score=score).model_dump())


def test_confirm_adds_fresh_seeds_for_the_leaders_and_ends_with_a_tick(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    finish(shell)
    result = shell("confirm", "s", "--seeds", "5")
    assert result.stdout == (
        "s: 5 fresh seeds for each of tau=0.1, tau=0.2\n"
        "s: 14 jobs planned (10 new), 10 messages sent, 4 jobs have ended.\n"
    )
    assert shell.ticks == 2
    again = shell.json("confirm", "s", "--seeds", "5")
    assert (again["added"], again["sets"]) == (0, [0, 1])


def test_confirm_waits_for_the_ranking_and_takes_at_least_five_seeds(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    assert "may still change" in str(shell.fails("confirm", "s").exception)
    assert shell.fails("confirm", "s", "--seeds", "4").exit_code == 2


def test_a_dry_run_prints_the_plan_and_asks_for_no_target(shell: Shell) -> None:
    shown = shell("enqueue", str(shell.file), "--dry-run").stdout
    assert "s: 2 sets × 2 seeds = 4 jobs, 4,000 steps in all; about 40 s of one core" in " ".join(shown.split())
    rows = [line.split() for line in shown.splitlines()]
    assert ["0", "0.1", "0,", "1"] in rows
    assert ["gamma", "0.99"] in rows
    assert not [row for row in rows if row[:1] == ["tau"]]  # it is searched: no set shares it
    document = shell.json("enqueue", str(shell.file), "--dry-run", "--steps-per-second", "50")
    assert document["core_hours"] == round(4000 / 50 / 3600, 3)
    assert [one["differs"] for one in document["sets"]] == [{"tau": 0.1}, {"tau": 0.2}]
    assert sum(len(one["jobs"]) for one in document["sets"]) == document["jobs"] == 4
    assert (shell.opened, shell.ticks, shell.storage.jobs.count()) == (0, 0, 0)


def test_a_dry_run_cuts_no_value_short(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {f"tau: {{choices: [{0.01234}]}}, gamma: {{choices: [0.98765]}}, env.kwargs.g: {{choices: [9.87654]}}"}
    values |= {f"{name}: {{choices: [123456]}}" for name in ("buffer_size", "learning_starts", "timesteps")}
    values |= {"batch_size: {choices: [1024]}", "policy_kwargs.net_arch: {choices: [[400, 300, 200, 100]]}"}
    shell.file.write_text(FILE.replace("tau: {choices: [0.1, 0.2]}", ", ".join(values)))
    monkeypatch.setenv("COLUMNS", "60")
    shown = shell("enqueue", str(shell.file), "--dry-run").stdout
    (row,) = (line for line in shown.splitlines() if line.strip().startswith("0 "))
    for value in ("0.01234", "0.98765", "9.87654", "123,456", "1,024", "[400, 300, 200, 100]", "0, 1"):
        assert value in row
    assert "s: 1 set × 2 seeds = 2 jobs, 246,912 steps in all" in shown
    assert "…" not in shown


def test_a_dry_run_of_one_job_speaks_of_one(shell: Shell) -> None:
    shell.file.write_text("name: s\nenv: Pendulum-v1\ntimesteps: 1000\nseeds: 1\n")
    assert "s: 1 set × 1 seed = 1 job, 1,000 steps in all" in shell("enqueue", str(shell.file), "--dry-run").stdout


def test_another_plan_under_a_used_name_names_the_file_the_key_and_the_command(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    shell.file.write_text(FILE.replace("[0, 1]", "[0, 1, 2]"))
    words = str(shell.fails("enqueue", str(shell.file)).exception)
    assert f'{shell.file}: name: "s" is the name of a sweep with another plan' in words
    assert f"tranquility enqueue {shell.file} --update" in words


def test_a_dry_run_of_many_sets_shows_the_first_and_says_how_many_more(shell: Shell) -> None:
    shell.file.write_text(FILE.replace("[0.1, 0.2]", str([number / 1000 for number in range(1, 100)])))
    assert "… and 59 more sets (--json prints all)." in shell("enqueue", str(shell.file), "--dry-run").stdout


def test_a_bad_file_is_refused_before_any_target_is_opened(shell: Shell) -> None:
    shell.file.write_text(FILE.replace("tau", "tua"))
    result = shell.fails("enqueue", str(shell.file))
    assert isinstance(result.exception, InputError)
    assert str(result.exception).endswith(
        "s.yaml, line 6: space.tua: unknown key; did you mean tau? Known here: "
        "batch_size, buffer_size, ent_coef, env.kwargs.…, gamma, gradient_steps, learning_rate, learning_starts, "
        "one_minus_gamma, policy_kwargs.activation_fn, policy_kwargs.net_arch, target_entropy, "
        "target_update_interval, tau, timesteps, train_freq."
    )
    assert shell.opened == 0


def test_jobs_that_the_file_no_longer_names_are_listed(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    shell.file.write_text(FILE.replace("[0, 1]", "[1]"))
    assert "2 jobs of this sweep are not in the file, and stay: " in shell("enqueue", str(shell.file)).stdout
    shell.file.write_text(FILE.replace("[0, 1]", "[1, 2]"))
    assert isinstance(shell.fails("enqueue", str(shell.file)).exception, InputError)
    assert shell.json("enqueue", str(shell.file), "--update")["added"] == 2


def test_a_sweep_on_hold_is_planned_without_a_tick_and_the_way_on_is_named(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    shell("pause", "s")
    shown = shell("enqueue", str(shell.file)).stdout
    assert "But s is on hold (paused by ada), and not sent. To go on: tranquility resume s" in shown
    assert shell.ticks == 1


def test_a_note_about_the_plan_is_told(shell: Shell) -> None:
    shell.file.write_text(FILE.replace("grid", "random, count: 9"))
    assert "are equal to an earlier one" in shell("enqueue", str(shell.file)).stderr


def test_cancel_tells_what_ended_and_what_still_runs(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    receive(shell.storage)
    lines = shell("cancel", "s").stdout.splitlines()
    assert lines[0] == "s: 3 jobs cancelled, 0 had ended before."
    assert lines[1].startswith("1 are running, and end at their next commit: ")
    commit_all(shell.storage, "s")
    assert shell.json("cancel", "s") == {"sweep": "s", "cancelled": 0, "stopping": [], "ended": 4}


def test_cancel_takes_jobs_by_the_beginning_of_their_ids(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    job = shell.storage.plan("s").jobs[0].id
    assert shell.json("cancel", f"s/{job[:6]}")["cancelled"] == 1
    assert shell.json("cancel", job)["ended"] == 1


def test_pause_and_resume_tell_what_they_did(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    receive(shell.storage)
    assert shell("pause", "s").stdout == "s is on hold: paused by ada. 1 running job stops at the next commit.\n"
    assert shell("resume", "s").stdout == "s goes on: 4 messages sent.\n"
    assert shell("resume", "s").stdout == "s was not on hold: 0 messages sent.\n"
    assert shell.ticks == 3


def test_retry_shows_what_had_ended_each_job(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    job = jobs_of(shell.storage.plan("s"))[0]
    shell.storage.put_status(job, "failed", outcome={"reason": "diverged: the loss is not finite"})
    shown = shell("retry", "s").stdout.splitlines()
    assert shown == [
        f"s/{job.id} had ended: diverged: the loss is not finite",
        "s: 1 job begins anew, 1 message sent.",
    ]
    assert shell("retry", "s").stdout == "s: there is nothing to retry.\n"
    assert shell.json("retry", "s") == {"sweep": "s", "jobs": [], "sent": 0, "hold": None}


def test_delete_asks_and_removes(shell: Shell) -> None:
    shell("enqueue", str(shell.file))
    receive_all(shell.storage)
    commit_all(shell.storage, "s")
    refused = shell.fails("delete", "s")
    assert str(refused.exception) == (
        "Delete s with its results, models and logs? Nobody is there to answer: say --yes."
    )
    assert shell.storage.plan("s")
    assert shell("delete", "s", "--yes").stdout.startswith("s is gone: ")
    assert isinstance(shell.fails("delete", "s", "--yes").exception, InputError)


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (("cancel", "s"), "Cancel s, which was enqueued by ada? Nobody"),
        (("delete", "s"), "Delete s with its results, models and logs, which was enqueued by ada? Nobody"),
    ],
)
def test_somebody_elses_sweep_is_ended_only_after_asking(shell: Shell, words: tuple[str, ...], question: str) -> None:
    shell("enqueue", str(shell.file))
    shell.user = "bob"
    assert str(shell.fails(*words).exception).startswith(question)
    assert shell.storage.jobs.count() == 4


def test_somebody_elses_sweep_is_updated_only_after_asking(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell("enqueue", str(shell.file))
    shell.user = "bob"
    shell.file.write_text(FILE.replace("[0, 1]", "[0, 1, 2]"))
    asked: list[str] = []

    def answering(word: bool) -> Callable[[bool], Callable[[str], bool]]:
        def ask(question: str) -> bool:
            asked.append(question)
            return word

        return lambda _yes: ask

    monkeypatch.setattr("producer.commands.sweep.asking", answering(False))
    assert isinstance(shell.fails("enqueue", str(shell.file), "--update").exception, NotConfirmed)
    monkeypatch.setattr("producer.commands.sweep.asking", answering(True))
    assert shell.json("enqueue", str(shell.file), "--update")["added"] == 2
    assert asked == ["s was enqueued by ada. Change it (2 jobs are added)?"] * 2


@pytest.mark.parametrize("command", EXAMPLES)
def test_every_command_helps_with_an_example(shell: Shell, command: str) -> None:
    assert EXAMPLES[command] in " ".join(shell(command, "--help").stdout.split())


@pytest.mark.parametrize("words", [("enqueue",), ("cancel",), ("resume", "a", "b"), ("retry", "s", "--never")])
def test_wrong_usage_exits_with_2(shell: Shell, words: tuple[str, ...]) -> None:
    assert shell.fails(*words).exit_code == 2
