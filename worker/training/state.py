"""All state of a run that a bit-exact resume needs: out of the model into a TrainingState, and back.

SB3's own `save` leaves out the buffer, the environment and every random stream (SB3 #1526). The list was found by
leaving out one item at a time and seeing whether the run still came out the same.
"""

import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from stable_baselines3 import SAC

from worker.contract.errors import CheckpointCorrupt, Diverged
from worker.snapshot.arrays import Floats
from worker.snapshot.curve import Curve
from worker.snapshot.random_streams import RandomStreams
from worker.snapshot.replay_rows import ReplayRows
from worker.snapshot.training_state import Counters, TrainingState
from worker.training.environment import TrainingEnvironment
from worker.training.replay import CountedReplayBuffer

MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What Adam keeps for a parameter."""


def capture(model: SAC, environment: TrainingEnvironment, curve: Curve) -> TrainingState:
    """Copy the state of a run at a boundary; it shares no memory with the model.

    Raises:
        Diverged: a weight is not finite.
    """
    check_weights(model)
    tensors = _weights(model)
    rates: dict[str, float] = {}
    for name, optimizer in _optimizers(model).items():
        if model._n_updates:
            tensors |= _moments(name, optimizer)
        rates[name] = float(optimizer.param_groups[0]["lr"])
    episodes = model.ep_info_buffer or ()
    return TrainingState(
        counters=_counters(model),
        tensors=tensors,
        learning_rates=rates,
        streams=_streams(model),
        cursor=environment.position(),
        last_observation=np.array(model._last_obs, dtype=np.float32)[0],
        recent_returns=np.array([episode["r"] for episode in episodes], dtype=np.float64),
        recent_lengths=np.array([episode["l"] for episode in episodes], dtype=np.int64),
        curve=curve,
    )


def check_weights(model: SAC) -> None:
    """Look at all weights.

    Raises:
        Diverged: one of them is not finite.
    """
    learned = () if model.log_ent_coef is None else (model.log_ent_coef,)
    if not all(torch.isfinite(tensor).all() for tensor in (*model.policy.state_dict().values(), *learned)):
        raise Diverged(f"A weight is not finite after {model.num_timesteps} steps.")


def restore(
    model: SAC,
    environment: TrainingEnvironment,
    state: TrainingState,
    rows: Iterable[ReplayRows],
    beat: Callable[[], None],
    *,
    exact: bool,
) -> None:
    """Put `state` and `rows` into a new model of the same job.

    The random streams come last, since building a model and replaying an episode may draw from them.

    Raises:
        CheckpointCorrupt: they do not fit together, or the episode does not replay.
    """
    _put_weights(model, state)
    for name, optimizer in _optimizers(model).items():
        _put_moments(optimizer, name, state)
    _fill(buffer_of(model), rows, state.counters.rows)
    model.num_timesteps = state.counters.step
    model._n_updates = state.counters.updates
    model._episode_num = state.counters.episodes
    episodes = zip(state.recent_returns.tolist(), state.recent_lengths.tolist(), strict=True)
    model.ep_info_buffer = deque(({"r": r, "l": n, "t": 0.0} for r, n in episodes), maxlen=model._stats_window_size)
    model.ep_success_buffer = deque(maxlen=model._stats_window_size)
    observation = environment.replay(state.cursor, state.last_observation, beat, exact=exact)
    model._last_obs = observation[np.newaxis].copy()
    model._last_episode_starts = np.zeros(1, dtype=bool)
    _put_streams(model, state.streams)


def state_digest(state: TrainingState, rows: ReplayRows) -> str:
    """Return the SHA-256 over a state and all rows of its buffer, without Python's own random stream."""
    digest = hashlib.sha256(replace(state, streams=state.streams.without_python()).encode())
    digest.update(rows.encode())
    return digest.hexdigest()


