"""Flying, filming, and what is read of a model.zip: its weights, and nothing that could run."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC
from typer.testing import CliRunner

from tests.fakes.sweeps import running
from worker.commands import app
from worker.contract.errors import InputError
from worker.contract.job import EnvironmentSpec, Job
from worker.contract.result import Result
from worker.training.algorithm import build
from worker.training.environment import TrainingEnvironment, make_for_job
from worker.training.model_zip import environment_named, read_model_zip
from worker.training.play import Pilot, play, published, refuse_without_display
from worker.training.policy import encode_policy
from worker.training.video import Film, check_name

MakeJob = Callable[..., Job]
PENDULUM = EnvironmentSpec(id="Pendulum-v1")


@pytest.fixture(scope="module")
def job(make_job: MakeJob) -> Job:
    return make_job(policy_kwargs={"net_arch": {"pi": [24, 16], "qf": [32]}, "activation_fn": "tanh"})


@pytest.fixture(scope="module")
def model(job: Job) -> SAC:
    return build(job.configuration, TrainingEnvironment(make_for_job(job.configuration.environment)), seed=3)


@pytest.fixture(scope="module")
def pilot(model: SAC, job: Job) -> Pilot:
    return published(encode_policy(model, job))


@pytest.fixture
def model_zip(model: SAC, tmp_path: Path) -> Path:
    model.save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


def test_playing_hands_out_a_frame_for_every_step_and_the_pace(pilot: Pilot) -> None:
    frames: list[tuple[tuple[int, ...], float]] = []
    (flight,) = play(pilot, 1, lambda frame, pace: frames.append((frame.shape, pace)))
    assert len(frames) == flight.length
    assert set(frames) == {((500, 500, 3), 30.0)}


def test_a_window_needs_a_display() -> None:
    with pytest.raises(InputError, match="no display"):
        refuse_without_display({}, "linux")
    refuse_without_display({"SDL_VIDEODRIVER": "dummy"}, "linux")
    refuse_without_display({}, "darwin")


# ---- films -----------------------------------------------------------------------------------------------------------


def shot(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    frame = np.zeros((40, 60, 3), dtype=np.uint8)
    frame[:, number : number + 10] = 255
    return frame


def frames_of(path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24"]
    raw = subprocess.run([*command, "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, 40, 60, 3)


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_a_film_has_its_frames_in_their_size(tmp_path: Path, name: str) -> None:
    with Film(tmp_path / "deep" / name) as film:
        for number in range(20):
            film.add(shot(number), 20.0)
    (path,) = (tmp_path / "deep").iterdir()
    assert path.name == name
    frames = frames_of(path)
    assert len(frames) == 20
    assert abs(int(frames[0][20, 5, 0]) - 255) < 40
    assert int(frames[-1][20, 5, 0]) < 40


def test_a_film_that_was_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with Film(tmp_path / "a.mp4") as film:
            film.add(shot(0), 20.0)
            raise InputError("the engine failed")

    with pytest.raises(InputError, match="engine"):
        break_off()
    assert list(tmp_path.iterdir()) == []


def test_the_ending_names_the_format() -> None:
    with pytest.raises(InputError, match=r"neither an \.mp4 nor a \.gif"):
        check_name(Path("flight.avi"))


def test_without_the_extra_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"pip install 'tranquility\[video\]'"):
        Film(tmp_path / "a.mp4")


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Film(tmp_path / "file" / "a.mp4")


# ---- model.zip -------------------------------------------------------------------------------------------------------


def test_a_model_zip_flies_as_the_model_that_was_saved(model: SAC, model_zip: Path) -> None:
    read = read_model_zip(model_zip, PENDULUM)
    observations = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    for observation in observations:
        ours, _ = read.policy.predict(observation, deterministic=True)
        theirs, _ = model.predict(observation, deterministic=True)
        assert ours.tobytes() == theirs.tobytes()


def test_the_environment_is_that_of_the_result_beside_the_file(model_zip: Path, job: Job) -> None:
    with pytest.raises(InputError, match="--env LunarLanderContinuous-v3"):
        read_model_zip(model_zip, None)
    result = Result.of(
        running(job, 260),
        step=260,
        episodes=1,
        updates=1,
        returns=[1.0],
        lengths=[200],
        evaluations=[],
        fingerprint={},
        state_digest="0" * 64,
    )
    model_zip.with_name("result.json").write_bytes(result.canonical())
    assert read_model_zip(model_zip, None).environment == PENDULUM


def test_nothing_in_a_model_zip_is_run(model_zip: Path, tmp_path: Path) -> None:
    """Pickle where weights should be is refused unread, and the pickle that SB3 puts into `data` is never touched."""
    witness = tmp_path / "it ran"
    harm = pickle.dumps(_Harm(str(witness)), protocol=2)
    evil = tmp_path / "evil.zip"
    with zipfile.ZipFile(model_zip) as archive, zipfile.ZipFile(evil, "w") as copy:
        for name in archive.namelist():
            body = archive.read(name)
            if name == "data":
                data = json.loads(body)
                for value in data.values():
                    if isinstance(value, dict) and ":serialized:" in value:
                        value[":serialized:"] = "bm90IGEgcGlja2xl"
                body = json.dumps(data).encode()
            copy.writestr(name, body)
    assert read_model_zip(evil, PENDULUM).environment == PENDULUM
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", harm)
    with pytest.raises(InputError, match=r"not a model\.zip"):
        read_model_zip(evil, PENDULUM)
    assert not witness.exists()
    pickle.loads(harm)
    assert witness.exists()


class _Harm:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return os.mkdir, (self.path,)


def test_what_is_no_mlp_policy_of_sac_for_this_environment_is_refused(model_zip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not an MLP policy of SAC for LunarLanderContinuous-v3"):
        read_model_zip(model_zip, EnvironmentSpec(id="LunarLanderContinuous-v3"))
    PPO("MlpPolicy", "Pendulum-v1", n_steps=8, batch_size=8, device="cpu").save(tmp_path / "ppo.zip")
    with pytest.raises(InputError, match="not an MLP policy of SAC"):
        read_model_zip(tmp_path / "ppo.zip", PENDULUM)
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(InputError, match=r"not a model\.zip"):
        read_model_zip(tmp_path / "text.zip", PENDULUM)
    with pytest.raises(InputError, match="No such file"):
        read_model_zip(tmp_path / "none.zip", PENDULUM)


def test_weights_that_are_not_all_tensors_are_refused(tmp_path: Path) -> None:
    body = io.BytesIO()
    torch.save({"actor.mu.weight": 3}, body)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data", "{}")
        archive.writestr("policy.pth", body.getvalue())
    with pytest.raises(InputError, match="more than weights"):
        read_model_zip(tmp_path / "a.zip", PENDULUM)


def test_an_unknown_activation_function_is_not_guessed(model: SAC, tmp_path: Path) -> None:
    weights = io.BytesIO()
    torch.save(model.policy.state_dict(), weights)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("data", json.dumps({"policy_kwargs": {"activation_fn": "<class 'torch.nn.SiLU'>"}}))
        archive.writestr("policy.pth", weights.getvalue())
    with pytest.raises(InputError, match="'SiLU'"):
        read_model_zip(tmp_path / "a.zip", PENDULUM)


def test_an_environment_outside_the_table_may_be_flown_in(drifting: str) -> None:
    spec = environment_named(drifting, {"reward": 2.0})
    assert spec.sizes == (2, 1)
    with pytest.raises(InputError, match="gravity"):
        environment_named("Pendulum-v1", {"gravity": 1.0})


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_films_and_tells_the_flights_as_json(model: SAC, job: Job, tmp_path: Path) -> None:
    (tmp_path / "policy.safetensors").write_bytes(encode_policy(model, job))
    film = tmp_path / "flight.mp4"
    arguments = ["play", str(tmp_path / "policy.safetensors"), "--episodes", "1", "--video", str(film), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    (flight,) = json.loads(done.output)
    assert flight["length"] == 200
    assert imageio_ffmpeg.count_frames_and_secs(str(film)) == (200, pytest.approx(200 / 30, abs=0.1))


def test_the_command_opens_a_window(model_zip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    arguments = ["play", str(model_zip), "--env", "Pendulum-v1", "--episodes", "1", "--window"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "episode 1: return" in done.output
    refused = CliRunner().invoke(app, [*arguments, "--video", str(model_zip.with_suffix(".mp4"))])
    assert isinstance(refused.exception, InputError)
    assert "one of --video and --window" in str(refused.exception)
