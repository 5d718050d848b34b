"""A run is SB3's run: the same weights, curve keys and model file, with evaluation that leaves no trace in it."""

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.utils import LinearSchedule

from worker.contract.errors import BadConfiguration, CheckpointCorrupt, Diverged
from worker.contract.job import Evaluation, Job
from worker.contract.manifest import PartialEvaluation
from worker.training.evaluation import FIRST_HELD_OUT_SEED, FIRST_PERIODIC_SEED
from worker.training.play import play, published
from worker.training.trainer import SacRun
from worker.training_run import FinishedRun, Snapshot, TrainingRun

MakeJob = Callable[..., Job]


class Stop(Exception):
    """The boundary was reached."""


def ignore(*_: object) -> None:
    return


EVALUATED: dict[str, Any] = {
    "timesteps": 420,
    "learning_starts": 380,
    "learning_rate": "lin_1e-3",
    "evaluation": Evaluation(every=150, episodes=2, final_episodes=2),
}


@pytest.fixture(scope="module")
def evaluated(make_job: MakeJob) -> FinishedRun:
    return SacRun(make_job(**EVALUATED)).train(ignore, ignore)


def test_the_trainer_sb3_trains_what_stable_baselines3_trains_evaluations_or_not(
    evaluated: FinishedRun,
) -> None:
    plain = SAC(
        "MlpPolicy",
        gymnasium.make("Pendulum-v1"),
        learning_rate=LinearSchedule(1e-3, 0.0, 1.0),
        learning_starts=380,
        batch_size=32,
        buffer_size=1000,
        policy_kwargs={"net_arch": [32, 32]},
        seed=3,
        device="cpu",
    ).learn(420)
    ours = SAC.load(io.BytesIO(evaluated.model_zip)).policy.state_dict()
    assert all(torch.equal(weights, ours[name]) for name, weights in plain.policy.state_dict().items())


def test_the_model_loads_without_a_warning_where_tranquility_is_not_installed(
    evaluated: FinishedRun, tmp_path: Path
) -> None:
    (tmp_path / "model.zip").write_bytes(evaluated.model_zip)
    script = """
import sys, warnings
sys.modules["worker"] = None
from stable_baselines3 import SAC
with warnings.catch_warnings():
    warnings.simplefilter("error")
    model = SAC.load("model.zip")
print(repr(model.lr_schedule), model.predict([1.0, 0.0, 0.5], deterministic=True)[0].tobytes().hex())
"""
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    action, _ = SAC.load(tmp_path / "model.zip").predict(np.array([1.0, 0.0, 0.5]), deterministic=True)
    assert done.stdout.split()[-1] == action.tobytes().hex()
    assert "LinearSchedule(start=0.001" in done.stdout


def test_periodic_evaluations_stand_in_the_curve_and_the_final_one_beside_it(evaluated: FinishedRun) -> None:
    assert [(row.step, len(row.returns)) for row in evaluated.curve.evaluations] == [(150, 2), (300, 2)]
    assert (evaluated.evaluation.step, evaluated.evaluation.final) == (420, True)
    assert evaluated.summary.episodes == len(evaluated.evaluation.returns) == 2
    assert (evaluated.step, evaluated.episodes, evaluated.updates) == (420, 2, 40)


def test_a_published_policy_flies_the_held_out_episodes_as_the_final_evaluation_did(evaluated: FinishedRun) -> None:
    flights = list(play(published(evaluated.policy), 2))
    assert [flight.seed for flight in flights] == [FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + 1]
    assert tuple(flight.episode_return for flight in flights) == evaluated.evaluation.returns
    assert tuple(flight.length for flight in flights) == evaluated.evaluation.lengths


def test_job_seeds_periodic_seeds_and_held_out_seeds_never_meet() -> None:
    assert FIRST_PERIODIC_SEED >= 2**30
    assert FIRST_HELD_OUT_SEED - FIRST_PERIODIC_SEED > 100
    assert FIRST_HELD_OUT_SEED + 1_000 < 2**32


