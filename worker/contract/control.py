"""The blobs by which VMs, producers and the wake talk to each other: pulse, flags, slot reports, holds."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from worker.contract import names
from worker.contract.base import Frozen, JobId
from worker.contract.errors import ConditionFailed, StorageUnavailable
from worker.contract.records import Absent, BlobStore, Condition, Listed

Flag = Literal["drain", "retire"]
HoldKind = Literal["cancelled", "paused", "budget"]


class SlotReport(Frozen):
    """What one slot of a VM says of itself."""

    vm: str
    slot: Annotated[int, Field(ge=0)]
    state: Literal["starting", "idle", "busy", "stopped"]
    answers: Flag | None = None
    """The flag that this slot has read: it receives nothing while that stands."""
    sweep: str = ""
    job: JobId | None = None
    idle_s: float = 0.0
    """Seconds without a job when this was written, by the slot's monotonic clock."""
    since_commit_s: float = 0.0
    """Seconds since the slot's last commit, or since it began."""
    commits: Annotated[int, Field(ge=0)] = 0
    """Commits since the slot began: what tells a commit from a slot that starts again and again."""
    boot_seconds: float = 0.0
    """From the VM's boot to the slot's first receive."""
    first_step_seconds: float = 0.0
    """From the VM's boot to the slot's first training step; 0 before that."""
    release: str = ""
    cpu: str = ""


@dataclass(frozen=True, slots=True)
class SeenSlot:
    """A slot report as found: its age and ETag tell whether the slot is alive."""

    report: SlotReport
    etag: str
    age_s: float


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags of one VM."""

    drain: bool = False
    retire: bool = False


class FleetHold(Frozen):
    """Why the producer raises no capacity (rule 13)."""

    reason: str
    since: str
    """UTC, ISO 8601, by the clock of whoever wrote it: for people, never compared."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What Azure said when it granted no more VMs."""

    message: str
    age_s: float


class Hold(Frozen):
    """Why nothing of a sweep may run."""

    kind: HoldKind
    jobs: tuple[JobId, ...] = ()
    """Only these jobs; empty = all."""
    reason: str = ""

    def covers(self, job: str) -> bool:
        """Return whether this hold is about `job`."""
        return not self.jobs or job in self.jobs


