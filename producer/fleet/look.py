"""What one tick reads of the fleet. Nothing here decides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from worker.contract.control import SeenSlot
from worker.contract.settings import Durations

Slots = Mapping[int, SeenSlot]


@dataclass(frozen=True, slots=True)
class Policy:
    """How large the set may be, and the durations of the protocol."""

    max_instances: int
    slots_per_instance: int
    durations: Durations

    def needed(self, count: int) -> int:
        """Return how many instances `count` messages want."""
        return min(self.max_instances, math.ceil(count / self.slots_per_instance))


@dataclass(frozen=True, slots=True)
class Instance:
    """A VM of the set, as Azure Resource Manager tells it."""

    name: str
    provisioning: str = "Succeeded"
    """`provisioningState`: Creating, Updating, Succeeded, Failed, Deleting."""
    power: str = "running"
    """What follows `PowerState/`: starting, running, stopping, stopped, deallocating, deallocated; "" where it has
    none (not started yet, or never)."""
    problem: str = ""
    """What Azure says is wrong, where it says so."""

    @property
    def deleting(self) -> bool:
        """Return whether it is on its way out."""
        return self.provisioning == "Deleting"

    @property
    def running(self) -> bool:
        """Return whether it is billed for running its software."""
        return self.power == "running" and not self.deleting

    @property
    def halted(self) -> bool:
        """Return whether it holds capacity, and money, without running anything (AKS#4400, fleeting-azure#12)."""
        stopped = self.power in {"stopped", "deallocated"}
        never_started = self.provisioning == "Failed" and self.power not in {"starting", "running"}
        return not self.deleting and (stopped or never_started)


@dataclass(frozen=True, slots=True)
class ScaleSetState:
    """The set, as Azure Resource Manager tells it."""

    capacity: int
    etag: str
    instances: tuple[Instance, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """What one tick read, in this order: the set, the flags, the slots, hold and commit, the count (rule 10)."""

    read_s: float
    """Our monotonic clock before the first of these reads."""
    state: ScaleSetState
    count: int
    """Messages in the queue, hidden ones included: never fewer than there are jobs to do."""
    drain: Mapping[str, float] = field(default_factory=dict)
    """VM → age of its drain flag in seconds. Flags outlive their VMs."""
    retire: Mapping[str, float] = field(default_factory=dict)
    slots: Mapping[str, Slots] = field(default_factory=dict)
    """VM → slot → its report."""
    commit_age_s: float | None = None
    """Seconds since any job made a commit; None where none ever did."""
    hold: str = ""
    """Why no producer may raise the capacity, or empty."""

    def listed(self, vm: str) -> bool:
        """Return whether the set still has this VM."""
        return any(instance.name == vm for instance in self.state.instances)

    def expected_slots(self, vm: str, policy: Policy) -> frozenset[int]:
        """Return the slots that this VM should have, and those that it has."""
        return frozenset(range(policy.slots_per_instance)) | frozenset(self.slots.get(vm, {}))
