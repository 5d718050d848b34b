"""What of a claim's log is kept, and read again."""

from collections.abc import Iterator

import pytest

from producer.results.logs import LogReader
from tests.fakes.manifests import claim
from tests.fakes.slot import World
from tests.fakes.trainer import tiny_job
from worker import job_log
from worker.contract.log import LEFT_OUT


class Logged:
    """A claim that says numbers, and a person who follows its log."""

    def __init__(self) -> None:
        self.world, self.book, self.manifest = World(), job_log.LogBook(), claim(tiny_job())
        self.reader = self.follower()
        self._numbers = iter(range(1000))

    def follower(self) -> LogReader:
        return LogReader(self.world.blobs, self.manifest.job.sweep, self.manifest.job.id)

    def say(self, count: int) -> None:
        for _ in range(count):
            self.book.record({"event": "said", "number": next(self._numbers)})
        self.book.publish(self.world.blobs, self.manifest)

    def read(self, reader: LogReader) -> Iterator[object]:
        for line in reader.new_lines():
            yield (LEFT_OUT, line.content["lines"]) if line.content["event"] == LEFT_OUT else line.content["number"]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Logged:
    monkeypatch.setattr(job_log, "FIRST_LINES", 2)
    monkeypatch.setattr(job_log, "NEWEST_LINES", 3)
    return Logged()


def test_a_log_that_has_room_is_whole(logged: Logged) -> None:
    logged.say(5)
    assert list(logged.read(logged.reader)) == [0, 1, 2, 3, 4]


def test_a_long_log_keeps_its_beginning_and_its_end_and_says_how_much_is_missing(logged: Logged) -> None:
    logged.say(10)
    assert list(logged.read(logged.reader)) == [0, 1, (LEFT_OUT, 5), 7, 8, 9]


def test_who_follows_a_long_log_reads_every_line_once_and_learns_what_he_missed(logged: Logged) -> None:
    logged.say(6)
    assert list(logged.read(logged.reader)) == [0, 1, (LEFT_OUT, 1), 3, 4, 5]
    logged.say(2)
    assert list(logged.read(logged.reader)) == [6, 7]
    logged.say(5)
    assert list(logged.read(logged.reader)) == [(LEFT_OUT, 8), 10, 11, 12]


def test_a_new_claim_begins_a_new_log(logged: Logged) -> None:
    logged.say(10)
    logged.book.begin()
    logged.say(1)
    assert list(logged.read(logged.follower())) == [10]
