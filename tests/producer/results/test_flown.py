"""Which run flies for a sweep: the median of its best set, of the newest sweep or a named one."""

import pytest

from producer.results.flown import read_policy, representative, which_run
from tests.fakes.plans import jobs_of
from tests.fakes.reported import ranked
from tests.fakes.sweeps import Storage, episodes, make_plan, running
from worker.contract.errors import InputError

PLAN = make_plan([{"tau": 0.01}, {"tau": 0.02}], seeds=[0, 1, 2])
JOBS = jobs_of(PLAN)


@pytest.fixture
def storage() -> Storage:
    storage = Storage()
    storage.put_plan(PLAN)
    for job, mean in zip(JOBS, (180, 235, 221, 100, 110, 300), strict=True):
        storage.finish(job, episodes(mean))
    return storage


@pytest.mark.parametrize(("scores", "flies"), [([5.0], 5.0), ([1.0, 9.0], 1.0), ([9.0, 1.0, 4.0], 4.0)])
def test_a_set_is_represented_by_the_median_of_its_seeds(scores: list[float], flies: float) -> None:
    entrant = ranked([({"tau": 0.01}, scores)]).leader.entrant
    assert representative(entrant).score.mean == pytest.approx(flies)


def test_best_is_the_leader_of_the_newest_or_of_the_named_sweep(storage: Storage) -> None:
    assert which_run(storage.blobs, "best", 120.0) == ("lunar", JOBS[2].id)
    storage.now_s = 10.0
    newer = make_plan([{"tau": 0.03}], [0], name="newer")
    storage.put_plan(newer)
    (job,) = jobs_of(newer)
    with pytest.raises(InputError, match="No run of newer has finished yet"):
        which_run(storage.blobs, "best", 120.0)
    storage.finish(job, episodes(1.0))
    assert which_run(storage.blobs, "best", 120.0) == ("newer", job.id)
    assert which_run(storage.blobs, "lunar/best", 120.0) == ("lunar", JOBS[2].id)


def test_anything_else_is_a_job(storage: Storage) -> None:
    assert which_run(storage.blobs, JOBS[0].id[:8], 120.0) == ("lunar", JOBS[0].id)
    assert which_run(storage.blobs, f"lunar/{JOBS[0].id}", 120.0) == ("lunar", JOBS[0].id)


def test_several_environments_have_several_leaders() -> None:
    storage = Storage()
    plan = make_plan([{"env.kwargs.gravity": -10.0}, {"env.kwargs.gravity": -5.0}], [0])
    storage.put_plan(plan)
    jobs = jobs_of(plan)
    for job in jobs:
        storage.finish(job, episodes(100.0))
    with pytest.raises(InputError, match=f"2 environments.*{jobs[0].id}, {jobs[1].id}"):
        which_run(storage.blobs, "best", 120.0)


def test_an_empty_target_has_no_best() -> None:
    with pytest.raises(InputError, match="no sweep on this target yet"):
        which_run(Storage().blobs, "best", 120.0)


def test_only_a_finished_job_has_a_policy(storage: Storage) -> None:
    assert read_policy(storage.blobs, "lunar", JOBS[0].id) == b"policy of " + JOBS[0].id.encode()
    storage.put_manifest(running(JOBS[1], 10))
    with pytest.raises(InputError, match="is not done"):
        read_policy(storage.blobs, "lunar", JOBS[1].id)