def buffer_of(model: SAC) -> CountedReplayBuffer:
    """Return the model's replay buffer as the counting one that every trainer has."""
    if not isinstance(model.replay_buffer, CountedReplayBuffer):
        raise TypeError("a trainer's replay buffer must be a CountedReplayBuffer")
    return model.replay_buffer


def _weights(model: SAC) -> dict[str, Floats]:
    weights = {f"policy/{name}": _copy(tensor) for name, tensor in model.policy.state_dict().items()}
    if model.log_ent_coef is not None:
        weights["log_ent_coef"] = _copy(model.log_ent_coef)
    return weights


def _put_weights(model: SAC, state: TrainingState) -> None:
    names = model.policy.state_dict()
    model.policy.load_state_dict({name: torch.tensor(state.tensors[f"policy/{name}"]) for name in names})
    if model.log_ent_coef is not None:
        # Not rebound: the optimizer would go on with the old tensor (SB3 #391).
        model.log_ent_coef.data.copy_(torch.tensor(state.tensors["log_ent_coef"]))


def _optimizers(model: SAC) -> dict[str, torch.optim.Optimizer]:
    optimizers = {"actor.optimizer": model.actor.optimizer, "critic.optimizer": model.critic.optimizer}
    if model.ent_coef_optimizer is not None:
        optimizers["ent_coef_optimizer"] = model.ent_coef_optimizer
    return optimizers


def _moments(name: str, optimizer: torch.optim.Optimizer) -> dict[str, Floats]:
    moments: Mapping[int, Mapping[str, torch.Tensor]] = optimizer.state_dict()["state"]
    return {f"{name}/{index}/{moment}": _copy(kept[moment]) for index, kept in moments.items() for moment in MOMENTS}


def _put_moments(optimizer: torch.optim.Optimizer, name: str, state: TrainingState) -> None:
    (group,) = optimizer.state_dict()["param_groups"]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    if state.counters.updates:
        for index in group["params"]:
            place = f"{name}/{index}"
            # torch.tensor copies: load_state_dict would go on working in the arrays of `state`.
            moments[index] = {moment: torch.tensor(state.tensors[f"{place}/{moment}"]) for moment in MOMENTS}
    group["lr"] = state.learning_rates[name]
    optimizer.load_state_dict({"state": moments, "param_groups": [group]})


def _counters(model: SAC) -> Counters:
    return Counters(
        step=model.num_timesteps,
        updates=model._n_updates,
        episodes=model._episode_num,
        rows=buffer_of(model).total,
    )


def _fill(buffer: CountedReplayBuffer, rows: Iterable[ReplayRows], total: int) -> None:
    first: int | None = None
    try:
        for part in rows:
            first = part.first_row if first is None else first
            buffer.append_rows(part)
    except ValueError as error:
        raise CheckpointCorrupt(f"Its replay rows do not go on: {error}.") from error
    needed = max(0, total - buffer.buffer_size)
    if buffer.total != total or (total and (first is None or first > needed)):
        held = f"{first} to {buffer.total}"
        raise CheckpointCorrupt(f"Its replay rows are {held}, and rows {needed} to {total} are needed.")


def _streams(model: SAC) -> RandomStreams:
    return RandomStreams.of(
        numpy=np.random.get_state(legacy=False),  # noqa: NPY002 - the stream that SB3 draws batches from
        torch_state=_copy(torch.get_rng_state()),
        python=random.getstate(),
        action_space=model.action_space.np_random,
    )


def _put_streams(model: SAC, streams: RandomStreams) -> None:
    try:
        torch.set_rng_state(torch.tensor(streams.torch_state))
    except RuntimeError as error:
        raise CheckpointCorrupt(f"Its torch stream is none: {error}.") from error
    np.random.set_state(streams.numpy())  # noqa: NPY002 - the stream that SB3 draws batches from
    random.setstate(streams.python())
    streams.head.action_space.put_into(model.action_space.np_random)


def _copy(tensor: torch.Tensor) -> Any:
    return tensor.detach().cpu().numpy().copy()