def test_every_step_update_and_evaluation_step_is_a_beat_and_each_of_the_latter_a_boundary(
    make_job: MakeJob,
) -> None:
    beats: list[None] = []
    boundaries: list[bool] = []
    job = make_job("tests/Drifting-v0", 20, learning_starts=15, train_freq=4, gradient_steps=2)
    finished = SacRun(job).train(
        lambda run: boundaries.append(run.partial_evaluation is not None), lambda: beats.append(None)
    )
    assert finished.updates == 4
    assert finished.evaluation.lengths == (5,)
    assert len(beats) == 20 + 4 + 5
    assert boundaries == [False] * 5 + [True] * 5


def test_a_run_that_is_stopped_within_an_evaluation_episode_keeps_the_finished_ones(make_job: MakeJob) -> None:
    evaluation = Evaluation(every=50_000_000, episodes=1, final_episodes=3)
    job = make_job("tests/Drifting-v0", 20, learning_starts=15, evaluation=evaluation)
    stopped, calls = SacRun(job), []

    def boundary(run: TrainingRun) -> None:
        calls.append(run.partial_evaluation)
        if len(calls) == 20 + 2 * 5 + 3:  # in the third step of the third episode
            raise Stop

    with pytest.raises(Stop):
        stopped.train(boundary, ignore)
    snapshot = stopped.capture(0)
    assert snapshot.partial is not None
    assert (snapshot.partial.step, snapshot.partial.final, snapshot.partial.lengths) == (20, True, (5, 5))
    resumed = SacRun(job)
    resumed.restore(snapshot.state, [snapshot.rows], snapshot.partial, ignore, exact=True)
    beats: list[None] = []
    finished = resumed.train(ignore, lambda: beats.append(None))
    assert len(beats) == 5
    assert finished.evaluation == SacRun(job).train(ignore, ignore).evaluation


@pytest.mark.parametrize(
    "partial",
    [
        PartialEvaluation(step=9, final=False, returns=(1.0,), lengths=(5,)),
        PartialEvaluation(step=10, final=True, returns=(1.0,), lengths=(5,)),
        PartialEvaluation(step=20, final=True, returns=(1.0,) * 2, lengths=(5,) * 2),
    ],
    ids=["of another step", "not due", "too long"],
)
def test_an_evaluation_that_does_not_belong_to_the_state_is_a_corrupt_checkpoint(
    partial: PartialEvaluation, make_job: MakeJob
) -> None:
    job = make_job("tests/Drifting-v0", 20)
    kept: list[Snapshot] = []
    SacRun(job).train(lambda run: kept.append(run.capture(0)), ignore)
    snapshot = next(snapshot for snapshot in kept if snapshot.state.step == (10 if partial.step < 20 else 20))
    run = SacRun(job)
    with pytest.raises(CheckpointCorrupt, match="evaluation under way"):
        run.restore(snapshot.state, [snapshot.rows], partial, ignore, exact=True)


def test_a_periodic_evaluation_that_is_due_at_the_last_step_is_resumed_before_the_final_one(make_job: MakeJob) -> None:
    evaluation = Evaluation(every=100, episodes=2, final_episodes=1)
    job = make_job("tests/Drifting-v0", 200, learning_starts=195, evaluation=evaluation)
    kept: list[Snapshot] = []
    straight = SacRun(job).train(lambda run: kept.append(run.capture(0)) if run.step == 200 else None, ignore)
    assert [row.step for row in straight.curve.evaluations] == [100, 200]
    snapshot = next(snapshot for snapshot in kept if snapshot.partial and len(snapshot.partial.returns) == 1)
    assert snapshot.partial is not None
    assert not snapshot.partial.final
    resumed = SacRun(job)
    resumed.restore(snapshot.state, [snapshot.rows], snapshot.partial, ignore, exact=True)
    finished = resumed.train(ignore, ignore)
    assert (finished.curve, finished.state_digest) == (straight.curve, straight.state_digest)


