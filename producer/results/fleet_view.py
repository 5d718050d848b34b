"""The fleet at one moment, as queue, control blobs and scale set show it, and why nothing is running if nothing is."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from producer.results.progress import SweepProgress
from producer.words import duration, plural
from worker.contract import names
from worker.contract.control import Control, Refusal, SeenSlot, seen_slot
from worker.contract.errors import TranquilityError
from worker.contract.queue import MessageQueue
from worker.contract.records import BlobStore, Listed
from worker.contract.settings import Durations


class SeenInstance(Protocol):
    """A VM of the scale set, as Azure Resource Manager tells it."""

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def provisioning(self) -> str:
        """`provisioningState`: Creating, Updating, Succeeded, Failed, Deleting."""

    @property
    def power(self) -> str:
        """What follows `PowerState/`: starting, running, stopped …; empty where it has none."""


class SeenSet(Protocol):
    """The scale set, as Azure Resource Manager tells it."""

    @property
    def capacity(self) -> int:
        """How many VMs were asked for."""

    @property
    def instances(self) -> Sequence[SeenInstance]:
        """The VMs there are."""


class SetReader(Protocol):
    """Whoever can look at the scale set."""

    def read(self) -> SeenSet:
        """Return the set as it is now. Raises TranquilityError where it cannot be seen."""


@dataclass(frozen=True, slots=True)
class InstanceView:
    """A VM of the scale set."""

    name: str
    state: str
    """One word: creating, running, failed, stopped, deleting …"""


@dataclass(frozen=True, slots=True)
class SetView:
    """The scale set."""

    capacity: int
    instances: tuple[InstanceView, ...] = ()

    @classmethod
    def of(cls, seen: SeenSet) -> "SetView":
        """Return what is shown of a set."""
        return cls(seen.capacity, tuple(InstanceView(vm.name, _word(vm)) for vm in seen.instances))


def _word(vm: SeenInstance) -> str:
    settled = vm.provisioning in {"Succeeded", "Updating"} or not vm.provisioning
    return (vm.power if settled and vm.power else vm.provisioning).lower()


@dataclass(frozen=True, slots=True)
class SlotView:
    """One slot of a VM."""

    seen: SeenSlot
    alive: bool
    """Whether it has reported in time."""
    flag: str = ""
    """`drain` or `retire` where its VM is flagged."""

    @property
    def name(self) -> str:
        """Return the worker id, VM/slot."""
        return f"{self.seen.report.vm}/{self.seen.report.slot}"


@dataclass(frozen=True)
class FleetView:
    """Everything around the jobs."""

    queued: int
    """Messages, hidden ones included."""
    poisoned: int
    slots: tuple[SlotView, ...] = ()
    hold: str = ""
    """Why the producer raises no capacity."""
    refusal: Refusal | None = None
    """Why Azure last granted no more VMs."""
    pulse_age_s: float | None = None
    commit_age_s: float | None = None
    set: SetView | None = None
    """None where the scale set was not asked for."""
    set_error: str = ""
    """Why the scale set cannot be seen."""

    @property
    def busy(self) -> int:
        """Return the number of living slots with a job."""
        return sum(slot.alive and slot.seen.report.state == "busy" for slot in self.slots)

    @property
    def living(self) -> int:
        """Return the number of living slots."""
        return sum(slot.alive and slot.seen.report.state != "stopped" for slot in self.slots)

    @property
    def boot_to_step_s(self) -> float:
        """Return the longest time that a living slot took from its VM's boot to its first training step; 0 if none."""
        return max((slot.seen.report.first_step_seconds for slot in self.slots if slot.alive), default=0.0)


@dataclass(frozen=True)
class FleetReader:
    """Reads the fleet in 3 requests, one more for a hold and a refusal each, and those of the scale set's reader."""

    blobs: BlobStore
    jobs: MessageQueue
    poison: MessageQueue
    durations: Durations
    scale_set: SetReader | None = None

    def read(self) -> FleetView:
        """Return the fleet as it is now. Raises StorageError; a scale set that cannot be seen is part of the view."""
        listed = list(self.blobs.list(names.CONTROL, ""))
        ages = {blob.name: blob.age_s for blob in listed}
        control = Control(self.blobs)
        hold = control.fleet_hold() if names.FLEET_HOLD in ages else None
        state, error = self._set()
        return FleetView(
            queued=self.jobs.count(),
            poisoned=self.poison.count(),
            slots=tuple(_slots(listed, state, self.durations)),
            hold=hold.reason if hold else "",
            refusal=control.refusal() if names.REFUSAL in ages else None,
            pulse_age_s=ages.get(names.PULSE),
            commit_age_s=ages.get(names.COMMIT),
            set=state,
            set_error=error,
        )

    def _set(self) -> tuple[SetView | None, str]:
        if self.scale_set is None:
            return None, ""
        try:
            return SetView.of(self.scale_set.read()), ""
        except TranquilityError as error:
            return None, str(error)


def _slots(listed: Sequence[Listed], state: SetView | None, durations: Durations) -> Iterator[SlotView]:
    """Yield the slots of VMs that are there; reports outlive their VM until a producer removes them.

    A report younger than a tick counts whatever the set says: that may have been read a little earlier.
    """
    flags = {
        blob.name.partition("/")[2]: blob.name.partition("/")[0]
        for prefix in (names.RETIRE, names.DRAIN)  # drain is for good: it wins
        for blob in listed
        if blob.name.startswith(prefix)
    }
    there = {vm.name for vm in state.instances} if state else None
    for blob in listed:
        seen = seen_slot(blob) if blob.name.startswith(names.SLOTS) else None
        if seen and (there is None or seen.report.vm in there or seen.age_s <= durations.tick_s):
            yield SlotView(seen, seen.age_s <= durations.dead_after_s, flags.get(seen.report.vm, ""))


