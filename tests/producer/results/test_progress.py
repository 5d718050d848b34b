"""Claims about how a sweep's progress is read from a plan and a listing."""

import json
from collections.abc import Iterator

import pytest

from producer.results.progress import JobProgress, ProgressReader, SweepProgress
from tests.fakes.plans import jobs_of
from tests.fakes.storage import MemoryBlobs
from tests.fakes.sweeps import Storage, attempt, episodes, make_plan, running
from worker.contract import names
from worker.contract.control import Hold, write_hold
from worker.contract.errors import InputError
from worker.contract.manifest import Manifest, Outcome, as_listed
from worker.contract.records import Listed, Stored

PLAN = make_plan([{"tau": 0.01}, {"tau": 0.02, "timesteps": 100_000}], seeds=[0, 1])
JOBS = jobs_of(PLAN)
SAID = {name: said for name, said in as_listed(running(JOBS[0], 10).metadata()).items() if name != "status"}
ODD: tuple[dict[str, object], ...] = ({"trail": "up,down"}, {"score": {}}, {"step": "many"}, {"step": []})


def read(storage: Storage) -> SweepProgress:
    return ProgressReader(storage.blobs, "lunar", silent_after_s=120.0).read()


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    return storage


def test_a_planned_job_without_a_manifest_waits(storage: Storage) -> None:
    sweep = read(storage)
    assert [job.state for job in sweep.jobs] == ["waiting"] * 4
    assert [job.total for job in sweep.jobs] == [200_000, 200_000, 100_000, 100_000]
    assert sweep.steps == (0, 600_000)
    assert sweep.eta_s is None
    assert not sweep.finished


def test_a_listing_alone_shows_all_of_a_running_job(storage: Storage) -> None:
    storage.put_manifest(running(JOBS[0], 50_000, reached=51_000, eviction_count=2, attempt_count=3, lost_steps=700))
    job = read(storage).jobs[0]
    assert job == JobProgress(
        id=JOBS[0].id,
        set=0,
        seed=0,
        total=200_000,
        state="running",
        step=50_000,
        reached=51_000,
        latest_return=-120.5,
        trail_text="-300,-120",
        attempts=3,
        evictions=2,
        lost_steps=700,
        steps_per_second=90.0,
        seconds=600.0,
        worker="vm-1/0",
        releases=("0.1.0-3f2a9c",),
    )
    assert job.trail == (-300.0, -120.0)
    assert job.shown_step == 51_000
    assert job.eta_s == pytest.approx(149_000 / 90)


def test_a_running_job_whose_manifest_is_older_than_the_visibility_timeout_is_silent(storage: Storage) -> None:
    storage.put_manifest(running(JOBS[0], 50_000))
    storage.now_s = 120.0
    assert read(storage).jobs[0].state == "running"
    storage.now_s = 121.0
    silent = read(storage)
    assert silent.jobs[0].state == "silent"
    assert silent.jobs[0].eta_s is None
    assert silent.alive == ()


@pytest.mark.parametrize("status", ["planned", "released"])
def test_a_job_that_was_given_back_waits(storage: Storage, status: str) -> None:
    storage.put_manifest(running(JOBS[0], 50_000, status=status))
    job = read(storage).jobs[0]
    assert (job.state, job.shown_step) == ("waiting", 50_000)


@pytest.mark.parametrize("status", ["failed", "poisoned", "cancelled"])
def test_a_job_that_ended_badly_says_why_and_leaves_nothing_to_do(storage: Storage, status: str) -> None:
    storage.put_manifest(running(JOBS[0], 50_000, status=status, outcome=Outcome(reason="diverged: loss is NaN")))
    sweep = read(storage)
    assert (sweep.jobs[0].state, sweep.jobs[0].reason) == (status, "diverged: loss is NaN")
    assert sweep.steps == (0, 400_000)
    assert sweep.ended == 1


def test_a_finished_job_has_its_score(storage: Storage) -> None:
    storage.finish(JOBS[0], episodes(212.0))
    job = read(storage).jobs[0]
    assert job.state == "done"
    assert job.score is not None
    assert job.score.mean == pytest.approx(212.0)


