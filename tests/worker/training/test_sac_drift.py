"""Over many updates: how far the fast trainer runs away from SB3, and how far SB3 does from itself."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from stable_baselines3 import SAC

from tests.worker.training.sb3_reference import SpacesOnly
from tests.worker.training.test_sac import fill, seed_streams
from worker.training.sac import FastSAC

UPDATES, CHECK_EVERY = 200, 20


def model(kind: Callable[..., SAC], weights: dict[str, th.Tensor] | None = None) -> SAC:
    options: dict[str, Any] = {"policy_kwargs": {"net_arch": [32, 32]}, "batch_size": 32, "buffer_size": 2_000}
    made = kind("MlpPolicy", SpacesOnly(6, 2), seed=0, device="cpu", learning_rate=1e-3, **options)
    fill(made, 1_000)
    if weights is not None:
        made.policy.load_state_dict(weights)
    return made


def one_ulp_off(weights: dict[str, th.Tensor], seed: int) -> dict[str, th.Tensor]:
    """Return the weights with each number moved by an ulp, up or down."""
    rng = np.random.default_rng(seed)
    away = {
        name: np.where(rng.random(value.shape) < 0.5, -np.inf, np.inf).astype(np.float32)
        for name, value in weights.items()
    }
    return {name: th.from_numpy(np.nextafter(value.numpy(), away[name])) for name, value in weights.items()}


def positions(trained: SAC) -> np.ndarray:
    """Train, all with the same draws. Returns the parameters after every 20 updates, shape (10, parameters)."""
    seed_streams()
    found = []
    trained._setup_learn(10_000)
    for _ in range(UPDATES // CHECK_EVERY):
        trained.train(gradient_steps=CHECK_EVERY, batch_size=32)
        found.append(th.nn.utils.parameters_to_vector(trained.policy.parameters()).detach().numpy().copy())
    return np.stack(found)


def test_over_200_updates_ours_drifts_from_sb3_no_faster_than_sb3_from_itself_after_an_ulp() -> None:
    start = model(SAC)
    weights = {name: value.clone() for name, value in start.policy.state_dict().items()}
    reference = positions(start)

    def drift(other: SAC) -> np.ndarray:
        return np.linalg.norm(positions(other) - reference, axis=1)

    ours = drift(model(FastSAC, weights))
    theirs = np.stack([drift(model(SAC, one_ulp_off(weights, seed))) for seed in range(3)])
    assert (theirs[:, -1] > theirs[:, 0]).all()
    assert (ours > 0).any()
    assert (ours <= 2 * theirs.max(axis=0)).all(), (ours, theirs)
