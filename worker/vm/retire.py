"""A VM's own way out: it deletes itself when nobody needs it, with no producer alive (rules 10 and 13).

Two flags lead there. `drain` is for good, whoever wrote it: the slots answer, those that do not are stopped, and the VM
deletes itself whatever the queue holds. `retire` is this VM's own wish: written when all its slots were idle for long
and the queue is empty; it ends in a deletion only if the queue is still empty after every slot has answered, so that a
job that came meanwhile is either seen here or was counted on another VM by whoever sent it.

`decide` is pure; `RetireService` looks, decides and does, and keeps what it must remember in a file: on a VM a timer
starts it for each step, in the emulator it is a loop.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from worker.contract.base import Frozen
from worker.contract.control import Control, Flag, Flags, SeenSlot, SlotReport
from worker.contract.errors import FleetError, StorageError, Throttled
from worker.contract.log import Logger
from worker.contract.queue import MessageQueue
from worker.contract.runtime import Event, Runtime
from worker.contract.settings import Durations
from worker.vm.files import slots_here, write_file

DeleteSelf = Callable[[], None]
"""Ask Azure to delete this VM by its name. Raises FleetError."""
StopSlot = Callable[[int], bool]
"""End a slot's process; returns whether it is gone."""

STATE_FILE: Final = "retire.json"


@dataclass(frozen=True, slots=True)
class VmLook:
    """What the service read, in this order: flags, slots, count."""

    now_s: float
    """Our monotonic clock."""
    flags: Flags
    slots: Mapping[int, SeenSlot]
    local_slots: frozenset[int]
    """Slots that have begun on this VM, reported or not."""
    count: int

    @property
    def all_slots(self) -> frozenset[int]:
        """Return the slots that can hold a job."""
        return self.local_slots | frozenset(self.slots)

    @property
    def flag(self) -> Flag | None:
        """Return the flag that counts: draining is for good, and overrules retiring."""
        return "drain" if self.flags.drain else "retire" if self.flags.retire else None


class RetireState(Frozen):
    """What the service remembers, all by this VM's clock since boot."""

    looked_s: float | None = None
    """When it last looked; None where that failed."""
    without_commit_s: float = 0.0
    """How long this VM has run without a commit of its own (rule 13)."""
    flag: Flag | None = None
    """The flag that stood at the last look …"""
    flag_since_s: float = 0.0
    """… and when it was first seen."""
    stopped: tuple[int, ...] = ()
    """Slots that we stopped under this flag: what starts in their place reads it before any claim."""
    due_s: float = 0.0
    """When to look again."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now."""


@dataclass(frozen=True, slots=True)
class RaiseFlag:
    """Flag this VM."""

    flag: Flag
    reason: str


@dataclass(frozen=True, slots=True)
class LowerRetire:
    """Work on: there is something to do."""


@dataclass(frozen=True, slots=True)
class StopSlots:
    """Stop these slots, and answer the flag for them."""

    slots: tuple[int, ...]
    flag: Flag


@dataclass(frozen=True, slots=True)
class Leave:
    """Delete this VM."""

    reason: str


Step = Wait | RaiseFlag | LowerRetire | StopSlots | Leave


def observe(state: RetireState, look: VmLook, durations: Durations) -> RetireState:
    """Return what is remembered after a look.

    Time without a commit counts between successful looks only, so that an outage of the storage, in which no slot can
    commit, does not look like a VM that makes nothing.
    """
    flag_stood = look.flag is not None and look.flag == state.flag
    return RetireState(
        looked_s=look.now_s,
        without_commit_s=_without_commit_s(state, look, durations),
        flag=look.flag,
        flag_since_s=state.flag_since_s if flag_stood else look.now_s,
        stopped=state.stopped if flag_stood else (),
    )


def decide(look: VmLook, state: RetireState, durations: Durations) -> Step:
    """Return the next step of this VM; `state` is what `observe` made of this very look."""
    if look.flag == "drain":
        return _answers(look, state, durations, "drain") or Leave("drained: every slot has answered")
    if state.without_commit_s >= durations.fruitless_s:
        minutes = round(state.without_commit_s / 60)
        return RaiseFlag("drain", f"no commit of its own for {minutes} minutes")
    if look.flag == "retire":
        if look.count:
            return LowerRetire()
        return _answers(look, state, durations, "retire") or Leave("idle, and the queue is empty")
    if not look.count and _idle_s(look) >= durations.idle_before_retire_s:
        return RaiseFlag("retire", "idle, and the queue is empty")
    return Wait()


def _answers(look: VmLook, state: RetireState, durations: Durations, flag: Flag) -> Step | None:
    """Return what to do about slots that have not answered; None when all have."""
    answered = {slot for slot, seen in look.slots.items() if seen.report.answers == flag} | set(state.stopped)
    silent = tuple(sorted(look.all_slots - answered))
    if not silent:
        return None
    # An idle slot answers in seconds. A busy one would in hours: stopped, it commits and gives its job back.
    patient = look.now_s - state.flag_since_s < durations.visibility_timeout_s
    return Wait() if patient else StopSlots(silent, flag)