def test_updates_after_whole_episodes_resume_exactly(make_job: MakeJob) -> None:
    job = make_job(
        "tests/Drifting-v0", 60, learning_starts=20, train_freq=(2, "episode"), gradient_steps=-1, ent_coef="auto_0.5"
    )
    kept: list[Snapshot] = []
    straight = SacRun(job).train(lambda run: kept.append(run.capture(0)), ignore)
    snapshot = next(snapshot for snapshot in kept if snapshot.state.step == 40)
    resumed = SacRun(job)
    resumed.restore(snapshot.state, [snapshot.rows], None, ignore, exact=True)
    assert resumed.train(ignore, ignore).state_digest == straight.state_digest
    assert straight.updates == 40


def test_a_run_of_several_steps_a_rollout_may_end_a_little_later(make_job: MakeJob) -> None:
    finished = SacRun(make_job("tests/Drifting-v0", 21, train_freq=8)).train(ignore, ignore)
    assert (finished.step, finished.evaluation.step) == (24, 24)


def test_a_loss_that_is_not_finite_ends_the_run(make_job: MakeJob) -> None:
    job = make_job("tests/Drifting-v0", 60, learning_starts=20, environment_keywords={"reward": 3e38})
    with pytest.raises(Diverged, match="train/critic_loss is inf after 21 steps"):
        SacRun(job).train(ignore, ignore)


@pytest.mark.parametrize("step", [30, 60])
def test_weights_that_are_not_finite_end_the_run_at_the_next_action(step: int, make_job: MakeJob) -> None:
    run = SacRun(make_job("tests/Drifting-v0", 60, learning_starts=10, train_freq=30))

    def spoil(_: object) -> None:
        model: Any = run._model
        if run.step == step:
            model.actor.mu.bias.data[0] = float("nan")

    with pytest.raises(Diverged, match=f"A weight is not finite after {step} steps"):
        run.train(spoil, lambda: spoil(None))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_an_environment_that_goes_out_of_bounds_in_the_warm_up_is_never_captured(make_job: MakeJob) -> None:
    job = make_job("tests/Drifting-v0", 60, environment_keywords={"reward": 1e39})
    with pytest.raises(Diverged, match="reward that is not finite by step 1"):
        SacRun(job).train(lambda run: void(run.capture(0)), ignore)


def void(_: object) -> None:
    return


def test_the_last_return_is_told_as_soon_as_an_episode_has_ended(make_job: MakeJob) -> None:
    seen: list[tuple[int, float | None]] = []
    SacRun(make_job("tests/Drifting-v0", 8)).train(lambda run: seen.append((run.step, run.latest_return)), ignore)
    assert seen[4] == (4, None)
    assert seen[5] == (5, 5.0)


@pytest.mark.parametrize(
    ("environment", "keywords", "complaint"),
    [
        ("CartPole-v1", {}, "CartPole-v1 has discrete"),
        ("tests/Nowhere-v0", {}, "cannot be made"),
        ("tests/Drifting-v0", {"mass": 3}, "unexpected keyword argument 'mass'"),
        ("BipedalWalker-v3", {}, "has sizes (24, 4) here, the job was planned with (2, 1)"),
    ],
)
def test_an_environment_that_cannot_be_trained_in_is_a_bad_configuration(
    environment: str, keywords: dict[str, Any], complaint: str, make_job: MakeJob
) -> None:
    made = make_job("tests/Drifting-v0", 8)
    spec = made.configuration.environment.model_copy(update={"id": environment, "kwargs": keywords})
    job = made.model_copy(update={"configuration": made.configuration.model_copy(update={"environment": spec})})
    with pytest.raises(BadConfiguration, match=re.escape(complaint)):
        SacRun(job).train(ignore, ignore)
