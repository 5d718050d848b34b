"""The committer: one snapshot in flight, and a failure that costs nothing but time (rules 2, 5 and 9)."""

import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import pytest
import structlog

from tests.fakes.hand_runtime import HandRuntime
from tests.fakes.manifests import OTHER_NONCE, claim
from tests.fakes.slot import Clock, listening, silent
from tests.fakes.storage import MemoryBlobs
from tests.fakes.trainer import TinyRun, tiny_job
from tests.fakes.trouble import Trouble
from worker import committer, decisions, fence
from worker.checkpoint import CheckpointStore
from worker.committer import AGAIN_AFTER_FAILURE_S, Committer
from worker.contract import names
from worker.contract.log import MEASURED, Logger
from worker.contract.through import BlobsThrough
from worker.snapshot.curve import Curve, CurveRow
from worker.stop import StopRequest

LONG_S = 30.0


class Bench:
    """A committer over storage that can be held up and taken down."""

    def __init__(self, log: Logger) -> None:
        self.job, self.runtime, self.trouble, self.memory = tiny_job(), HandRuntime(), Trouble(), MemoryBlobs(Clock())
        blobs = BlobsThrough(self.memory, self.trouble.through)
        self.claim = fence.create(blobs, self.runtime, claim(self.job), None)
        self.stop = StopRequest(self.runtime)
        self.run = TinyRun(self.job, lambda: None)
        self.committed: list[int] = []
        self.progress: Callable[[], decisions.Progress] = lambda: decisions.Progress(self.run.step, 1, 1, None, None)
        self.committer = Committer(
            CheckpointStore(blobs, self.claim),
            self.claim,
            self.stop,
            self.runtime,
            log,
            base=None,
            commit_s=60.0,
            progress=self._progress,
            fingerprint={"cpu": "tiny"},
            after_commit=lambda: self.committed.append(self.claim.manifest.step),
        )

    def _progress(self) -> decisions.Progress:
        return self.progress()  # as the test has set it meanwhile

    def advance_to(self, step: int) -> None:
        while self.run.step < step:
            self.run._advance()

    def commit_at(self, step: int) -> None:
        self.advance_to(step)
        self.committer.commit(self.run.capture(self.committer.rows_from()))

    def settled(self) -> bool:
        return self.committer.settle(LONG_S)

    def names(self) -> set[str]:
        return {blob.name for blob in self.memory.list(names.CHECKPOINTS, "")}


@contextmanager
def committing(log: Logger | None = None) -> Iterator[Bench]:
    bench = Bench(log or silent())
    try:
        yield bench
    finally:
        bench.committer.close()


def test_a_snapshot_is_due_after_the_time_between_commits_and_not_before() -> None:
    with committing() as bench:
        assert not bench.committer.due()
        bench.runtime.now_s += 60
        assert bench.committer.due()
        bench.commit_at(10)
        assert bench.settled()
        assert not bench.committer.due()


def test_nothing_is_due_while_a_snapshot_is_in_flight() -> None:
    with committing() as bench:
        enter, leave = threading.Event(), threading.Event()

        def held_up() -> decisions.Progress:
            enter.set()
            assert leave.wait(LONG_S)
            return decisions.Progress(10, 1, 1, None, None)

        bench.progress = held_up
        bench.commit_at(10)
        assert enter.wait(LONG_S)
        bench.runtime.now_s += 1000
        assert not bench.committer.due()
        assert not bench.committer.settle(0)
        leave.set()
        assert bench.settled()
        assert bench.committed == [10]


def test_commits_keep_two_generations_and_collect_what_they_drop() -> None:
    with committing() as bench:
        for step in (10, 20, 30):
            bench.commit_at(step)
            assert bench.settled()
        generations = bench.claim.manifest.generations
        assert [generation.step for generation in generations] == [30, 20]
        assert bench.names() == generations[0].blob_names() | generations[1].blob_names()


def test_a_commit_collects_nothing_but_what_the_manifest_has_named() -> None:
    with committing() as bench:
        later = f"{names.checkpoint(bench.job.sweep, bench.job.id)}state-000000040-{'f' * 16}-0"
        bench.memory.put(names.CHECKPOINTS, later, b"what a later claim uploads, and will name next")
        for step in (10, 20, 30):
            bench.commit_at(step)
            assert bench.settled()
        assert later in bench.names()


