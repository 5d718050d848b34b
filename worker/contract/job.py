"""A job: one hyperparameter set and one seed, as it travels in a message. The interface between producer and worker."""

import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator

from worker.contract.base import SCHEMA_VERSION, Frozen, JobId, Scalar, SweepName, canonical_json, sha256_hex
from worker.contract.environments import PROVEN, ProbeVerdict, wrong_keyword
from worker.contract.errors import MessageRejected, NewerSchema

MAX_JOB_BYTES = 16_000
MAX_BOUNDARY_SECONDS = 10.0
REFERENCE_FLOPS = 20e9
"""FLOP/s of a slow core; what lies between two boundaries must fit into the eviction notice even there."""
SECONDS_PER_STEP = 2e-4
"""Environment and policy for one step, on a slow core."""

_LINEAR = re.compile(r"^lin_(?P<start>\d+(\.\d*)?([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?)$")
_AUTO = re.compile(r"^auto(_(?P<start>\d+(\.\d*)?([eE][-+]?\d+)?))?$")


def _linear(text: str) -> str:
    match = _LINEAR.match(text)
    if not match or not 0 < float(match["start"]) <= 1:
        raise ValueError("a schedule is lin_X with X above 0 and at most 1, for example lin_7.3e-4")
    return f"lin_{float(match['start'])!r}"  # one spelling, since it is part of the job's id


def _auto(text: str) -> str:
    match = _AUTO.match(text)
    if not match or not 0 < float(match["start"] or 1) <= 100:
        raise ValueError("must be auto, or auto_X with a first value X above 0 and at most 100")
    return f"auto_{float(match['start'])!r}" if match["start"] else text


def _only_auto(text: str) -> str:
    if text != "auto":
        raise ValueError("must be a number or auto (which is minus the number of actions)")
    return text


Positive = Annotated[float, Field(gt=0, le=1)]
Schedule = Positive | Annotated[str, AfterValidator(_linear)]
"""A constant, or `lin_X`: from X straight down to 0 at the last step, as rl-baselines3-zoo writes it."""
Width = Annotated[int, Field(ge=1, le=1024)]
Layers = Annotated[tuple[Width, ...], Field(min_length=1, max_length=4)]


class NetArch(Frozen):
    """Separate widths for the actor and the critics, as SB3's `net_arch: {pi: …, qf: …}`."""

    pi: Layers
    qf: Layers


class PolicyKwargs(Frozen):
    """The part of SB3's `policy_kwargs` that a resume is proven for."""

    net_arch: Layers | NetArch = (256, 256)
    activation_fn: Literal["relu", "tanh", "elu", "leaky_relu"] = "relu"

    def layers(self) -> NetArch:
        """Return the widths of actor and critics."""
        return self.net_arch if isinstance(self.net_arch, NetArch) else NetArch(pi=self.net_arch, qf=self.net_arch)


class Hyperparameters(Frozen):
    """What SB3's SAC takes, with SB3's names and defaults."""

    learning_rate: Schedule = 3e-4
    buffer_size: Annotated[int, Field(ge=1_000, le=2_000_000)] = 1_000_000
    """Transitions. An episode may be longer: to replay it, its actions are kept beside the buffer."""
    learning_starts: Annotated[int, Field(ge=0, le=1_000_000)] = 100
    """Steps of uniform random actions before the first update."""
    batch_size: Annotated[int, Field(ge=1, le=4096)] = 256
    tau: Annotated[float, Field(gt=0, le=1)] = 0.005
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.99
    train_freq: (
        Annotated[int, Field(ge=1, le=10_000)]
        | tuple[Annotated[int, Field(ge=1, le=10_000)], Literal["step"]]
        | tuple[Annotated[int, Field(ge=1, le=10)], Literal["episode"]]
    ) = 1
    """Steps between two updates, or `[n, episode]`."""
    gradient_steps: Annotated[int, Field(ge=-1, le=10_000)] = 1
    """Updates each time; -1 = as many as steps were made."""
    ent_coef: Annotated[float, Field(ge=0, le=100)] | Annotated[str, AfterValidator(_auto)] = "auto"
    target_entropy: Annotated[float, Field(ge=-1000, le=1000)] | Annotated[str, AfterValidator(_only_auto)] = "auto"
    target_update_interval: Annotated[int, Field(ge=1, le=100_000)] = 1
    policy_kwargs: PolicyKwargs = PolicyKwargs()

    @model_validator(mode="after")
    def _updates_are_made(self) -> Self:
        if self.gradient_steps == 0:
            raise ValueError("gradient_steps 0 would never train: use 1 or more, or -1 for one update a step")
        return self


class EnvironmentSpec(Frozen):
    """A gymnasium environment: its id and the keyword arguments of its constructor."""

    id: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[\w./:-]+$")]
    kwargs: Mapping[str, Scalar] = {}
    probe: ProbeVerdict | None = None
    """The proof for an environment outside the table; only `--allow-unproven` puts it here."""

    @field_validator("kwargs")
    @classmethod
    def _numbers_have_one_spelling(cls, kwargs: Mapping[str, Scalar], info: ValidationInfo) -> Mapping[str, Scalar]:
        proven = PROVEN.get(info.data.get("id", ""))
        numbers = proven.numbers if proven else {}
        return {
            name: float(value) if name in numbers and isinstance(value, int) and not isinstance(value, bool) else value
            for name, value in kwargs.items()
        }

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        proven = PROVEN.get(self.id)
        if proven is None:
            if self.probe is None:
                raise ValueError(f"{self.id} is not a proven environment ({', '.join(PROVEN)})")
            return self
        for name, value in self.kwargs.items():
            wrong = wrong_keyword(proven, name, value)
            if wrong:
                raise ValueError(f"kwargs.{name}: {wrong}")
        return self

    @property
    def sizes(self) -> tuple[int, int]:
        """Return the lengths of an observation and of an action."""
        known = self._known()
        return known.observation_size, known.action_size

    @property
    def max_episode_steps(self) -> int:
        """Return the time limit of an episode, in steps (10,000 where the environment has none)."""
        return self._known().max_episode_steps or 10_000

    @property
    def solved_at(self) -> float | None:
        """Return the return from which an episode counts as a success, where one is known."""
        proven = PROVEN.get(self.id)
        return proven.solved_at if proven else None

    def _known(self) -> Any:
        return PROVEN.get(self.id) or self.probe