# ---- why nothing is running ----------------------------------------------------------------------------------------


def why_idle(sweep: SweepProgress, fleet: FleetView) -> tuple[str, ...]:
    """Return, in sentences, why no job of an unfinished sweep is running; nothing where one runs or all have ended."""
    if sweep.finished or sweep.alive:
        return ()
    return tuple(reason for question in _QUESTIONS if (reason := question(sweep, fleet)))


def _held(sweep: SweepProgress, _fleet: FleetView) -> str:
    if sweep.hold is None:
        return ""
    way_out = {
        "paused": f"tranquility resume {sweep.sweep} lifts it",
        "budget": "raise budget_usd in the sweep file and enqueue it again",
        "cancelled": f"tranquility retry {sweep.sweep} --cancelled brings its jobs back",
    }[sweep.hold.kind]
    whom = plural(len(sweep.hold.jobs), "job", "are") if sweep.hold.jobs else "The sweep is"
    kind = "out of budget" if sweep.hold.kind == "budget" else sweep.hold.kind
    because = f" ({sweep.hold.reason})" if sweep.hold.reason else ""
    return f"{whom} {kind}{because}; {way_out}."


def _fleet_held(_sweep: SweepProgress, fleet: FleetView) -> str:
    return f"The fleet is on hold: {fleet.hold} (tranquility scale --resume clears it)." if fleet.hold else ""


def _no_messages(sweep: SweepProgress, fleet: FleetView) -> str:
    waiting = sweep.counts.get("waiting", 0)
    if not waiting or fleet.queued or sweep.hold is not None:
        return ""
    return (
        f"{plural(waiting, 'job', 'are')} planned, but the queue is empty: the enqueue was cut short, or an audit is "
        "due. tranquility enqueue of the same file sends what is missing."
    )


def _unseen_set(_sweep: SweepProgress, fleet: FleetView) -> str:
    return f"The scale set cannot be seen: {fleet.set_error}" if fleet.set_error else ""


def _capacity(_sweep: SweepProgress, fleet: FleetView) -> str:
    state = fleet.set
    if not fleet.queued:
        return ""
    if fleet.refusal:
        return f"Azure granted no more VMs {duration(fleet.refusal.age_s)} ago: {fleet.refusal.message}"
    if state is None:
        return ""
    if state.capacity == 0:
        return "The scale set's capacity is 0: tranquility scale --watch, or the wake, raises it."
    if not state.instances:
        asked = plural(state.capacity, "VM")
        return f"The scale set was asked for {asked} and has none yet: no spot capacity, or being created."
    broken = [vm for vm in state.instances if vm.state not in {"running", "creating", "starting", "updating"}]
    if len(broken) == len(state.instances):
        shown = ", ".join(f"{vm.name} {vm.state}" for vm in broken[:3])
        return f"No VM of the scale set is running: {shown}{' …' if len(broken) > 3 else ''}."
    return ""


def _no_workers(_sweep: SweepProgress, fleet: FleetView) -> str:
    if fleet.living or not fleet.queued:
        return ""
    if fleet.slots:
        newest = min(fleet.slots, key=lambda slot: slot.seen.age_s)
        ago = f"{duration(newest.seen.age_s)} ago"
        if newest.seen.report.state == "stopped":
            return f"All workers have stopped, the last one {ago}: their VMs leave, evicted or no longer needed."
        return f"No worker has a heartbeat: the last report came {ago}."
    if fleet.set and fleet.set.instances:
        return f"{plural(len(fleet.set.instances), 'VM', 'are')} booting: no worker has reported yet."
    return "No worker has reported yet." if fleet.set is None else ""


def _flagged(_sweep: SweepProgress, fleet: FleetView) -> str:
    living = [slot for slot in fleet.slots if slot.alive and slot.seen.report.state != "stopped"]
    if living and all(slot.flag for slot in living) and fleet.queued:
        return "Every living worker is draining: its VM takes no more work and goes."
    return ""


def _silent_jobs(sweep: SweepProgress, _fleet: FleetView) -> str:
    silent = [job for job in sweep.jobs if job.state == "silent"]
    if not silent:
        return ""
    ages = max(job.age_s for job in silent)
    return (
        f"{plural(len(silent), 'job')} lost {'its' if len(silent) == 1 else 'their'} worker "
        f"(silent for up to {duration(ages)}): each goes on from its last commit when a worker receives its message."
    )


def _poison(_sweep: SweepProgress, fleet: FleetView) -> str:
    if not fleet.poisoned:
        return ""
    return (
        f"{plural(fleet.poisoned, 'message', 'lie')} in the poison queue: what was no job, or a job that ended every "
        "worker. tranquility doctor says how to read them."
    )


def _other_work(sweep: SweepProgress, fleet: FleetView) -> str:
    if fleet.busy and sweep.hold is None:
        busy = plural(fleet.busy, "worker", "are")
        return f"{busy} busy with other sweeps; the queue is shared and goes in its order."
    return ""


def _idle_workers(sweep: SweepProgress, fleet: FleetView) -> str:
    idle = sum(slot.alive and slot.seen.report.state == "idle" and not slot.flag for slot in fleet.slots)
    if not idle or not fleet.queued or sweep.hold is not None:
        return ""
    return (
        f"{plural(idle, 'worker', 'are')} idle: the first message comes a while after a boot, and what an error or a "
        "silent worker gave back is hidden for a while."
    )


_QUESTIONS: tuple[Callable[[SweepProgress, FleetView], str], ...] = (
    _held,
    _fleet_held,
    _unseen_set,
    _capacity,
    _no_workers,
    _flagged,
    _silent_jobs,
    _no_messages,
    _other_work,
    _idle_workers,
    _poison,
)