def test_a_failure_keeps_the_old_base_and_is_tried_again_soon() -> None:
    with committing() as bench:
        bench.commit_at(10)
        assert bench.settled()
        before = bench.claim.manifest
        bench.trouble.down = True
        bench.commit_at(20)
        assert bench.settled()
        assert bench.claim.manifest == before
        assert bench.stop.reason is None
        bench.runtime.now_s += AGAIN_AFTER_FAILURE_S
        assert bench.committer.due()
        bench.trouble.down = False
        bench.commit_at(30)
        assert bench.settled()
        assert [generation.step for generation in bench.claim.manifest.generations] == [30, 10]
        assert bench.committed == [10, 30]


def test_a_commit_of_a_lost_job_changes_nothing_and_stops_it() -> None:
    with committing() as bench:
        bench.commit_at(10)
        assert bench.settled()
        stolen = claim(before=bench.claim.manifest, nonce=OTHER_NONCE)
        name = names.manifest(bench.job.sweep, bench.job.id)
        bench.memory.put(names.SWEEPS, name, stolen.canonical())
        kept = bench.names()
        bench.commit_at(20)
        assert bench.settled()
        assert bench.stop.reason == "lost"
        found = bench.memory.get(names.SWEEPS, name)
        assert found is not None
        assert found.body == stolen.canonical()
        assert kept <= bench.names()  # what the new owner restores is still there


def test_a_mistake_of_ours_reaches_the_trainers_thread() -> None:
    with committing() as bench:
        bench.committer.raise_its_error()

        def mistaken() -> decisions.Progress:
            raise ValueError("a mistake")

        bench.progress = mistaken
        bench.commit_at(10)
        assert bench.settled()
        assert bench.stop.reason is not None
        with pytest.raises(ValueError, match="a mistake"):
            bench.committer.raise_its_error()


def test_the_last_commit_before_a_stop_is_tried_until_storage_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "AGAIN_BEFORE_A_STOP_S", 0.001)
    with committing() as bench:
        refused = 3

        def left_s() -> float:
            bench.trouble.down = bench.trouble.refused < refused
            return LONG_S

        left_s()
        bench.stop.ask("evicted")
        bench.advance_to(10)
        assert bench.committer.commit_before(bench.run.capture(bench.committer.rows_from()), left_s)
        assert bench.trouble.refused == refused
        assert bench.committed == [10]


def test_the_last_commit_before_a_stop_is_given_up_at_the_deadline() -> None:
    with committing() as bench:
        bench.trouble.down = True
        bench.stop.ask("evicted")
        ends_s = iter([LONG_S, 0.0])
        assert not bench.committer.commit_before(bench.run.capture(0), lambda: next(ends_s))
        assert bench.committed == []
        assert next(ends_s, None) is None


def test_a_mistake_in_the_last_commit_before_a_stop_is_logged_with_its_trace() -> None:
    log, told = listening()
    with committing(log) as bench:

        def mistaken() -> decisions.Progress:
            raise ValueError("a mistake")

        bench.progress = mistaken
        bench.stop.ask("evicted")
        assert not bench.committer.commit_before(bench.run.capture(0), lambda: LONG_S)
    (raised,) = (event for event in told if event["event"] == "checkpoint.raised")
    assert raised["error"] == "ValueError('a mistake')"
    assert "in mistaken" in raised["trace"]


def test_what_was_measured_since_the_last_commit_is_logged_once() -> None:
    told: list[tuple[int, float]] = []

    def keep(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
        if event["event"] == MEASURED:
            told.append((event["step"], event["train/ent_coef"]))
        raise structlog.DropEvent

    with committing() as bench:
        bench.committer._log = structlog.wrap_logger(None, processors=[keep])
        for step, rows in ((2, 1), (4, 1), (6, 3)):
            bench.run._curve = Curve(tuple(CurveRow(row, {"train/ent_coef": row / 3}) for row in range(1, rows + 1)))
            bench.commit_at(step)
            assert bench.settled()
    assert told == [(1, 0.333333), (3, 1.0)]


def test_closing_waits_for_the_snapshot_in_flight() -> None:
    bench = Bench(silent())
    bench.commit_at(10)
    bench.committer.close()
    assert bench.committed == [10]
