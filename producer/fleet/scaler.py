"""The loop around reconcile: look, decide, do, and say why in one sentence when something changes."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from producer.fleet import reconcile as decide
from producer.fleet.look import Look, Policy
from producer.fleet.memory import Memory, observe
from producer.fleet.reconcile import Action, Standing, reconcile, standing
from producer.fleet.scale_set import AzureScaleSet, ScaleSet
from producer.session import Session
from worker.contract.control import FleetHold, SeenSlot
from worker.contract.errors import (
    CapacityRefused,
    FleetDenied,
    FleetError,
    SetChanged,
    StorageError,
    Throttled,
)
from worker.contract.runtime import Event
from worker.contract.settings import Durations

OUTLASTS: Final = 3.0
"""In units of `read_to_write_s`: so long after a look that nobody acts by it any more, and what was asked for at the
last moment, by a client that tries again, is done or given up."""
MAKING_SURE: Final = "Making sure that no VM leaves which had nothing to do when others last looked."


class Audited(Protocol):
    """What an audit found."""

    @property
    def resent(self) -> int:
        """How many messages it sent again."""

    @property
    def unread(self) -> Sequence[str]:
        """Why it could not read some sweeps, a sentence each."""


@dataclass(frozen=True, slots=True)
class TickReport:
    """What a tick found and did."""

    memory: Memory
    look: Look | None = None
    """What it read; None where that failed."""
    standing: Standing | None = None
    changes: tuple[str, ...] = ()
    """What it did and why, one sentence each."""
    capacity: int = 0
    """Of the set, after the tick."""
    held: str = ""
    """Why no producer raises the capacity."""
    refused: str = ""
    """Why Azure granted no more."""
    problem: str = ""
    """Why the tick was not carried out to its end."""
    denied: bool = False
    """Whether that is a missing role."""
    overtaken: bool = False
    """Whether somebody else was quicker, so that the next look alone will tell."""
    pause_s: float = 0.0
    """When to look again, at the earliest."""

    @property
    def enough(self) -> bool:
        """Return whether the capacity that takes work is all that the queue needs."""
        if self.look is None or self.standing is None:
            return False
        return self.standing.usable + self.capacity - self.look.state.capacity >= self.standing.needed


@dataclass(frozen=True)
class Scaler:
    """One producer's loop over one scale set."""

    session: Session
    scale_set: ScaleSet
    audit: Callable[[Session], Audited] | None = None
    """Without it nothing is drained for an empty queue."""

    @property
    def policy(self) -> Policy:
        """Return what the target allows."""
        target = self.session.target
        return Policy(target.max_instances, target.slots_per_instance, self.session.durations)

    def tick(self, memory: Memory) -> TickReport:
        """Look once and do what the look asks for. Raises nothing that a later tick may mend."""
        tick_s = self.session.durations.tick_s
        try:
            look = self.look()
        except Throttled as error:
            return TickReport(memory.after_failure(), problem=str(error), pause_s=max(tick_s, error.retry_after_s))
        except (StorageError, FleetError) as error:
            denied = isinstance(error, FleetDenied)
            return TickReport(memory.after_failure(), problem=str(error), denied=denied, pause_s=tick_s)
        before, memory = memory, observe(memory, look, self.policy)
        report = TickReport(
            memory,
            look,
            standing(look, memory, self.policy),
            capacity=look.state.capacity,
            held=look.hold,
            pause_s=tick_s,
        )
        came = (decide.ForgetRefusal(),) if before.raises.in_vain and not memory.raises.in_vain else ()
        return self._carry_out(report, look, (*reconcile(look, memory, self.policy), *came))

    def look(self) -> Look:
        """Read the set, then the flags, then the count; what else is read stands in between (rule 10)."""
        control = self.session.control
        read_s = self.session.runtime.monotonic()
        state = self.scale_set.read()
        drain, retire = dict(control.flagged("drain")), dict(control.flagged("retire"))
        slots: dict[str, dict[int, SeenSlot]] = defaultdict(dict)
        for seen in control.slots():
            slots[seen.report.vm][seen.report.slot] = seen
        hold = control.fleet_hold()
        return Look(
            read_s=read_s,
            state=state,
            drain=drain,
            retire=retire,
            slots=slots,
            commit_age_s=control.commit_age_s(),
            hold=hold.reason if hold else "",
            count=self.session.jobs.count(),
        )

    def watch(self, stop: Event, say: Callable[[TickReport], None]) -> None:
        """Tick until `stop` is set; `say` gets every report."""
        memory = Memory()
        while not stop.is_set():
            report = self.tick(memory)
            memory = report.memory
            say(report)
            self.session.runtime.wait(stop, report.pause_s)

    def ensure_capacity(self, say: Callable[[str], None], patience_s: float | None = None) -> TickReport:
        """Tick until the capacity that takes work is all that the queue needs, so that the laptop may be closed.

        Gives up where a person or Azure must act first, and after `patience_s` (default: as long as it takes to declare
        a VM dead); `say` then gets the reason and a way on. The report has it as `held`, `refused` or `problem`.
        """
        runtime, durations = self.session.runtime, self.session.durations
        began_s = runtime.monotonic()
        ends_s = began_s + (durations.dead_after_s if patience_s is None else patience_s)
        # What the wake would mend need not be waited for.
        sure_s = began_s if self.session.target.wake else began_s + OUTLASTS * durations.read_to_write_s
        never, memory, waiting = runtime.event(), Memory(), ""
        while True:
            report = self.tick(memory)
            memory = report.memory
            for change in report.changes:
                say(change)
            if report.enough and not may_still_shrink(report.look, durations) and not may_be_drained(report, sure_s):
                return report
            if not report.problem:
                report = replace(report, problem=MAKING_SURE if report.enough else _waited_for(report))
            pause_s = self._soon_s if report.enough else report.pause_s
            # A role that was given a moment ago is waited for, but not where the wake raises in any case.
            given_up = report.held or report.refused or (report.denied and self.session.target.wake)
            if given_up or runtime.monotonic() + pause_s >= ends_s:
                say(_way_on(report, wake=bool(self.session.target.wake)))
                return report
            if report.problem != waiting and not report.overtaken:
                waiting = report.problem
                say(waiting)
            runtime.wait(never, pause_s)

    def _carry_out(self, report: TickReport, look: Look, actions: Sequence[Action]) -> TickReport:
        for action in actions:
            try:
                report = self._perform(report, look, action)
            except SetChanged as error:
                # Another producer, Azure or an eviction was quicker, or this machine slept: look again soon.
                return replace(report, problem=str(error), overtaken=True, pause_s=self._soon_s)
            except Throttled as error:
                return replace(report, problem=str(error), pause_s=max(report.pause_s, error.retry_after_s))
            except (StorageError, FleetError) as error:
                return replace(report, problem=str(error), denied=isinstance(error, FleetDenied))
        return report

    @property
    def _soon_s(self) -> float:
        return self.session.durations.tick_s / 6

    def _perform(self, report: TickReport, look: Look, action: Action) -> TickReport:
        """Do one thing. Raises SetChanged where the look is too old to act by (rule 10)."""
        if self.session.runtime.monotonic() - look.read_s > self.session.durations.read_to_write_s:
            raise SetChanged("What was read is too old to act by.")
        match action:
            case decide.Raise():
                return self._raise(report, look, action)
            case decide.Delete(vms):
                self.scale_set.delete(vms)
                return _changed(report, f"Deleted {', '.join(vms)}: nothing runs there any more.")
            case decide.Clear(etag):
                self.scale_set.clear(etag)
                # A job may have come since the count was read, and its enqueue found the old capacity: look again soon.
                cleared = replace(report, capacity=0, pause_s=self._soon_s)
                return _changed(cleared, "Set the capacity to 0: no VM came, and there is nothing left to do.")
            case decide.Audit():
                return self._audit(report)
            case _:
                return self._write_control(report, look, action)

    def _raise(self, report: TickReport, look: Look, action: decide.Raise) -> TickReport:
        """Raise as asked, or by one where Azure refuses that."""
        control, refusal = self.session.control, ""
        for capacity in sorted({action.capacity, look.state.capacity + 1}, reverse=True):
            control.pulse(f"{self.session.user} raises the capacity to {capacity}")
            try:
                self.scale_set.raise_to(capacity, action.etag)
            except CapacityRefused as error:
                refusal = error.detail
                report = _changed(report, f"Azure did not raise the capacity to {capacity}: {refusal}")
                continue
            report = _changed(report, f"Raised the capacity to {capacity}: {action.reason}.")
            report = replace(report, capacity=capacity)
            break
        if refusal:
            control.refused(refusal)
        return replace(report, refused=refusal, memory=report.memory.after_raise(look, refused=bool(refusal)))

    def _write_control(self, report: TickReport, look: Look, action: Action) -> TickReport:
        control = self.session.control
        match action:
            case decide.HoldFleet(reason):
                control.hold_fleet(FleetHold(reason=reason, since=self.session.runtime.utc()))
                held = replace(report, held=reason, memory=report.memory.after_hold())
                return _changed(held, f"No more VMs are asked for: {reason} `tranquility scale --resume` ends that.")
            case decide.Drain(vm, reason):
                control.raise_flag("drain", vm, reason)
                problem = _problem(look, vm)
                if problem:
                    control.refused(problem)
                # A job may have come since the count was read: the next look, which would replace this VM, comes soon.
                return _changed(replace(report, pause_s=self._soon_s), f"{vm} is to go: {reason}.")
            case decide.Forget(vm):
                control.lower_flag("drain", vm)
                control.lower_flag("retire", vm)
            case decide.ForgetSlots(vm):
                control.forget_slots(vm)
            case decide.ForgetRefusal():
                control.granted()
        return report

    def _audit(self, report: TickReport) -> TickReport:
        if self.audit is None:
            return report
        found = self.audit(self.session)
        audited = replace(report, memory=report.memory.after_audit(found.resent, whole=not found.unread))
        if found.unread:
            audited = replace(audited, problem=f"No VM is drained, though the queue is empty: {' '.join(found.unread)}")
        if not found.resent:
            return audited
        return _changed(
            audited, f"Sent {found.resent} messages again: their jobs were planned, and nothing was queued."
        )


