"""What leaves the process: the model for SB3, and the state that another process goes on from, bit for bit."""

import hashlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch as th
from stable_baselines3 import SAC
from stable_baselines3.common.utils import LinearSchedule

from tests.worker.training.test_sac import SMALL
from worker.training.sac import FastSAC

PENDULUM = SMALL | {"learning_starts": 20, "learning_rate": LinearSchedule(1e-3, 0.0, 1.0), "seed": 3}

SB3_ALONE = """
    import sys, warnings
    warnings.simplefilter("error")
    # SB3 imports pandas and matplotlib where they are; what they deprecate is not what is asked here.
    import numpy as np
    from stable_baselines3 import SAC

    class NoWorker:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in {"worker", "producer"}:
                raise ImportError(f"{name} is not to be had here")

    sys.meta_path.insert(0, NoWorker())
    model = SAC.load(sys.argv[1], device="cpu")
    assert type(model) is SAC
    assert type(model.lr_schedule).__module__.startswith("stable_baselines3."), model.lr_schedule
    observations = np.load(sys.argv[2])
    np.save(sys.argv[3], model.predict(observations, deterministic=True)[0])
    assert not any(name.split(".")[0] == "worker" for name in sys.modules)
"""


def run(script: str, *arguments: object, cwd: Path | None = None) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": "" if cwd else str(Path.cwd())}
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd)
    assert done.returncode == 0, done.stderr


def test_sb3_alone_loads_the_model_without_a_warning_and_predicts_equal_actions(tmp_path: Path) -> None:
    model = FastSAC("MlpPolicy", "Pendulum-v1", **PENDULUM)
    model.learn(40)
    model.save(tmp_path / "model.zip")
    observations = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.save(tmp_path / "observations.npy", observations)
    run(SB3_ALONE, tmp_path / "model.zip", tmp_path / "observations.npy", tmp_path / "actions.npy", cwd=tmp_path)
    assert np.array_equal(np.load(tmp_path / "actions.npy"), model.predict(observations, deterministic=True)[0])


def test_a_model_that_sb3_loaded_trains_on_there(tmp_path: Path) -> None:
    model = FastSAC("MlpPolicy", "Pendulum-v1", **PENDULUM)
    model.learn(40)
    model.save(tmp_path / "model.zip")
    theirs = SAC.load(tmp_path / "model.zip", env=model.env, device="cpu")
    theirs.learn(30, reset_num_timesteps=False)
    assert theirs._n_updates > model._n_updates
    assert {float(state["step"]) for state in theirs.critic.optimizer.state.values()} == {float(theirs._n_updates)}


@pytest.mark.parametrize("kind", [FastSAC, SAC])
def test_a_model_that_either_saved_trains_on_here(kind: type[SAC], tmp_path: Path) -> None:
    model = kind("MlpPolicy", "Pendulum-v1", **PENDULUM)
    model.learn(40)
    model.save(tmp_path / "model.zip")
    model.save_replay_buffer(tmp_path / "buffer.pkl")
    ours = FastSAC.load(tmp_path / "model.zip", env=model.env, device="cpu")
    ours.load_replay_buffer(tmp_path / "buffer.pkl")
    before = ours.log_ent_coef.item()
    assert before == model.log_ent_coef.item()
    ours.learn(30, reset_num_timesteps=False)
    assert ours.log_ent_coef.item() != before
    assert {float(state["step"]) for state in ours.critic.optimizer.state.values()} == {float(ours._n_updates)}


TRAIN = """
    import sys
    from pathlib import Path
    from tests.worker.training.test_sac_saved import resumed
    resumed(Path(sys.argv[1]), int(sys.argv[2]))
"""
UPDATES = 300


def trainable() -> FastSAC:
    th.set_num_threads(1)
    model = FastSAC("MlpPolicy", "Pendulum-v1", **(PENDULUM | {"policy_kwargs": {"net_arch": [64, 48]}}))
    model.learn(200)
    return model


def capture(model: FastSAC) -> dict[str, object]:
    """Return all that a checkpoint holds of the trainer, the way a checkpoint reads it."""
    buffer = model.replay_buffer
    names = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
    numpy_state = np.random.get_state()  # noqa: NPY002
    return {
        "policy": model.policy.state_dict(),
        "optimizers": [
            o.state_dict() for o in (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer)
        ],
        "log_ent_coef": model.log_ent_coef.detach(),
        "buffer": [th.from_numpy(np.ascontiguousarray(getattr(buffer, name))) for name in names],
        "position": (buffer.pos, buffer.full),
        "numpy": (th.from_numpy(numpy_state[1].astype(np.int64)), numpy_state[2]),
        "torch": th.get_rng_state(),
    }


def restore(model: FastSAC, state: dict[str, object]) -> None:
    """Copy a captured state into a model of the same job."""
    model.policy.load_state_dict(state["policy"])
    optimizers = (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer)
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    model.log_ent_coef.data.copy_(state["log_ent_coef"])
    names = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")
    for name, saved in zip(names, state["buffer"], strict=True):
        getattr(model.replay_buffer, name)[:] = saved.numpy()
    model.replay_buffer.pos, model.replay_buffer.full = state["position"]
    np.random.set_state(("MT19937", state["numpy"][0].numpy().astype(np.uint32), state["numpy"][1]))  # noqa: NPY002
    th.set_rng_state(state["torch"])


def digest(model: FastSAC) -> str:
    """Return a hash of the networks and the optimizers' moments."""
    state = capture(model)
    values = [*state["policy"].values(), state["log_ent_coef"]]
    for optimizer in state["optimizers"]:
        values += [value for each in optimizer["state"].values() for value in each.values()]
    return hashlib.sha256(b"".join(value.detach().contiguous().numpy().tobytes() for value in values)).hexdigest()


def resumed(folder: Path, updates: int) -> None:
    """Restore from the folder into a model that was never trained, train on, and leave the digest there."""
    th.set_num_threads(1)
    model = FastSAC("MlpPolicy", "Pendulum-v1", **(PENDULUM | {"policy_kwargs": {"net_arch": [64, 48]}, "seed": 99}))
    model._setup_learn(10_000)
    restore(model, th.load(folder / "state.pt", weights_only=True))
    train(model, updates)
    (folder / "digest").write_text(digest(model))


def train(model: FastSAC, updates: int) -> None:
    """Make updates as rollouts do, some with more gradient steps than one."""
    model._current_progress_remaining = 0.5
    for _ in range(updates // 3):
        model.train(gradient_steps=1, batch_size=16)
        model.train(gradient_steps=2, batch_size=16)


def test_300_updates_equal_150_and_150_more_in_another_process_bit_for_bit(tmp_path: Path) -> None:
    straight = trainable()
    train(straight, UPDATES // 2)
    th.save(capture(straight), tmp_path / "state.pt")
    train(straight, UPDATES // 2)
    run(TRAIN, tmp_path, UPDATES // 2)
    assert (tmp_path / "digest").read_text() == digest(straight)