class Control:
    """Reads and writes the container `control`."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs

    def pulse(self, who: str) -> None:
        """Say that something is alive."""
        self._blobs.put(names.CONTROL, names.PULSE, who.encode())

    def committed(self, who: str) -> None:
        """Say that something made progress."""
        self._blobs.put(names.CONTROL, names.COMMIT, who.encode())

    def commit_age_s(self) -> float | None:
        """Return the seconds since anything made progress; None where nothing ever did."""
        found = self._blobs.get(names.CONTROL, names.COMMIT)
        return found.age_s if found else None

    def flags(self, vm: str) -> Flags:
        """Return the flags of one VM."""
        return Flags(
            drain=self._blobs.get(names.CONTROL, names.drain(vm)) is not None,
            retire=self._blobs.get(names.CONTROL, names.retire(vm)) is not None,
        )

    def raise_flag(self, flag: Flag, vm: str, reason: str) -> None:
        """Flag a VM; a flag that stands already stays as it is."""
        try:
            self._blobs.put(names.CONTROL, _flag_name(flag, vm), reason.encode(), Absent())
        except ConditionFailed:
            return

    def lower_flag(self, flag: Flag, vm: str) -> None:
        """Remove a flag."""
        self._blobs.delete(names.CONTROL, _flag_name(flag, vm))

    def flagged(self, flag: Flag) -> Iterator[tuple[str, float]]:
        """Yield every VM with this flag, and the flag's age in seconds."""
        prefix = names.DRAIN if flag == "drain" else names.RETIRE
        for blob in self._blobs.list(names.CONTROL, prefix):
            yield blob.name.removeprefix(prefix), blob.age_s

    def report_slot(self, report: SlotReport) -> None:
        """Publish a slot's report; it rides as metadata too, so that one LIST reads the whole fleet."""
        body = report.canonical()
        self._blobs.put(names.CONTROL, names.slot(report.vm, report.slot), body, metadata={"report": body.decode()})

    def slots(self, vm: str = "") -> Iterator[SeenSlot]:
        """Yield the reports of one VM's slots, or of all."""
        for blob in self._blobs.list(names.CONTROL, names.SLOTS + (f"{vm}/" if vm else "")):
            seen = seen_slot(blob)
            if seen:
                yield seen

    def forget_slots(self, vm: str) -> None:
        """Remove the reports of a VM that is gone."""
        for blob in self._blobs.list(names.CONTROL, f"{names.SLOTS}{vm}/"):
            self._blobs.delete(names.CONTROL, blob.name)

    def fleet_hold(self) -> FleetHold | None:
        """Return why the producer raises no capacity, or None. A hold that cannot be read is one all the same."""
        found = self._blobs.get(names.CONTROL, names.FLEET_HOLD)
        if found is None:
            return None
        try:
            return FleetHold.model_validate_json(found.body)
        except ValidationError:
            return FleetHold(reason="a newer release put the fleet on hold.", since="an unknown time")

    def hold_fleet(self, hold: FleetHold) -> None:
        """Stop every producer's raises; a hold that stands already stays as it is."""
        try:
            self._blobs.put(names.CONTROL, names.FLEET_HOLD, hold.canonical(), Absent())
        except ConditionFailed:
            return

    def resume_fleet(self) -> None:
        """Let producers raise the capacity again."""
        self._blobs.delete(names.CONTROL, names.FLEET_HOLD)

    def refused(self, message: str) -> None:
        """Keep what Azure said when it granted no more VMs, so that `status` can tell."""
        self._blobs.put(names.CONTROL, names.REFUSAL, message.encode())

    def granted(self) -> None:
        """Forget the last refusal."""
        self._blobs.delete(names.CONTROL, names.REFUSAL)

    def refusal(self) -> Refusal | None:
        """Return why Azure last granted no more VMs; None where one came since."""
        found = self._blobs.get(names.CONTROL, names.REFUSAL)
        return Refusal(found.body.decode(), found.age_s) if found else None


def seen_slot(blob: Listed) -> SeenSlot | None:
    """Return the report in a listed slot blob; None where the name is not a slot's.

    A report of a newer release cannot be read, but it lives: it reads as busy, so that nobody takes it for idle,
    for drained or for dead.
    """
    vm, _, slot = blob.name.removeprefix(names.SLOTS).rpartition("/")
    if not vm or not slot.isdecimal():
        return None
    try:
        report = SlotReport.model_validate_json(blob.metadata.get("report", ""))
    except ValidationError:
        report = SlotReport(vm=vm, slot=int(slot), state="busy")
    return SeenSlot(report, blob.etag, blob.age_s)


def _flag_name(flag: Flag, vm: str) -> str:
    return names.drain(vm) if flag == "drain" else names.retire(vm)


def read_hold(blobs: BlobStore, sweep: str) -> Hold | None:
    """Return why a sweep may not run, or None.

    Raises StorageError, also where what lies there is no hold of this release: that is never held against a job.
    """
    found = blobs.get(names.SWEEPS, names.hold(sweep))
    return None if found is None else parse_hold(sweep, found.body)


def parse_hold(sweep: str, body: bytes) -> Hold:
    """Return the hold that a blob holds. Raises StorageUnavailable where it is none of this release."""
    try:
        return Hold.model_validate_json(body)
    except ValidationError as error:
        raise StorageUnavailable(f"The hold of {sweep} cannot be read by this release.") from error


def hold_on(blobs: BlobStore, sweep: str, job: str) -> Hold | None:
    """Return why this job may not run, or None."""
    hold = read_hold(blobs, sweep)
    return hold if hold is not None and hold.covers(job) else None


def write_hold(blobs: BlobStore, sweep: str, hold: Hold, condition: Condition = None) -> str:
    """Put a hold on a sweep, and return its ETag. Raises ConditionFailed."""
    return blobs.put(names.SWEEPS, names.hold(sweep), hold.canonical(), condition)
