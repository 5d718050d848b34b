"""The emulated scale set itself: capacity, VMs, long-running operations and evictions. It knows no HTTP and no process.

Time is injected and nothing happens between two calls: what has come due is carried out, in its order, by the next
call, and `next_due` says when a call is worth while. What the world has to do about it (start the processes of a VM,
kill them) is handed out by `take_effects`. Nothing is kept: a new one begins with capacity 0.
"""

import heapq
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any

from producer.emulator.description import SetDescription
from producer.emulator.faults import Allocation, Faults
from producer.emulator.scheduled_events import ScheduledEvents
from producer.emulator.states import (
    Boot,
    Effect,
    Kill,
    Kind,
    Latencies,
    Operation,
    Part,
    Power,
    Problem,
    Provisioning,
    Refused,
    Status,
    Vm,
)
from worker.contract.resource_types import VMS

MAXIMUM_CAPACITY = 1000
_NAME_CHARACTERS = "0123456789abcdefghijklmnopqrstuvwxyz"


class ScaleSetModel:
    """The set. Every method may be called from any thread; Refused says why something is not done."""

    def __init__(
        self,
        description: SetDescription,
        latencies: Latencies,
        faults: Faults,
        clock: Callable[[], datetime],
        chance: Random,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`clock` tells UTC and never goes back. `changed` is called, without any lock held, after every call that may
        have left effects or an earlier `next_due`."""
        self.description = description
        self.unique_id = str(_uuid(chance))
        self.created = clock()
        self._latencies = latencies
        self._faults = faults
        self._clock = clock
        self._chance = chance
        self._changed = changed
        self._lock = threading.RLock()
        self._now = self.created
        self._capacity = 0
        self._failed = False
        self._etag = ""
        self._vms: dict[str, Vm] = {}
        self._departed: list[tuple[datetime, Vm]] = []
        self._orphans: list[Part] = []
        self._operations: dict[str, Operation] = {}
        self._awaited: dict[str, set[str]] = {}
        self._events = ScheduledEvents(chance)
        self._timers: list[tuple[datetime, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._effects: list[Effect] = []
        self._new_etag()

    # What is

    @property
    def capacity(self) -> int:
        """The number of VMs that the set holds or is to hold."""
        with self._present():
            return self._capacity

    def snapshot(self) -> tuple[int, str, Provisioning]:
        """Capacity, ETag (it changes with every write, an eviction's included) and provisioning state.

        A set whose last change of capacity failed is Failed until the next one.
        """
        with self._present():
            settled = Provisioning.FAILED if self._failed else Provisioning.SUCCEEDED
            return self._capacity, self._etag, Provisioning.UPDATING if self._awaited else settled

    def vms(self) -> tuple[Vm, ...]:
        """Every VM as lists show them, in the order of creation."""
        with self._present():
            return tuple(self._vms.values()) + tuple(vm for until, vm in self._departed if self._now < until)

    def vm(self, name: str) -> Vm:
        """One VM. Refused (ResourceNotFound) when it does not exist, or no longer."""
        with self._present():
            vm = self._vms.get(name)
        if vm is None:
            raise Refused("ResourceNotFound", f"The Resource '{VMS}/{name}' was not found.")
        return vm

    def parts(self) -> tuple[Part, ...]:
        """Every disk, interface and address, of VMs that are there and, orphaned, of some that are gone."""
        with self._present():
            return (*(Part(kind, vm) for vm in self._vms.values() for kind in Kind), *self._orphans)

    def operation(self, operation_id: str) -> Operation:
        """A long-running operation. Refused (NotFound) for an unknown one."""
        with self._present():
            operation = self._operations.get(operation_id)
        if operation is None:
            raise Refused("NotFound", f"The operation {operation_id} was not found.")
        return operation

    def scheduled_events(self) -> dict[str, Any]:
        """The document of scheduled events."""
        with self._present():
            return self._events.document()

    @property
    def next_due(self) -> datetime | None:
        """When something next happens by itself."""
        with self._lock:
            return self._timers[0][0] if self._timers else None

    def take_effects(self) -> tuple[Effect, ...]:
        """What the world has to do, in this order, handed out once."""
        with self._lock:
            self._advance()
            effects, self._effects = tuple(self._effects), []
            return effects

    # What clients do

    def set_capacity(self, capacity: int, if_match: str | None = None) -> Operation:
        """Set the capacity. A lower one deletes the newest VMs, whatever they are doing.

        Refused: InvalidParameter, PreconditionFailed (ETag), OperationNotAllowed (quota).
        """
        with self._present():
            self._check_capacity(capacity, if_match)
            living = [vm for vm in self._vms.values() if vm.provisioning is not Provisioning.DELETING]
            added = [self._create() for _ in range(capacity - len(living))]
            removed = [vm.name for vm in reversed(living)][: max(0, len(living) - capacity)]
            for name in removed:
                self._begin_delete(name)
            self._capacity = capacity
            self._failed = False
            self._new_etag()
            return self._begin_operation([*added, *removed], updates_set=True)

    def compare(self, if_match: str | None) -> None:
        """Check an ETag as every write does. Refused: PreconditionFailed."""
        with self._present():
            if if_match not in (None, "*", self._etag):
                raise Refused("PreconditionFailed", f"The ETag {if_match} is not that of {self.description.name}.")

    def delete_instances(self, names: Sequence[str]) -> Operation:
        """Delete exactly these and lower the capacity by as many. Refused (InvalidParameter) for an unknown one."""
        with self._present():
            if not names:
                raise Refused("InvalidParameter", "The instanceIds must name at least one VM.")
            for name in names:
                if name not in self._vms:
                    text = f"The provided instanceId {name} is not an active Virtual Machine Scale Set VM instanceId."
                    raise Refused("InvalidParameter", text)
            for name in names:
                self._remove(name)
            return self._begin_operation(names)

    def delete_vm(self, name: str) -> Operation | None:
        """Delete one VM and lower the capacity by one; None when there is no such VM."""
        with self._present():
            if name not in self._vms:
                return None
            self._remove(name)
            return self._begin_operation([name])

    def evict(self, name: str | None = None, *, notice: bool = True, preferred: Sequence[str] = ()) -> str:
        """Azure takes a running VM back: this one, or any, of the preferred ones if one of them runs. Returns its name.

        With notice a Preempt event is published first. Refused: ResourceNotFound, OperationNotAllowed (not running).
        """
        with self._present():
            name = self._any_running(preferred) if name is None else name
            vm = self._vms.get(name)
            if vm is None:
                raise Refused("ResourceNotFound", f"There is no VM {name} in the set {self.description.name}.")
            if vm.power is not Power.RUNNING:
                raise Refused("OperationNotAllowed", f"The VM {name} is not running: it is {vm.provisioning}.")
            if not notice:
                self._reclaim(name)
            elif self._events.for_vm(name, "Preempt") is None:
                due = self._now + timedelta(seconds=self._latencies.notice_s)
                self._events.announce("Preempt", (name,), due)
                self._at(due, lambda: self._reclaim(name))
            return name

    def start_events(self, event_ids: Sequence[str]) -> None:
        """A VM acknowledged these events: they happen now. Refused (BadRequest) for an unknown one."""
        with self._present():
            for event_id in event_ids:
                if self._events.get(event_id) is None:
                    raise Refused("BadRequest", f"There is no event {event_id}.")
            for event_id in event_ids:
                self._start(event_id)

    def announce(self, event_type: str, names: Sequence[str], notice_s: float, duration_s: float) -> str:
        """Publish maintenance (Freeze, Reboot, Redeploy): it starts after the notice, is over after its duration, and
        kills nothing. Returns the event's id.
        """
        with self._present():
            due = self._now + timedelta(seconds=notice_s)
            event = self._events.announce(event_type, tuple(names), due, duration=int(duration_s))
            self._at(due, lambda: self._start(event.event_id))
            self._at(due + timedelta(seconds=duration_s), lambda: self._events.finish(event.event_id))
            return event.event_id

    def power_off(self, name: str) -> None:
        """The guest shut down: the VM is stopped, still there, and still billed."""
        with self._present():
            if name in self._vms:
                self._vms[name] = replace(self._vms[name], power=Power.STOPPED)
                self._effects.append(Kill(name))

    def fail_provisioning(self, name: str, problem: Problem) -> None:
        """The VM got its hardware and then did not come up: it is Failed, counts as capacity, and is billed."""
        with self._present():
            if name in self._vms and not self._is(name, Provisioning.DELETING):
                self._vms[name] = replace(self._vms[name], provisioning=Provisioning.FAILED, problem=problem)
                self._effects.append(Kill(name))

    # How it goes on

    @contextmanager
    def _present(self) -> Iterator[None]:
        with self._lock:
            self._advance()
            yield
        self._changed()

    def _advance(self) -> None:
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            due, _, action = heapq.heappop(self._timers)
            self._now = max(self._now, due)
            action()
        self._now = max(self._now, now)

    def _at(self, due: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (due, next(self._sequence), action))

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._at(self._now + timedelta(seconds=seconds), action)

    def _check_capacity(self, capacity: int, if_match: str | None) -> None:
        self.compare(if_match)
        if not 0 <= capacity <= MAXIMUM_CAPACITY:
            text = f"The value {capacity} of parameter sku.capacity is out of range: 0 to {MAXIMUM_CAPACITY}."
            raise Refused("InvalidParameter", text)
        self._faults.check_quota(capacity, self._capacity)

    def _create(self) -> str:
        name = f"{self.description.name}_{''.join(self._chance.choices(_NAME_CHARACTERS, k=8))}"
        if name in self._vms:
            return self._create()
        self._vms[name] = Vm(name, str(_uuid(self._chance)), self._now)
        outcome = self._faults.take_allocation()
        if outcome is Allocation.VANISHES:
            self._after(self._latencies.boot_s / 2, lambda: self._vanish(name))
        elif outcome is Allocation.FAILS:
            self._after(self._latencies.boot_s, lambda: self._fail(name))
        else:
            self._after(self._latencies.boot_s / 2, lambda: self._power_on(name))
            self._after(self._latencies.boot_s, lambda: self._boot(name))
        return name

    def _power_on(self, name: str) -> None:
        if self._is(name, Provisioning.CREATING):
            self._vms[name] = replace(self._vms[name], power=Power.STARTING)

    def _boot(self, name: str) -> None:
        if self._is(name, Provisioning.CREATING):
            vm = replace(self._vms[name], provisioning=Provisioning.SUCCEEDED, power=Power.RUNNING)
            self._vms[name] = vm
            self._effects.append(Boot(vm))
            self._settle(name)

    def _fail(self, name: str) -> None:
        if self._is(name, Provisioning.CREATING):
            text = (
                "Allocation failed. We do not have sufficient capacity for the requested VM size in this region. "
                "Read more about improving likelihood of allocation success at http://aka.ms/allocation-guidance"
            )
            problem = Problem("AllocationFailed", text)
            self._vms[name] = replace(self._vms[name], provisioning=Provisioning.FAILED, problem=problem)
            self._settle(name, problem)

    def _vanish(self, name: str) -> None:
        if self._is(name, Provisioning.CREATING):
            self._lower()
            self._depart(name)

    def _reclaim(self, name: str) -> None:
        """Azure takes the VM, unless it went before."""
        vm = self._vms.get(name)
        if vm is None or vm.provisioning is Provisioning.DELETING or vm.power is not Power.RUNNING:
            return
        event = self._events.for_vm(name, "Preempt")
        if event is not None:
            self._events.start(event.event_id)
        if self._faults.evictions_leave_stopped:
            self._vms[name] = replace(vm, power=Power.STOPPED)
            self._effects.append(Kill(name))
            self._forget_event(name)
        else:
            self._remove(name)

    def _remove(self, name: str) -> None:
        if not self._is(name, Provisioning.DELETING):
            self._begin_delete(name)
            self._lower()

    def _begin_delete(self, name: str) -> None:
        vm = self._vms[name]
        power = Power.STOPPING if vm.power is not None else None
        self._vms[name] = replace(vm, provisioning=Provisioning.DELETING, power=power)
        self._effects.append(Kill(name))
        self._after(self._latencies.delete_s, lambda: self._depart(name))

    def _depart(self, name: str) -> None:
        vm = self._vms.pop(name)
        if self._faults.stale_lists_s > 0:
            self._departed.append((self._now + timedelta(seconds=self._faults.stale_lists_s), vm))
        self._orphans += [Part(kind, vm, orphaned=True) for kind in Kind if kind in self._faults.deletions_leave]
        self._forget_event(name)
        self._settle(name)

    def _forget_event(self, name: str) -> None:
        event = self._events.for_vm(name, "Preempt")
        if event is not None:
            self._events.finish(event.event_id)

    def _start(self, event_id: str) -> None:
        event = self._events.get(event_id)
        if event is None:
            return
        self._events.start(event_id)
        if event.event_type == "Preempt":
            for name in event.resources:
                self._reclaim(name)

    def _lower(self) -> None:
        self._capacity -= 1
        self._new_etag()

    def _new_etag(self) -> None:
        self._etag = f'"{self._chance.getrandbits(64):016x}"'

    def _begin_operation(self, names: Sequence[str], *, updates_set: bool = False) -> Operation:
        operation = Operation(str(_uuid(self._chance)), self._now, updates_set=updates_set)
        self._operations[operation.operation_id] = operation
        self._awaited[operation.operation_id] = {name for name in names if name in self._vms}
        self._end_if_settled(operation.operation_id)
        return self._operations[operation.operation_id]

    def _settle(self, name: str, problem: Problem | None = None) -> None:
        for operation_id, awaited in list(self._awaited.items()):
            if name in awaited:
                awaited.remove(name)
                if problem is not None:
                    self._operations[operation_id] = replace(self._operations[operation_id], problem=problem)
                self._end_if_settled(operation_id)

    def _end_if_settled(self, operation_id: str) -> None:
        if not self._awaited[operation_id]:
            del self._awaited[operation_id]
            operation = self._operations[operation_id]
            status = Status.SUCCEEDED if operation.problem is None else Status.FAILED
            self._failed = self._failed or (operation.updates_set and status is Status.FAILED)
            self._operations[operation_id] = replace(operation, status=status, ended=self._now)

    def _is(self, name: str, state: Provisioning) -> bool:
        return name in self._vms and self._vms[name].provisioning is state

    def _any_running(self, preferred: Sequence[str]) -> str:
        running = [
            vm.name
            for vm in self._vms.values()
            if vm.power is Power.RUNNING and self._events.for_vm(vm.name, "Preempt") is None
        ]
        if not running:
            raise Refused("OperationNotAllowed", f"No VM of the set {self.description.name} is running.")
        return self._chance.choice([name for name in running if name in preferred] or running)


def _uuid(chance: Random) -> uuid.UUID:
    return uuid.UUID(int=chance.getrandbits(128), version=4)
