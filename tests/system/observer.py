"""What tests of a whole fleet look at, and wait for."""

from collections.abc import Callable
from typing import TypeVar

from producer.emulator.fleet import LocalFleet
from producer.fleet.scale_set import AzureScaleSet
from producer.session import Session
from worker.contract import names
from worker.contract.errors import FleetError
from worker.contract.manifest import Manifest
from worker.contract.plan import Plan

PATIENCE_S = 600.0
T = TypeVar("T")


class Observer:
    """Looks at a running fleet until something is so."""

    def __init__(self, fleet: LocalFleet, session: Session, plan: Plan) -> None:
        self._fleet, self._session, self._plan = fleet, session, plan
        self._scale_set = AzureScaleSet(session.compute, session.target)

    def until(self, wanted: Callable[[], T]) -> T:
        """Wait for it, and return it; fail when it never comes."""
        never = self._session.runtime.event()
        ends_s = self._session.runtime.monotonic() + PATIENCE_S
        while not (found := wanted()):
            assert self._session.runtime.monotonic() < ends_s, "it never came so far"
            self._session.runtime.wait(never, 0.5)
        return found

    def manifests(self) -> dict[str, Manifest]:
        """Return what there is of the sweep's manifests."""
        listed = self._session.blobs.list(names.SWEEPS, names.manifests(self._plan.sweep))
        found = [self._session.blobs.get(names.SWEEPS, blob.name) for blob in listed]
        manifests = [Manifest.model_validate_json(blob.body) for blob in found if blob]
        return {manifest.job.id: manifest for manifest in manifests}

    def busy_with_a_commit(self) -> str | None:
        """Return a VM that trains a job of which something is committed."""
        for manifest in self.manifests().values():
            vm = manifest.worker.partition("/")[0]
            if manifest.status == "running" and manifest.generations and vm in self._fleet.instances:
                return vm
        return None

    def evict(self, *, notice: bool) -> str:
        """Evict such a VM, as soon as there is one; return its name."""
        vm = self.until(self.busy_with_a_commit)
        assert vm is not None
        self._fleet.evict(vm, notice=notice)
        self.until(lambda: vm not in self._fleet.instances)
        return vm

    def asleep(self) -> bool:
        """Return whether all jobs have ended and the set is at zero."""
        ended = [manifest.terminal for manifest in self.manifests().values()]
        try:
            state = self._scale_set.read()
        except FleetError:  # a machine that is busy answers late; whoever waits looks again
            return False
        return len(ended) == len(self._plan.jobs) and all(ended) and not state.capacity and not state.instances
