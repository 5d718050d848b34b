"""Row 5: a producer that drains a scale set dies before and after each of its requests, those to the set included.

The set is in memory; its VMs are idle, read their flags, and answer. Another producer takes over, alone or as the end
of an enqueue.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from producer.fleet.look import ScaleSetState
from producer.fleet.memory import Memory
from producer.fleet.scale_set import ScaleSet
from producer.fleet.scaler import Scaler
from producer.session import Session
from producer.sweep.audit import audit
from tests.fakes.producing import Gate, InlineRuntime
from tests.fakes.scale_set import MemoryScaleSet
from tests.fakes.trainer import tiny_job
from tests.proof.steady import Clock, Ground
from worker.contract.control import Control, SlotReport
from worker.contract.runtime import Event

VMS: Final = 2
TICKS: Final = 14
"""Enough to see an empty queue twice, to audit, to flag, to see the answers, and to see that all are gone."""


class ClockRuntime(InlineRuntime):
    """A producer's runtime by the ground's clock: what happens meanwhile is what the VMs do."""

    def __init__(self, ground: "DrainGround") -> None:
        super().__init__()
        self._ground = ground

    def monotonic(self) -> float:
        """Return the ground's time."""
        return self._ground.clock.now_s

    def wait(self, event: Event, timeout_s: float | None = None) -> bool:
        """Let time pass."""
        self._ground.pass_time(timeout_s or 0.0)
        return event.is_set()


@dataclass
class DrainGround(Ground):
    """A ground with a scale set of VMs that have long been idle."""

    wrong_deletions: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.scale_set = MemoryScaleSet(self.clock)
        self.scale_set.raise_to(VMS, self.scale_set.read().etag)
        self.pass_time(2 * self.scale_set.boot_s)

    def pass_time(self, seconds: float) -> None:
        """Let time pass, in which every VM reports that it is idle, and answers its flag."""
        self.clock.now_s += seconds
        control = Control(self.blobs)
        flagged = {vm for vm, _ in control.flagged("drain")}
        for vm in self.scale_set.names:
            answers = "drain" if vm in flagged else None
            control.report_slot(SlotReport(vm=vm, slot=0, state="idle", answers=answers, idle_s=3600.0))

    def scaler(self, gate: Gate) -> Scaler:
        """Return the loop of a new producer whose requests pass a gate."""
        session: Session = replace(self.session(gate), runtime=ClockRuntime(self))
        session = replace(session, target=session.target.model_copy(update={"max_instances": VMS}))
        return Scaler(session, GatedSet(self, gate), audit)

    def usable(self) -> int:
        """Return how much of the capacity takes work; it counts no VM that is being deleted."""
        flagged = {vm for vm, _ in Control(self.blobs).flagged("drain")}
        listed = {one.name for one in self.scale_set.read().instances if not one.deleting}
        return self.scale_set.capacity - len(flagged & listed)


@dataclass(frozen=True)
class GatedSet:
    """The set as one producer sees it, with a witness to every deletion."""

    ground: DrainGround
    gate: Gate

    @property
    def _set(self) -> ScaleSet:
        return self.ground.scale_set

    def read(self) -> ScaleSetState:
        """See ScaleSet."""
        return self.gate.through(self._set.read)

    def raise_to(self, capacity: int, etag: str) -> None:
        """See ScaleSet."""
        self.gate.through(lambda: self._set.raise_to(capacity, etag))

    def clear(self, etag: str) -> None:
        """See ScaleSet."""
        self.gate.through(lambda: self._set.clear(etag))

    def delete(self, names: Sequence[str]) -> None:
        """See ScaleSet."""

        def delete() -> None:
            answered = {seen.report.vm for seen in Control(self.ground.blobs).slots() if seen.report.answers == "drain"}
            self.ground.wrong_deletions += [f"{vm} was deleted before it answered" for vm in set(names) - answered]
            self._set.delete(names)

        self.gate.through(delete)


def drain(ground: Ground, gate: Gate) -> None:
    """Watch the set for as long as draining it takes."""
    assert isinstance(ground, DrainGround)
    scaler, memory = ground.scaler(gate), Memory()
    for _ in range(TICKS):
        report = scaler.tick(memory)
        memory = report.memory
        ground.pass_time(report.pause_s)


def all_gone(ground: Ground) -> list[str]:
    """Let another producer watch; return what is wrong then."""
    assert isinstance(ground, DrainGround)
    drain(ground, Gate())
    left = [f"{vm} is left" for vm in ground.scale_set.names]
    capacity = [f"the capacity is {ground.scale_set.capacity}"] if ground.scale_set.capacity else []
    return [*ground.wrong_deletions, *left, *capacity]


def job_that_comes(ground: Ground) -> list[str]:
    """Enqueue a job, close, and let nobody watch any more; return what is wrong with the set then."""
    assert isinstance(ground, DrainGround)
    ground.enqueue(tiny_job("late"))
    report = ground.scaler(Gate()).ensure_capacity(lambda _: None)
    few = [f"the job is left with {ground.usable()} VMs"] if ground.usable() < 1 else []
    return [*ground.wrong_deletions, *few, *([] if report.enough else [f"it says: {report.problem}"])]


def new_ground() -> Ground:
    """Return a ground of its own."""
    return DrainGround(Clock())


MENDS: Final[dict[str, Callable[[Ground], list[str]]]] = {
    "drain": all_gone,
    "drain, and a job that comes then": job_that_comes,
}
"""Who takes over from a producer that died in the middle of a drain."""
