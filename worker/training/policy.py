"""A trained policy as raw arrays: what `play` loads, since a model.zip holds pickle and is never read."""

from typing import Literal

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.utils import ConstantSchedule
from stable_baselines3.sac.policies import SACPolicy

from worker.contract.base import STATE_VERSION, Frozen
from worker.contract.job import Job
from worker.snapshot.arrays import Reader, encode
from worker.snapshot.training_state import expected_tensors
from worker.training.algorithm import sac_arguments
from worker.training.environment import make_for_job, spaces_of

_ACTOR = "policy/actor."


class _Head(Frozen):
    version: Literal[1] = STATE_VERSION
    job: Job


def encode_policy(model: SAC, job: Job) -> bytes:
    """Return the actor's weights with the job that they were trained by."""
    weights = {f"policy/{name}": tensor.detach().numpy() for name, tensor in model.policy.state_dict().items()}
    return encode(_Head(job=job), {name: array for name, array in weights.items() if name.startswith(_ACTOR)})


def decode_policy(body: bytes) -> tuple[Job, SACPolicy]:
    """Return the job and the policy, whose `predict` acts as the trained model's; its critics are untrained.

    Raises:
        CheckpointCorrupt: it is not what `encode_policy` wrote.
        BadConfiguration: the job's environment cannot be made here.
    """
    reader = Reader(body)
    job = reader.head(_Head).job
    expected = expected_tensors(job.configuration, updated=False)
    weights = {
        name.removeprefix(_ACTOR): torch.tensor(reader.take(name, np.float32, shape))
        for name, shape in expected.items()
        if name.startswith(_ACTOR)
    }
    reader.nothing_else()
    environment = make_for_job(job.configuration.environment)
    try:
        arguments = sac_arguments(job.configuration)["policy_kwargs"]
        policy = SACPolicy(*spaces_of(environment), ConstantSchedule(0.0), **arguments)
    finally:
        environment.close()
    policy.actor.load_state_dict(weights)
    policy.set_training_mode(False)
    return job, policy
