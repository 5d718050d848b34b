"""Claims about results, scores and the trail of returns in manifests."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.fakes.sweeps import COMMON, Storage, episodes, running
from worker.contract import names
from worker.contract.job import Job
from worker.contract.manifest import TRAIL_POINTS, TrailPoint, as_listed, trailed
from worker.contract.result import Result
from worker.contract.score import EvaluationSummary, summarise

JOB = Job.of("lunar", COMMON, 3)


def finished() -> Result:
    storage = Storage()
    done = storage.finish(JOB, episodes(212.0))
    assert done.outcome.result is not None
    found = storage.blobs.get(names.SWEEPS, done.outcome.result.name)
    assert found is not None
    return Result.model_validate_json(found.body)


def test_a_result_comes_back_from_its_own_json() -> None:
    result = finished()
    assert Result.model_validate_json(result.canonical()) == result
    assert result.score.mean == pytest.approx(212.0)
    assert result.trainer == "fast"
    assert result.release == "0.1.0-3f2a9c1d"


@pytest.mark.parametrize("changed", ["mean", "std", "percentile_5", "mean_length", "solved"])
def test_a_score_that_is_not_that_of_its_episodes_is_refused(changed: str) -> None:
    content = finished().model_dump(mode="json")
    content["score"][changed] *= 0.99
    with pytest.raises(ValidationError, match=rf"score\.{changed}"):
        Result.model_validate(content)


def test_a_result_with_an_unmatched_episode_is_refused() -> None:
    content = finished().model_dump(mode="json")
    content["final"]["lengths"].pop()
    with pytest.raises(ValidationError, match="a return and a length"):
        Result.model_validate(content)


def test_a_score_counts_landings_and_the_tail() -> None:
    score = summarise([100.0, 200.0, 300.0, 250.0], [10, 20, 30, 40], 200.0)
    assert (score.episodes, score.mean, score.solved, score.mean_length) == (4, 212.5, 0.75, 25.0)
    assert score.std == pytest.approx(73.95100, abs=1e-5)
    assert score.percentile_5 == pytest.approx(115.0)


def test_an_environment_without_a_threshold_has_no_share_solved() -> None:
    assert summarise([-100.0], [200], None).solved is None


def test_the_score_rides_in_the_listing_to_the_last_digit() -> None:
    storage = Storage()
    done = storage.finish(JOB, episodes(1 / 3, spread=0.1))
    (listed,) = storage.blobs.list(names.SWEEPS, names.manifests("lunar"))
    assert EvaluationSummary.model_validate(as_listed(listed.metadata)["score"]) == done.outcome.score


@settings(deadline=None)
@given(
    steps=st.lists(st.integers(0, 1200), max_size=80),
    total=st.integers(1, 1000),
)
def test_a_trail_stays_short_in_order_and_ends_with_the_newest_return(steps: list[int], total: int) -> None:
    trail: tuple[TrailPoint, ...] = ()
    for number, step in enumerate(steps):
        trail = trailed(trail, step, float(number), total)
        assert trail[-1] == TrailPoint(step=step, value=float(number))
        assert len(trail) <= TRAIL_POINTS
        assert [point.step for point in trail] == sorted({point.step for point in trail})


def test_a_trail_of_a_whole_run_keeps_one_return_of_each_stretch() -> None:
    trail: tuple[TrailPoint, ...] = ()
    for step in range(0, 24_000, 100):
        trail = trailed(trail, step, float(step), 24_000)
    assert [point.step for point in trail] == list(range(900, 24_000, 1000))


def test_a_trail_rides_in_the_listing() -> None:
    assert as_listed(running(JOB, 5_000).metadata())["trail"] == "-300,-120"
