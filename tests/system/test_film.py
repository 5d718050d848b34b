"""The leader on film: the median of its seeds, rendered by a real data plane, or a reason why not."""

import base64
import sys
from pathlib import Path

import imageio_ffmpeg
import pytest
from playwright.sync_api import Browser

from producer.report import film as films
from producer.report.film import EPISODES, NoFilm, film
from producer.report.page import make_report
from producer.results.leaderboard import Leaderboard, leaderboards
from producer.results.progress import ProgressReader
from tests.fakes.plans import jobs_of
from tests.fakes.sweeps import Storage, make_plan
from worker.contract import names
from worker.contract.job import Configuration, EnvironmentSpec, Hyperparameters, PolicyKwargs
from worker.contract.result import POLICY
from worker.training.algorithm import build
from worker.training.environment import TrainingEnvironment, make_for_job
from worker.training.play import play, published
from worker.training.policy import encode_policy

PLAN = make_plan(
    [{}],
    [0, 1, 2],
    name="lander",
    common=Configuration(
        environment=EnvironmentSpec(id="LunarLanderContinuous-v3"),
        timesteps=1_000,
        trainer="fast",
        hyperparameters=Hyperparameters(policy_kwargs=PolicyKwargs(net_arch=(16,))),
    ),
)
JOBS = jobs_of(PLAN)
MEDIAN = JOBS[2]


@pytest.fixture(scope="module")
def policy() -> bytes:
    """What a run publishes before it has learned anything."""
    environment = TrainingEnvironment(make_for_job(MEDIAN.configuration.environment))
    return encode_policy(build(MEDIAN.configuration, environment, seed=MEDIAN.seed), MEDIAN)


@pytest.fixture
def storage() -> Storage:
    return stored()


def stored() -> Storage:
    """Return a sweep of three runs, whose policies cannot fly."""
    storage = Storage()
    storage.put_plan(PLAN)
    for job, score in zip(JOBS, (-300.0, -100.0, -200.0), strict=True):
        storage.finish(job, [score] * 3)
    return storage


def board(storage: Storage) -> Leaderboard:
    (found,) = leaderboards([ProgressReader(storage.blobs, "lander", 120.0).read()])
    return found


@pytest.fixture(scope="module")
def filmed(policy: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report whose leader can fly."""
    storage = stored()
    done = storage.finish(MEDIAN, [-200.0] * 3)
    outcome = done.outcome.model_copy(update={"policy": storage.put_part(done, POLICY, policy)})
    storage.put_manifest(done.model_copy(update={"outcome": outcome}))
    path = tmp_path_factory.mktemp("filmed") / "report.html"
    path.write_text(make_report(storage.session(), "lander"))
    return path


def test_the_report_holds_the_film_of_the_median_seed(filmed: Path, policy: bytes, tmp_path: Path) -> None:
    html = filmed.read_text()
    url = html.partition('src="data:video/mp4;base64,')[2].partition('"')[0]
    (tmp_path / "leader.mp4").write_bytes(base64.b64decode(url))
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "leader.mp4"))
    flown = [flight.length for flight in play(published(policy), EPISODES)]
    assert frames == sum(flown)
    assert seconds == pytest.approx(sum(flown) / 50, abs=0.2)
    assert f"common, seed 2 (the median of its 3 seeds, job {MEDIAN.id})" in html
    assert f"tranquility play lander/{MEDIAN.id} --window" in html


@pytest.mark.parametrize("width", [1280, 400])
def test_the_film_plays_in_a_browser(browser: Browser, filmed: Path, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900})
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.goto(filmed.as_uri())
    page.locator("video").evaluate("async video => { await video.play(); }")
    assert page.locator("video").evaluate("video => [video.videoWidth, video.videoHeight, video.error]") == [
        600,
        400,
        None,
    ]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert troubles == []
    page.close()


def test_what_is_not_installed_is_said(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "worker_is_installed", lambda: False)
    with pytest.raises(NoFilm, match=r"pip install 'tranquility\[worker,video\]'"):
        film(storage.blobs, "lander", board(storage))


def test_what_the_renderer_says_last_is_the_reason(storage: Storage) -> None:
    fails = (sys.executable, "-c", "import sys; sys.exit('the engine is cold')")
    with pytest.raises(NoFilm, match="the engine is cold"):
        film(storage.blobs, "lander", board(storage), command=fails)


def test_a_damaged_policy_leaves_a_report_without_a_film(storage: Storage) -> None:
    policies = [blob.name for blob in storage.blobs.list(names.SWEEPS, "lander/results/") if POLICY in blob.name]
    assert len(policies) == 3
    for name in policies:
        storage.blobs.put(names.SWEEPS, name, b"rotten")
    html = make_report(storage.session(), "lander")
    assert "is not what the manifest names (length and SHA-256)" in html
    assert "<video" not in html
