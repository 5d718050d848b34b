"""A scale set in memory, on an injected clock. It passes the same contract tests as Azure's client on the emulator."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from producer.fleet.look import Instance, ScaleSetState
from worker.contract.errors import FleetError, SetChanged


@dataclass
class MemoryScaleSet:
    """A ScaleSet whose instances appear, boot and go when their time has come."""

    clock: Callable[[], float]
    appear_s: float = 0.0
    """From a raise to an instance that is listed."""
    boot_s: float = 60.0
    """From there to a running one."""
    delete_s: float = 40.0
    lowers_late: bool = False
    """Whether the capacity goes down only when a deleted instance is gone, not when it begins to go."""
    booted: Callable[[str], None] = lambda _: None
    killed: Callable[[str], None] = lambda _: None
    faults: list[FleetError] = field(default_factory=list)
    """Raised by the next writes, one each."""
    read_faults: list[FleetError] = field(default_factory=list)
    droughts: int = 0
    """So many instances to come are Failed from the start."""
    writes: list[tuple[str, object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._capacity = 0
        self._etags = itertools.count(1)
        self._etag = next(self._etags)
        self._hidden: set[str] = set()
        self._names = itertools.count(1)
        self._sequence = itertools.count()
        self._instances: dict[str, Instance] = {}
        self._due: list[tuple[float, int, Callable[[], None]]] = []

    # What the producer uses

    def read(self) -> ScaleSetState:
        if self.read_faults:
            raise self.read_faults.pop(0)
        self.settle()
        listed = tuple(one for name, one in self._instances.items() if name not in self._hidden)
        return ScaleSetState(self._capacity, str(self._etag), listed)

    def raise_to(self, capacity: int, etag: str) -> None:
        if capacity < 1:
            raise ValueError(f"a raise to {capacity}")
        self._patch("raise", capacity, etag)

    def clear(self, etag: str) -> None:
        self._patch("clear", 0, etag)

    def delete(self, names: Sequence[str]) -> None:
        if not names or not all(names):
            raise ValueError("deleting no instance in particular could mean all of them")
        self.settle()
        if self.faults:
            raise self.faults.pop(0)
        if any(name not in self._instances for name in names):
            raise SetChanged("no such instance")
        self.writes.append(("delete", tuple(names)))
        for name in names:
            self._begin_delete(name)

    # What the world does

    def evict(self, name: str) -> None:
        """Azure takes an instance back, and with it its part of the capacity."""
        self.settle()
        self._begin_delete(name)

    def break_down(self, name: str, *, provisioning: str = "Succeeded", power: str = "stopped") -> None:
        """An instance stops running, and stays."""
        self.killed(name)
        self._instances[name] = replace(self._instances[name], provisioning=provisioning, power=power)

    def hide(self, name: str) -> None:
        """An instance on its way out is listed no more."""
        self._hidden.add(name)

    def settle(self) -> None:
        """Carry out what is due."""
        while self._due and self._due[0][0] <= self.clock():
            self._due.pop(0)[2]()

    def instance(self, name: str) -> Instance | None:
        return self._instances.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All that are listed."""
        self.settle()
        return tuple(self._instances)

    @property
    def capacity(self) -> int:
        self.settle()
        return self._capacity

    @property
    def etag(self) -> str:
        return str(self._etag)

    def _patch(self, what: str, capacity: int, etag: str) -> None:
        self.settle()
        if self.faults:
            raise self.faults.pop(0)
        if etag != str(self._etag):
            raise SetChanged("412")
        self.writes.append((what, capacity))
        living = [name for name, instance in self._instances.items() if not instance.deleting]
        for name in list(reversed(living))[: max(0, len(living) - capacity)]:
            self._begin_delete(name)
        for _ in range(capacity - max(len(living), self._capacity)):
            self._after(self.appear_s, self._create)
        self._capacity = capacity
        self._etag = next(self._etags)

    def _create(self) -> None:
        if len([one for one in self._instances.values() if not one.deleting]) >= self._capacity:
            return
        name = f"workers_{next(self._names):08d}"
        if self.droughts:
            self.droughts -= 1
            self._instances[name] = Instance(name, "Failed", "", "AllocationFailed: no capacity")
            return
        self._instances[name] = Instance(name, "Creating", "")
        self._after(self.boot_s, lambda: self._boot(name))

    def _boot(self, name: str) -> None:
        instance = self._instances.get(name)
        if instance and not instance.deleting:
            self._instances[name] = Instance(name)
            self.booted(name)

    def _begin_delete(self, name: str) -> None:
        if self._instances[name].deleting:
            return
        self.killed(name)
        self._instances[name] = Instance(name, "Deleting", "stopping")
        if not self.lowers_late:
            self._lower()
        self._after(self.delete_s, lambda: self._gone(name))

    def _gone(self, name: str) -> None:
        if self.lowers_late:
            self._lower()
        del self._instances[name]

    def _lower(self) -> None:
        self._capacity = max(0, self._capacity - 1)
        self._etag = next(self._etags)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._due.append((self.clock() + seconds, next(self._sequence), action))
        self._due.sort(key=lambda entry: entry[:2])
