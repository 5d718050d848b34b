"""A model.zip of the person's own, read without pickle: its weights alone, and the shapes that they have.

SB3's `SAC.load` unpickles what the file says, and a file can say anything. Here only `policy.pth` is read, by
`torch.load(weights_only=True)`, and one word of `data`: the name of the activation function. The architecture follows
from the shapes of the weights; the environment is that of the result.json beside the file, or is named by the person.
"""

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import torch
from pydantic import ValidationError
from stable_baselines3.common.utils import ConstantSchedule
from stable_baselines3.sac.policies import SACPolicy

from worker.contract.base import Scalar
from worker.contract.environments import PROVEN, ProbeVerdict
from worker.contract.errors import InputError, first_line
from worker.contract.job import EnvironmentSpec
from worker.contract.result import RESULT, Result
from worker.training.algorithm import ACTIVATIONS
from worker.training.environment import make_environment, make_for_job, spaces_of
from worker.training.play import Pilot

_MOST_BYTES: Final = 256 << 20
_LAYER: Final = re.compile(r"^actor\.latent_pi\.(\d+)\.weight$")
Weights = Mapping[str, torch.Tensor]


def read_model_zip(path: Path, environment: EnvironmentSpec | None) -> Pilot:
    """Return the pilot in SB3's model.zip.

    Args:
        path: the file.
        environment: that it flies in; None = that of the result.json beside it.

    Raises:
        InputError: there is no such file, it is not a SAC model with an MLP policy, or no environment is known, or the
            policy does not fit it.
        BadConfiguration: the environment cannot be made here.
    """
    weights, data = _parts(path)
    spec = environment or _environment_beside(path)
    policy = _policy(path, weights, _activation(path, data), spec)
    return Pilot(spec, policy)


def environment_named(name: str, kwargs: Mapping[str, Scalar]) -> EnvironmentSpec:
    """Return the environment of this id, proven or not: nothing is resumed here.

    Raises InputError and BadConfiguration where there is none.
    """
    probe = None
    if name not in PROVEN:
        made = make_environment(name, dict(kwargs))
        observations, actions = spaces_of(made)
        made.close()
        probe = ProbeVerdict(
            observation_size=observations.shape[0],
            action_size=actions.shape[0],
            max_episode_steps=None,
            episodes=0,
            exact=False,
        )
    try:
        return EnvironmentSpec(id=name, kwargs=kwargs, probe=probe)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"--env {name}: {reason}.") from error


def _parts(path: Path) -> tuple[Weights, Mapping[str, Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            weights, data = (_member(path, archive, name) for name in ("policy.pth", "data"))
        found = torch.load(BytesIO(weights), map_location="cpu", weights_only=True)
        described = json.loads(data)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}.") from error
    except (zipfile.BadZipFile, KeyError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is not a model.zip of Stable-Baselines3: {first_line(error)}") from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InputError(f"{path} is not a model.zip of Stable-Baselines3: policy.pth holds more than weights.")
    return found, described if isinstance(described, dict) else {}


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MOST_BYTES:
        raise InputError(f"{path}: {name} has more than {_MOST_BYTES >> 20} MiB, which no policy here has.")
    return archive.read(name)


def _activation(path: Path, data: Mapping[str, Any]) -> type[torch.nn.Module]:
    """Return the activation function that the file names in plain text; SB3's SAC has ReLU where it names none."""
    arguments = data.get("policy_kwargs")
    named = str(arguments.get("activation_fn", "ReLU'>")) if isinstance(arguments, dict) else "ReLU'>"
    word = named.rpartition(".")[2].removesuffix("'>")
    for kind in ACTIVATIONS.values():
        if kind.__name__ == word:
            return kind
    known = ", ".join(kind.__name__ for kind in ACTIVATIONS.values())
    raise InputError(f"{path}: its activation function is {word!r}; here only {known} are known.")


def _environment_beside(path: Path) -> EnvironmentSpec:
    beside = path.with_name(RESULT)
    try:
        return Result.model_validate_json(beside.read_bytes()).job.configuration.environment
    except FileNotFoundError as error:
        raise InputError(
            f"{path} does not say which environment it was trained in, and there is no {RESULT} beside it: "
            "name it, as in --env LunarLanderContinuous-v3."
        ) from error
    except (OSError, ValidationError) as error:
        raise InputError(f"{beside} cannot be read: {first_line(error)}.") from error


def _policy(path: Path, weights: Weights, activation: type[torch.nn.Module], spec: EnvironmentSpec) -> SACPolicy:
    layers = sorted((int(match[1]), tensor) for name, tensor in weights.items() if (match := _LAYER.match(name)))
    environment = make_for_job(spec)
    try:
        policy = SACPolicy(
            *spaces_of(environment),
            ConstantSchedule(0.0),
            net_arch={"pi": [tensor.shape[0] for _, tensor in layers], "qf": [1]},
            activation_fn=activation,
        )
    finally:
        environment.close()
    actor = {name.removeprefix("actor."): value for name, value in weights.items() if name.startswith("actor.")}
    try:
        policy.actor.load_state_dict(actor)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t", 1)[-1].split())
        raise InputError(f"{path} is not an MLP policy of SAC for {spec.id}: {reason}") from error
    policy.set_training_mode(False)
    return policy