def test_the_sweep_takes_at_least_as_long_as_its_slowest_living_job(storage: Storage) -> None:
    storage.put_manifest(running(JOBS[0], 0, reached=0, steps_per_second=10.0))
    for job in JOBS[1:]:
        storage.put_manifest(running(job, job.configuration.timesteps - 10, steps_per_second=1000.0))
    assert read(storage).eta_s == pytest.approx(200_000 / 10.0)


def test_a_sweep_is_finished_when_every_job_has_ended(storage: Storage) -> None:
    for job in JOBS[:3]:
        storage.finish(job, episodes(100.0))
    storage.put_manifest(running(JOBS[3], 10, status="poisoned", attempts=(attempt(1, (0, 10), "killed"),)))
    sweep = read(storage)
    assert sweep.finished
    assert sweep.counts == {"done": 3, "poisoned": 1}
    assert sweep.steps == (500_000, 500_000)


def test_a_hold_is_part_of_the_progress(storage: Storage) -> None:
    write_hold(storage.blobs, "lunar", Hold(kind="paused", reason="lunch"))
    assert read(storage).hold == Hold(kind="paused", reason="lunch")


@pytest.mark.parametrize(
    "odd",
    [
        {"status": "molten"},
        *({"summary": text} for text in ("no JSON", "[]", "{}")),
        *({"summary": json.dumps(SAID | odd)} for odd in ODD),
    ],
    ids=str,
)
def test_metadata_of_another_release_makes_one_job_unreadable_and_no_other(
    storage: Storage, odd: dict[str, str]
) -> None:
    storage.finish(JOBS[1], episodes(1.0))
    metadata = {**running(JOBS[0], 10).metadata(), **odd}
    storage.blobs.put(names.SWEEPS, names.manifest("lunar", JOBS[0].id), b"{}", metadata=metadata)
    first, second, *_ = read(storage).jobs
    assert first.state == "silent"
    assert "cannot read" in first.reason
    assert second.state == "done"


def test_a_manifest_that_no_plan_names_is_not_shown(storage: Storage) -> None:
    other = make_plan([{"tau": 0.05}], seeds=[9])
    storage.put_manifest(running(jobs_of(other)[0], 10))
    assert len(read(storage).jobs) == 4


def test_an_unknown_sweep_is_an_error_that_names_the_known_ones(storage: Storage) -> None:
    with pytest.raises(InputError, match=r"no sweep 'moon'.*lunar"):
        ProgressReader(storage.blobs, "moon", silent_after_s=120.0).read()


class CountingBlobs(MemoryBlobs):
    """Counts requests; a listing is one (the fake has fewer than 5,000 blobs)."""

    requests: int = 0
    plan_reads: int = 0

    def get(self, container: str, name: str, beat: object = None) -> Stored | None:
        self.requests += 1
        self.plan_reads += name.endswith("plan.json")
        return super().get(container, name)

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        self.requests += 1
        return super().list(container, prefix)


def test_progress_needs_three_requests_and_reads_the_plan_only_when_it_changed() -> None:
    blobs = CountingBlobs(lambda: 0.0)
    blobs.put(names.SWEEPS, names.plan("lunar"), PLAN.canonical())
    for job in JOBS:
        manifest: Manifest = running(job, 10)
        blobs.put(names.SWEEPS, names.manifest("lunar", job.id), manifest.canonical(), metadata=manifest.metadata())
    reader = ProgressReader(blobs, "lunar", 120.0)
    reader.read()
    blobs.requests = 0
    reader.read()
    assert (blobs.requests, blobs.plan_reads) == (3, 1)
    larger = make_plan([{"tau": 0.01}, {"tau": 0.02, "timesteps": 100_000}], seeds=[0, 1, 2])
    blobs.put(names.SWEEPS, names.plan("lunar"), larger.canonical())
    assert len(reader.read().jobs) == 6
    assert blobs.plan_reads == 2


def test_a_job_that_has_just_begun_counts_in_the_eta_with_the_pace_of_the_others(storage: Storage) -> None:
    storage.put_manifest(running(JOBS[0], 100_000))
    storage.put_manifest(running(JOBS[1], 0, steps_per_second=0.0))
    sweep = read(storage)
    assert sweep.steps_per_second == 90
    assert sweep.eta_s == pytest.approx(500_000 / 180)  # of three jobs
