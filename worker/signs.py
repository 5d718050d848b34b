"""What a slot says of itself: its report, kept up to date by the loop and published by its presence."""

from collections.abc import Mapping

from worker.contract.control import Flag, SlotReport
from worker.contract.runtime import Runtime


class Signs:
    """The slot's current state; whoever publishes it waits for `changed`."""

    def __init__(self, vm: str, slot: int, release: str, fingerprint: Mapping[str, str], runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = runtime.lock()
        self._idle_since_s = self._committed_s = runtime.monotonic()
        self._commits = 0
        self._booted_s: float | None = self._committed_s
        cpu = fingerprint.get("cpu", "")
        self._report = SlotReport(vm=vm, slot=slot, state="starting", release=release, cpu=cpu)
        self.changed = runtime.event()

    def idle(self, boot_seconds: float | None = None) -> None:
        """The slot waits for work; `boot_seconds` is said with the first wait after the VM's boot."""
        with self._lock:
            if self._report.state != "idle":
                self._idle_since_s = self._runtime.monotonic()
            update: dict[str, object] = {"state": "idle", "sweep": "", "job": None, "answers": None}
            if boot_seconds is not None:
                update["boot_seconds"] = boot_seconds
                self._booted_s = self._runtime.monotonic() - boot_seconds
            self._become(update)

    def started_again(self) -> None:
        """This process began long after the VM's boot: how long it took to its first step says nothing of that."""
        with self._lock:
            self._booted_s = None

    def busy(self, sweep: str, job: str) -> None:
        """The slot trains."""
        with self._lock:
            self._become({"state": "busy", "sweep": sweep, "job": job, "answers": None})

    def trains(self) -> None:
        """The slot has made a training step: the first one tells how long it takes from the VM's boot to work."""
        with self._lock:
            if self._booted_s is not None and not self._report.first_step_seconds:
                self._become({"first_step_seconds": self._runtime.monotonic() - self._booted_s})

    def answers(self, flag: Flag) -> None:
        """The slot has read a flag, and receives nothing while that stands."""
        with self._lock:
            self._become({"state": "idle", "sweep": "", "job": None, "answers": flag})

    def stopped(self) -> None:
        """The slot's process ends in order."""
        with self._lock:
            self._become({"state": "stopped", "sweep": "", "job": None})

    def committed(self) -> None:
        """The slot made something durable."""
        with self._lock:
            self._committed_s = self._runtime.monotonic()
            self._commits += 1

    def report(self) -> SlotReport:
        """Return the report as of now."""
        with self._lock:
            now_s = self._runtime.monotonic()
            idle_s = now_s - self._idle_since_s if self._report.state == "idle" else 0.0
            return self._report.model_copy(
                update={"idle_s": idle_s, "since_commit_s": now_s - self._committed_s, "commits": self._commits}
            )

    def _become(self, update: Mapping[str, object]) -> None:
        after = self._report.model_copy(update=dict(update))
        if after != self._report:
            self._report = after
            self.changed.set()