def open_scaler(session: Session, audit: Callable[[Session], Audited] | None = None) -> Scaler:
    """Return the loop over the target's scale set."""
    return Scaler(session, AzureScaleSet(session.compute, session.target), audit)


def ensure_capacity(session: Session, say: Callable[[str], None] = lambda _: None) -> TickReport:
    """Close an enqueue, a retry or a confirm (rule 10): see `Scaler.ensure_capacity`."""
    return open_scaler(session).ensure_capacity(say)


def may_still_shrink(look: Look | None, durations: Durations) -> bool:
    """Return whether a VM that has just left the list may still be part of the capacity.

    It flagged itself, deleted itself and is gone, and the capacity is more than what is listed: either it is yet to be
    lowered, or new instances are yet to be listed. The next look tells. One that is on its way out need not be part of
    the capacity any more, though it is listed.
    """
    if look is None or look.state.capacity <= sum(not instance.deleting for instance in look.state.instances):
        return False
    flags = {**look.drain, **look.retire}
    return any(age_s < durations.dead_after_s and not look.listed(vm) for vm, age_s in flags.items())


def may_be_drained(report: TickReport, sure_s: float) -> bool:
    """Return whether another producer, by a count from before `sure_s`, may yet flag a VM that is counted on here.

    It would see what came meanwhile at its next look, and replace that VM: unless its laptop closes first.
    """
    if report.look is None or report.standing is None or report.look.read_s >= sure_s:
        return False
    return bool(report.standing.living)


def _changed(report: TickReport, sentence: str) -> TickReport:
    return replace(report, changes=(*report.changes, sentence))


def _problem(look: Look, vm: str) -> str:
    return next((instance.problem for instance in look.state.instances if instance.name == vm), "")


def _waited_for(report: TickReport) -> str:
    lost = report.standing.lost if report.standing else ()
    names = ", ".join(instance.name for instance in lost) or "the set"
    return f"Still waiting for {names}: VMs that take no more work leave first, then others can take their place."


def _way_on(report: TickReport, *, wake: bool) -> str:
    """Say why there are fewer VMs than the queue needs, and who can change that."""
    if report.held:
        return f"No VMs are asked for: {report.held} `tranquility scale --resume` ends that."
    if report.denied:
        return (
            f"{report.problem} {'The wake' if wake else 'Someone with the role of a scaler'} has to raise the capacity."
        )
    if report.refused:
        return "The jobs wait for VMs: `tranquility scale --watch`, or the wake, goes on asking Azure."
    return f"{report.problem} `tranquility scale --watch`, or the wake, goes on."