class Evaluation(Frozen):
    """When and how long the policy is evaluated, deterministically, on seeds that training never sees."""

    every: Annotated[int, Field(ge=100, le=50_000_000)] = 10_000
    """Steps between two evaluations."""
    episodes: Annotated[int, Field(ge=1, le=100)] = 10
    final_episodes: Annotated[int, Field(ge=1, le=1_000)] = 100
    """Held-out episodes of the final model; they make the job's score."""


class Configuration(Frozen):
    """All that decides what is trained, except the seed."""

    environment: EnvironmentSpec
    timesteps: Annotated[int, Field(ge=1, le=50_000_000)]
    trainer: Literal["fast", "sb3"]
    hyperparameters: Hyperparameters = Hyperparameters()
    evaluation: Evaluation = Evaluation()

    @model_validator(mode="after")
    def _a_boundary_comes_in_time(self) -> Self:
        seconds = boundary_seconds(self)
        if seconds > MAX_BOUNDARY_SECONDS:
            raise ValueError(
                f"about {seconds:.0f} s would pass between two points where the job can be interrupted, more than "
                f"{MAX_BOUNDARY_SECONDS:.0f} s and too long for an eviction notice: lower gradient_steps, batch_size, "
                "net_arch or train_freq"
            )
        return self

    @property
    def set_id(self) -> str:
        """Return the id of the hyperparameter set: equal for all seeds of one configuration."""
        return sha256_hex(canonical_json(self.model_dump(mode="json", exclude_defaults=True)))[:12]


def update_flop(configuration: Configuration) -> float:
    """Return the floating-point operations of one gradient step of SAC.

    Counted over weights, 2 FLOP each and row: the actor forward on observations and next observations and backward,
    two target critics forward, two critics forward and backward, and forward and backward to the action.
    """
    observation, action = configuration.environment.sizes
    layers = configuration.hyperparameters.policy_kwargs.layers()
    actor = _weights((observation, *layers.pi, 2 * action))
    critic = _weights((observation + action, *layers.qf, 1))
    return 2.0 * configuration.hyperparameters.batch_size * (4 * actor + 12 * critic)


def boundary_seconds(configuration: Configuration) -> float:
    """Estimate the seconds between two rollout starts, the only points where a job can be interrupted exactly."""
    frequency = configuration.hyperparameters.train_freq
    count, unit = frequency if isinstance(frequency, tuple) else (frequency, "step")
    steps = count * (configuration.environment.max_episode_steps if unit == "episode" else 1)
    updates = configuration.hyperparameters.gradient_steps
    updates = steps if updates < 0 else updates
    return steps * SECONDS_PER_STEP + updates * update_flop(configuration) / REFERENCE_FLOPS


def _weights(widths: tuple[int, ...]) -> int:
    return sum(a * b for a, b in pairwise(widths))


class Job(Frozen):
    """One training run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    sweep: SweepName
    id: JobId
    seed: Annotated[int, Field(ge=0, lt=2**30)]
    """Evaluation and held-out episodes use seeds from 2**30 on, so that no run trains on them."""
    configuration: Configuration

    @classmethod
    def of(cls, sweep: str, configuration: Configuration, seed: int) -> Self:
        """Return the job of `configuration` and `seed`, under its own id."""
        return cls(sweep=sweep, id=job_id(configuration, seed), seed=seed, configuration=configuration)

    @model_validator(mode="after")
    def _id_is_its_own(self) -> Self:
        if self.id != job_id(self.configuration, self.seed):
            raise ValueError(f"the id {self.id} is not that of this configuration and seed")
        return self

    def encode(self) -> str:
        """Return the message text: canonical JSON of at most 16 kB."""
        text = self.canonical().decode()
        if len(text) > MAX_JOB_BYTES:
            raise ValueError(f"a job of {len(text)} bytes does not fit into a message ({MAX_JOB_BYTES})")
        return text


def job_id(configuration: Configuration, seed: int) -> str:
    """Return the hash of the resolved configuration without the fields at their default, and the seed."""
    what = configuration.model_dump(mode="json", exclude_defaults=True)
    return sha256_hex(canonical_json({"configuration": what, "seed": seed}))[:16]


def decode(text: str) -> Job:
    """Return the job in a message.

    Raises:
        MessageRejected: it is too large, not JSON, or not a job; the reason is in the message.
        NewerSchema: a newer release wrote it.
    """
    if len(text) > MAX_JOB_BYTES:
        raise MessageRejected(f"It has {len(text)} characters; a job has at most {MAX_JOB_BYTES}.")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MessageRejected(f"It is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise MessageRejected("It is JSON, but not an object.")
    version = content.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise NewerSchema(f"Its schema is {version}, this release knows up to {SCHEMA_VERSION}.")
    try:
        return Job.model_validate(content)
    except (ValidationError, RecursionError) as error:
        raise MessageRejected(f"It is not a job: {_brief(error)}.") from error


def _brief(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "too deep"
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]
