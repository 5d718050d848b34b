"""Claims about logs: all attempts in order, what ended each, and what is added later."""

import json

import pytest

from producer.results.logs import LEVELS, LogLine, LogPrinter, LogReader, find_job, follow, readable
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import Storage, attempt, make_plan, running
from worker.contract import names
from worker.contract.errors import InputError, StorageUnavailable
from worker.contract.manifest import Manifest
from worker.contract.runtime import Event, RealRuntime

PLAN = make_plan([{"tau": 0.01}], seeds=[0])
JOB = jobs_of(PLAN)[0]
NONCE = "ab" * 8


def put_log(storage: Storage, epoch: int, *events: dict[str, object]) -> None:
    body = "".join(json.dumps(event) + "\n" for event in events).encode()
    storage.blobs.put(names.SWEEPS, names.log("lunar", JOB.id, epoch, NONCE), body)


def event(name: str, level: str = "info", **more: object) -> dict[str, object]:
    return {"event": name, "level": level, "timestamp": "2026-11-22T10:00:01.25Z", "job": JOB.id, "epoch": 1, **more}


def manifest(status: str = "running") -> Manifest:
    return running(
        JOB,
        5_000,
        status=status,
        attempts=(
            attempt(1, (0, 4_000), "evicted", reason="Preempt", reached_step=4_210),
            attempt(2, (4_000, 4_000), "vanished", seconds=30.0),
            attempt(3, (4_000, 5_000), "running" if status == "running" else "done"),
        ),
    )


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    storage.put_manifest(manifest())
    put_log(storage, 1, event("job.claimed", step=0), event("env.made", "debug"))
    put_log(storage, 3, event("job.resumed", "warning", why="the VM fell silent", differs={"cpu": "a"}))
    return storage


def printed(storage: Storage, level: str = "info") -> list[str]:
    lines: list[str] = []
    printer = LogPrinter(lines.append, LEVELS[level])
    reader = LogReader(storage.blobs, "lunar", JOB.id)
    printer.know(reader.manifest())
    for line in reader.new_lines():
        printer.show(line)
    printer.finish()
    return lines


def test_all_attempts_are_printed_in_order_also_those_that_left_no_log(storage: Storage) -> None:
    assert printed(storage) == [
        "── attempt 1 on vm-1/0, 2026-11-22 10:01:00 UTC, from step 0 ──",
        "2026-11-22 10:00:01 info    job.claimed step=0",
        "── evicted (Preempt) at step 4,000 after 10 min, 210 steps lost ──",
        "── attempt 2 on vm-2/0, 2026-11-22 10:02:00 UTC, from step 4,000 ──",
        "── vanished at step 4,000 after 30 s ──",
        "── attempt 3 on vm-3/0, 2026-11-22 10:03:00 UTC, from step 4,000 ──",
        '2026-11-22 10:00:01 warning job.resumed why="the VM fell silent" differs={"cpu": "a"}',
    ]


def test_lines_below_the_level_are_left_out(storage: Storage) -> None:
    assert any("env.made" in line for line in printed(storage, "debug"))
    assert not any("job.claimed" in line for line in printed(storage, "warning"))


def test_a_claim_that_the_manifest_no_longer_lists_is_printed_all_the_same(storage: Storage) -> None:
    put_log(storage, 7, event("late"))
    assert printed(storage)[-2:] == ["── attempt 7 ──", "2026-11-22 10:00:01 info    late"]


def test_a_line_that_comes_late_is_not_taken_for_one_of_the_later_attempt(storage: Storage) -> None:
    lines: list[str] = []
    printer = LogPrinter(lines.append)
    for epoch in (1, 2, 1, 2):
        printer.show(LogLine(epoch, str(epoch), {}))
    assert lines == [
        *("── attempt 1 ──", "1", "── attempt 2 ──", "2"),
        *("── attempt 1 had also said ──", "1", "── attempt 2 again ──", "2"),
    ]


def test_a_line_that_is_not_json_is_printed_as_it_is() -> None:
    line = LogLine(1, "Segmentation fault", {})
    assert readable(line) == "Segmentation fault"
    assert line.level == LEVELS["error"]


def test_only_what_was_added_is_read_again(storage: Storage) -> None:
    reader = LogReader(storage.blobs, "lunar", JOB.id)
    assert len(list(reader.new_lines())) == 3
    assert list(reader.new_lines()) == []
    put_log(storage, 3, event("job.resumed"), event("checkpoint.committed", step=6_000))
    assert [line.content["event"] for line in reader.new_lines()] == ["checkpoint.committed"]


class Script(RealRuntime):
    """Waiting means that the next thing happens."""

    def __init__(self, *happens: object) -> None:
        self._happens = iter(happens)
        self.waits = 0

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        self.waits += 1
        step = next(self._happens, None)
        if callable(step):
            step()
        return step is None


def test_following_ends_with_the_job_and_misses_no_last_line(storage: Storage) -> None:
    seen: list[str] = []

    def end() -> None:
        storage.put_manifest(manifest("done"))

    def last_words() -> None:
        put_log(storage, 3, event("job.resumed"), event("job.done"))

    reader = LogReader(storage.blobs, "lunar", JOB.id)
    runtime = Script(end, last_words, lambda: None)
    follow(reader, lambda line: seen.append(str(line.content["event"])), lambda _: None, runtime, runtime.event())
    assert seen[-1] == "job.done"
    assert runtime.waits == 2


def test_following_waits_an_outage_out(storage: Storage) -> None:
    reader = LogReader(storage.blobs, "lunar", JOB.id)
    real = reader.manifest
    answers = iter([StorageUnavailable("no route"), None])

    def flaky() -> Manifest | None:
        error = next(answers, None)
        if error:
            raise error
        return real()

    reader.manifest = flaky  # type: ignore[method-assign] # one outage, then the real thing
    seen: list[LogLine] = []
    runtime = Script(lambda: storage.put_manifest(manifest("done")), lambda: None, lambda: None)
    follow(reader, seen.append, lambda _: None, runtime, runtime.event())
    assert len(seen) == 3


def test_a_job_is_found_by_the_beginning_of_its_id(storage: Storage) -> None:
    assert find_job(storage.blobs, JOB.id[:5]) == ("lunar", JOB.id)
    assert find_job(storage.blobs, f"lunar/{JOB.id}") == ("lunar", JOB.id)


def test_the_same_run_in_two_sweeps_must_be_named_with_its_sweep(storage: Storage) -> None:
    again = make_plan([{"tau": 0.01}], seeds=[0], name="second")
    storage.put_plan(again)
    storage.put_manifest(running(jobs_of(again)[0], 5))
    with pytest.raises(InputError, match=rf"2 jobs begin with .*lunar/{JOB.id}, second/{JOB.id}"):
        find_job(storage.blobs, JOB.id)
    assert find_job(storage.blobs, f"second/{JOB.id}") == ("second", JOB.id)


@pytest.mark.parametrize("asked", ["ffff", "moon/", "moon/ffff"])
def test_a_job_that_nobody_claimed_has_no_logs(storage: Storage, asked: str) -> None:
    with pytest.raises(InputError, match=r"No job .*that a worker ever had|Name a job"):
        find_job(storage.blobs, asked)
