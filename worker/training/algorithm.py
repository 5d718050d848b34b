"""From a job's configuration to SB3's SAC: which class trains, and what its arguments are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import LinearSchedule
from torch import nn

from worker.contract.job import Configuration
from worker.training.environment import TrainingEnvironment
from worker.training.replay import CountedPackedBuffer, CountedReplayBuffer
from worker.training.sac import FastSAC


@dataclass(frozen=True)
class Trainer:
    """An implementation of SAC. Its optimizers have the state dictionaries of torch's Adam."""

    algorithm: type[SAC]
    buffer: type[CountedReplayBuffer]


TRAINERS: Final[Mapping[str, Trainer]] = {
    "fast": Trainer(FastSAC, CountedPackedBuffer),
    "sb3": Trainer(SAC, CountedReplayBuffer),
}

ACTIVATIONS: Final[Mapping[str, type[nn.Module]]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
}


def build(configuration: Configuration, environment: TrainingEnvironment, seed: int | None) -> SAC:
    """Return a new model.

    Args:
        configuration: of the job.
        environment: to train in.
        seed: seeds every random stream; None where a checkpoint sets them afterwards.
    """
    trainer = TRAINERS[configuration.trainer]
    model = trainer.algorithm(
        "MlpPolicy",
        environment.vectorised,
        **sac_arguments(configuration),
        replay_buffer_class=trainer.buffer,
        seed=seed,
        device="cpu",
    )
    model.set_logger(Logger(folder=None, output_formats=[]))
    return model


def sac_arguments(configuration: Configuration) -> dict[str, Any]:
    """Return the hyperparameters as SB3's SAC takes them. Every object in them is SB3's own or torch's.

    They end up in `model.zip`, which has to load where tranquility is not installed.
    """
    hyper = configuration.hyperparameters
    layers = hyper.policy_kwargs.layers()
    return {
        "learning_rate": _rate(hyper.learning_rate),
        "buffer_size": hyper.buffer_size,
        "learning_starts": hyper.learning_starts,
        "batch_size": hyper.batch_size,
        "tau": hyper.tau,
        "gamma": hyper.gamma,
        "train_freq": hyper.train_freq,
        "gradient_steps": hyper.gradient_steps,
        "ent_coef": hyper.ent_coef,
        "target_entropy": hyper.target_entropy,
        "target_update_interval": hyper.target_update_interval,
        "policy_kwargs": {
            "net_arch": {"pi": list(layers.pi), "qf": list(layers.qf)},
            "activation_fn": ACTIVATIONS[hyper.policy_kwargs.activation_fn],
        },
    }


def _rate(rate: float | str) -> float | LinearSchedule:
    if isinstance(rate, str):
        return LinearSchedule(start=float(rate.removeprefix("lin_")), end=0.0, end_fraction=1.0)
    return rate