def _idle_s(look: VmLook) -> float:
    """Return for how long every slot has been idle; 0 while one is not, or has not said so yet."""
    if not look.slots or look.all_slots != frozenset(look.slots):
        return 0.0
    return min(seen.report.idle_s + seen.age_s if seen.report.state == "idle" else 0.0 for seen in look.slots.values())


def _without_commit_s(state: RetireState, look: VmLook, durations: Durations) -> float:
    watched_s = 0.0 if state.looked_s is None else look.now_s - state.looked_s
    total_s = state.without_commit_s + min(watched_s, durations.visibility_timeout_s)
    commits_s = (seen.report.since_commit_s + seen.age_s for seen in look.slots.values() if seen.report.commits)
    return min(total_s, *commits_s, total_s)


@dataclass(frozen=True)
class RetireService:
    """The service of one VM."""

    vm: str
    control: Control
    jobs: MessageQueue
    durations: Durations
    runtime: Runtime
    runtime_directory: Path
    delete_self: DeleteSelf
    stop_slot: StopSlot
    log: Logger
    failures: list[str] = field(default_factory=list)
    """Problems in a row; the first of a kind is logged, and the pauses grow with their number."""

    def run(self, stop: Event) -> None:
        """Look, decide and do until `stop` is set."""
        while not stop.is_set():
            self.runtime.wait(stop, self.once())

    def by_timer(self) -> None:
        """Take a step if one is due: a timer does not know that Azure wants to be left alone for minutes."""
        if self.runtime.monotonic() >= self._remembered().due_s:
            self.once()

    def once(self) -> float:
        """Take one step. Returns after how many seconds to take the next."""
        state = self._remembered()
        try:
            look = self._look()
            state = observe(state, look, self.durations)
            state, pause_s = self._do(decide(look, state, self.durations), state, look)
        except (StorageError, FleetError) as error:
            state = state.model_copy(update={"looked_s": None}) if isinstance(error, StorageError) else state
            pause_s = self._failed(error)
        else:
            self.failures.clear()
        self._remember(state.model_copy(update={"due_s": self.runtime.monotonic() + pause_s}))
        return pause_s

    def _look(self) -> VmLook:
        now_s = self.runtime.monotonic()
        flags = self.control.flags(self.vm)
        slots = {seen.report.slot: seen for seen in self.control.slots(self.vm)}
        return VmLook(now_s, flags, slots, slots_here(self.runtime_directory), self.jobs.count())

    def _do(self, step: Step, state: RetireState, look: VmLook) -> tuple[RetireState, float]:
        soon_s, later_s = self.durations.idle_receive_max_s, self.durations.tick_s
        match step:
            case RaiseFlag(flag, reason):
                self.control.raise_flag(flag, self.vm, reason)
                self.log.info("vm.flagged", flag=flag, reason=reason)
                return state, soon_s
            case LowerRetire():
                self.control.lower_flag("retire", self.vm)
                self.log.info("vm.stays", count=look.count)
                return state, later_s
            case StopSlots(slots, flag):
                stopped = tuple(slot for slot in slots if self._stop(slot, flag, look))
                return state.model_copy(update={"stopped": (*state.stopped, *stopped)}), soon_s
            case Leave(reason):
                self.log.info("vm.leaves", reason=reason)
                self.delete_self()
                return state, self.durations.zero_looks_apart_s
            case Wait():
                return state, soon_s if look.flag else later_s

    def _stop(self, slot: int, flag: Flag, look: VmLook) -> bool:
        """Stop a slot and answer for it. A slot that cannot be stopped may still work: nobody answers for it."""
        self.log.warning("slot.silent", slot=slot, flag=flag)
        if not self.stop_slot(slot):
            self.log.error("slot.unstoppable", slot=slot)
            return False
        seen = look.slots.get(slot)
        report = seen.report if seen else SlotReport(vm=self.vm, slot=slot, state="stopped")
        self.control.report_slot(
            report.model_copy(update={"state": "stopped", "answers": flag, "job": None, "sweep": ""})
        )
        return True

    def _failed(self, error: StorageError | FleetError) -> float:
        """Say a problem once, and return the pause before the next try."""
        if str(error) not in self.failures:
            self.log.warning("retire.failed", problem=str(error))
        self.failures.append(str(error))
        if isinstance(error, Throttled):
            return max(error.retry_after_s, self.durations.retry_base_s)
        pause_s = self.durations.retry_base_s * 2.0 ** min(len(self.failures) - 1, 10)
        return min(pause_s, self.durations.retry_max_s)

    def _remembered(self) -> RetireState:
        try:
            return RetireState.model_validate_json((self.runtime_directory / STATE_FILE).read_bytes())
        except (FileNotFoundError, ValidationError):
            return RetireState()  # since boot, or since a release that remembered otherwise: patience begins anew

    def _remember(self, state: RetireState) -> None:
        write_file(self.runtime_directory / STATE_FILE, state)
