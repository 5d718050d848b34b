"""What counts against a job, and what is written when it does."""

from pathlib import Path

import pytest

from tests.fakes.slot import World, silent
from tests.fakes.storage import MemoryBlobs
from tests.fakes.sweeps import running
from tests.fakes.trainer import tiny_job
from worker.contract import names
from worker.contract.errors import ConditionFailed
from worker.contract.manifest import Manifest
from worker.contract.records import Condition
from worker.vm.files import SlotFile, slot_file, write_file
from worker.vm.witness import record_death, witnessed

JOB = tiny_job()
OOM = {"SERVICE_RESULT": "oom-kill", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
NAME = names.manifest(JOB.sweep, JOB.id)


@pytest.mark.parametrize(
    ("result", "code", "status", "counts"),
    [
        ("oom-kill", "killed", "KILL", True),
        ("watchdog", "dumped", "ABRT", True),
        ("watchdog", "killed", "KILL", True),
        ("core-dump", "dumped", "SEGV", True),
        ("signal", "killed", "SEGV", True),
        ("signal", "killed", "BUS", True),
        ("signal", "killed", "ABRT", True),
        ("signal", "killed", "KILL", False),
        ("success", "killed", "TERM", False),
        ("success", "exited", "0", False),
        ("exit-code", "exited", "10", False),
        ("exit-code", "exited", "1", False),
        ("timeout", "killed", "KILL", False),
        ("timeout", "dumped", "ABRT", False),
        ("start-limit-hit", "", "", False),
        ("", "", "", False),
    ],
)
def test_only_what_was_witnessed_counts(result: str, code: str, status: str, counts: bool) -> None:
    environment = {"SERVICE_RESULT": result, "EXIT_CODE": code, "EXIT_STATUS": status}
    assert bool(witnessed(environment)) is counts


def write(blobs: MemoryBlobs, directory: Path, manifest: Manifest, nonce: str | None = None) -> None:
    blobs.put(names.SWEEPS, NAME, manifest.canonical(), metadata=manifest.metadata())
    claim = SlotFile(pid=1, sweep=JOB.sweep, job=JOB.id, nonce=nonce or manifest.nonce)
    write_file(slot_file(directory, 0), claim)


def read(blobs: MemoryBlobs) -> Manifest:
    found = blobs.get(names.SWEEPS, NAME)
    assert found is not None
    return Manifest.model_validate_json(found.body)


def test_a_witnessed_death_releases_the_job_and_counts(tmp_path: Path) -> None:
    blobs = World().blobs
    write(blobs, tmp_path, running(JOB, 20))
    record_death(blobs, tmp_path, 0, OOM, silent())
    after = read(blobs)
    assert after.status == "released"
    assert after.counts.failures_in_a_row == 1
    assert after.attempts[-1].ended == "killed"
    assert "out of memory" in after.attempts[-1].reason
    listed = next(iter(blobs.list(names.SWEEPS, NAME)))
    assert listed.metadata["status"] == "released"


def test_the_third_in_a_row_poisons(tmp_path: Path) -> None:
    blobs = World().blobs
    before = running(JOB, 20)
    counts = before.counts.model_copy(update={"failures_in_a_row": 2})
    write(blobs, tmp_path, before.model_copy(update={"counts": counts}))
    record_death(blobs, tmp_path, 0, OOM, silent())
    assert read(blobs).status == "poisoned"
    assert "out of memory" in read(blobs).outcome.reason


@pytest.mark.parametrize("status", ["released", "done", "failed", "cancelled", "poisoned", "planned"])
def test_a_job_that_is_not_running_any_more_is_left_alone(tmp_path: Path, status: str) -> None:
    blobs = World().blobs
    before = Manifest.model_validate({**running(JOB, 20).model_dump(mode="json"), "status": status})
    write(blobs, tmp_path, before)
    assert record_death(blobs, tmp_path, 0, OOM, silent()) is None
    assert read(blobs) == before


def test_another_claims_job_is_left_alone(tmp_path: Path) -> None:
    blobs = World().blobs
    write(blobs, tmp_path, running(JOB, 20), nonce="cd" * 8)
    assert record_death(blobs, tmp_path, 0, OOM, silent()) is None
    assert read(blobs).status == "running"


def test_what_does_not_count_writes_nothing(tmp_path: Path) -> None:
    blobs = World().blobs
    write(blobs, tmp_path, running(JOB, 20))
    killed = {"SERVICE_RESULT": "signal", "EXIT_CODE": "killed", "EXIT_STATUS": "KILL"}
    assert record_death(blobs, tmp_path, 0, killed, silent()) is None
    assert read(blobs).status == "running"


def test_a_slot_without_a_job_or_without_a_file_has_nothing_to_record(tmp_path: Path) -> None:
    blobs = World().blobs
    write(blobs, tmp_path, running(JOB, 20))
    assert record_death(blobs, tmp_path, 1, OOM, silent()) is None
    write_file(slot_file(tmp_path, 0), SlotFile(pid=1))
    assert record_death(blobs, tmp_path, 0, OOM, silent()) is None


class Interrupted(MemoryBlobs):
    """Somebody else writes between the witness's read and its write."""

    between: bytes = b""

    def put(self, container: str, name: str, body: bytes, condition: Condition = None, metadata: object = None) -> str:
        if condition is not None and self.between:
            last, self.between = self.between, b""
            super().put(container, name, last)
            raise ConditionFailed(name)
        return super().put(container, name, body, condition)


def test_a_last_write_of_the_dead_claim_is_counted_on_top_of(tmp_path: Path) -> None:
    blobs = Interrupted(lambda: 0.0)
    write(blobs, tmp_path, running(JOB, 20))
    blobs.between = running(JOB, 40).canonical()
    record_death(blobs, tmp_path, 0, OOM, silent())
    assert (read(blobs).status, read(blobs).step) == ("released", 40)


def test_the_next_claim_wins_against_the_witness(tmp_path: Path) -> None:
    blobs = Interrupted(lambda: 0.0)
    write(blobs, tmp_path, running(JOB, 20))
    blobs.between = running(JOB, 20, nonce="ef" * 8, epoch=2).canonical()
    assert record_death(blobs, tmp_path, 0, OOM, silent()) is None
    assert read(blobs).nonce == "ef" * 8


def test_a_lost_answer_does_not_count_twice(tmp_path: Path) -> None:
    blobs = Interrupted(lambda: 0.0)
    write(blobs, tmp_path, running(JOB, 20))
    before = read(blobs)
    counts = before.counts.model_copy(update={"failures_in_a_row": 1})
    blobs.between = before.model_copy(update={"status": "released", "counts": counts}).canonical()
    record_death(blobs, tmp_path, 0, OOM, silent())
    assert read(blobs).counts.failures_in_a_row == 1
