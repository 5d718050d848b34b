"""What doctor sees of a target: values, without a judgement. What could not be read says why."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from producer.fleet.look import Instance

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class Reading(Generic[T_co]):
    """Something that was read, or why it could not be."""

    value: T_co | None = None
    problem: str = ""
    """Why there is no value; empty where there is one, or where nothing of the kind is deployed."""
    denied: bool = False
    """Whether a right is missing for it."""


@dataclass(frozen=True, slots=True)
class Tried:
    """One operation that was tried in a way that changes nothing."""

    call: str
    """As `permissions.OPERATIONS` names it."""
    problem: str = ""
    """Why it was not allowed, or did not work; empty where it was."""
    denied: bool = False


@dataclass(frozen=True, slots=True)
class SeenVm:
    """A VM of the set."""

    instance: Instance
    age_s: float
    """Since Azure made it, by Azure's clock."""


@dataclass(frozen=True, slots=True)
class SeenSlot:
    """The newest sign of a slot."""

    vm: str
    number: int
    age_s: float
    release: str
    state: str


@dataclass(frozen=True, slots=True)
class Queues:
    """Messages, hidden ones included."""

    jobs: int
    poison: int


@dataclass(frozen=True, slots=True)
class SilentJob:
    """A job whose manifest says that a worker has it, and has not been written for a while."""

    job: str
    worker: str
    age_s: float


@dataclass(frozen=True, slots=True)
class SeenSweep:
    """A sweep that has not ended and may run."""

    sweep: str
    open_jobs: int
    """Jobs that have not ended: each needs a message."""
    running: tuple[SilentJob, ...] = ()
    """Jobs that workers have, as their manifests say."""
    oldest_checkpoint_s: float = 0.0
    """Age of the oldest blob that a job still to end has in `checkpoints`; 0 where there is none."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A part of a VM that is attached to nothing."""

    kind: str
    """disk, interface or address."""
    name: str
    ours: bool
    """Whether its tags, name or subnet say that it came from this set."""


@dataclass(frozen=True, slots=True)
class WakeRun:
    """A run of the wake."""

    status: str
    age_s: float
    code: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class SeenWake:
    """The Logic App as deployed, and its runs."""

    enabled: bool
    age_s: float
    """Since it was made or changed."""
    interval_s: float
    runs: tuple[WakeRun, ...] = ()
    """The newest first."""


@dataclass(frozen=True, slots=True)
class SeenRelease:
    """The release that VMs boot with."""

    id: str
    version: str


@dataclass(frozen=True, slots=True)
class SeenControl:
    """What lies in `control`."""

    slots: tuple[SeenSlot, ...] = ()
    hold: str = ""
    refusal: str = ""
    refusal_age_s: float = 0.0
    pulse_age_s: float | None = None
    failed_boots: Mapping[str, float] = field(default_factory=dict)
    """VM → seconds since it gave up becoming a worker."""


@dataclass(frozen=True, slots=True)
class SeenSet:
    """The scale set."""

    capacity: int
    vms: tuple[SeenVm, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenQuota:
    """The quota of spot cores."""

    used: int
    limit: int


@dataclass(frozen=True)
class Symptoms:
    """Everything that doctor saw."""

    tried: tuple[Tried, ...] = ()
    queues: Reading[Queues] = Reading()
    control: Reading[SeenControl] = Reading()
    set: Reading[SeenSet] = Reading()
    sweeps: Reading[tuple[SeenSweep, ...]] = Reading()
    release: Reading[SeenRelease] = Reading()
    orphans: Reading[tuple[Orphan, ...]] = Reading()
    wake: Reading[SeenWake] = Reading()
    quota: Reading[SeenQuota] = Reading()
