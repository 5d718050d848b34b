"""A job whose restore and whose final evaluation each take longer than its slot's watchdog waits for a hung one."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from producer.emulator.certificates import ensure_certificates
from producer.emulator.fleet import Endpoints
from tests.machines.machine import CONFIGURATION, PACE, Machines, machines, slot_unit, without_wake
from tests.proof.proxy import Fault, FaultProxy, Request
from worker.checkpoint import SEGMENT_ROWS
from worker.contract.job import Evaluation, Job
from worker.contract.manifest import Manifest
from worker.contract.runtime import RealRuntime

UNIT: Final = slot_unit("vm/0")
LATENCY_S: Final = 6.0
"""Of each part of a checkpoint that is read: less than the watchdog's time."""
SEGMENTS: Final = 6
RUNS_S, STANDS_S = 0.02, 0.18
"""How a slot gets a tenth of its core: it stands and runs, stands and runs."""
SLOWED_S: Final = 2 * PACE.watchdog_s


@dataclass(frozen=True)
class Slow:
    """What became of the job."""

    restored_s: float
    """From the claim that found a checkpoint to its own first commit."""
    evaluating: Manifest
    """When its final evaluation had gone on for `SLOWED_S`, at a tenth of its speed."""
    manifest: Manifest
    """At the end."""
    results: list[str]
    """Of the unit's lives, as systemd calls them."""


def story(azurite_home: Path, folder: Path) -> Slow:
    """Kill a slot, let the next claim's downloads be late, and then let its final evaluation be slow."""
    certificates = ensure_certificates(folder / "certificates", datetime.now(UTC))
    proxies: list[FaultProxy] = []
    with ExitStack() as undo:

        def before(behind: Endpoints) -> Endpoints:
            target = behind.target(without_wake(1).vm_target, "")
            proxies.append(undo.enter_context(FaultProxy(certificates, target)))
            seen = proxies[0].behind(target)
            return replace(behind, blob_url=seen.blob_endpoint, queue_url=seen.queue_endpoint)

        with machines(azurite_home, folder, front=before) as fleet:
            return _told(fleet, proxies[0])


def _told(fleet: Machines, proxy: FaultProxy) -> Slow:
    rows = SEGMENTS * SEGMENT_ROWS
    hyperparameters = CONFIGURATION.hyperparameters.model_copy(update={"learning_starts": rows + 500})
    slow = Job.of(
        "slow",
        CONFIGURATION.model_copy(
            update={
                "timesteps": rows + 1_000,
                "hyperparameters": hyperparameters,
                "evaluation": Evaluation(every=rows, episodes=1, final_episodes=600),
            }
        ),
        0,
    )
    vm = fleet.boot_busy()
    fleet.account.enqueue([slow])
    fleet.until("many rows are committed", lambda: _step(fleet, slow) >= rows)

    proxy.decide = late_downloads
    os.kill(vm.main_pid(UNIT), signal.SIGKILL)
    runtime = RealRuntime()
    fleet.attempts(slow, 2)
    began_s, found = runtime.monotonic(), fleet.manifest(slow).generations[0]
    fleet.until("the second claim commits", lambda: fleet.manifest(slow).generations[0] != found)
    restored_s = runtime.monotonic() - began_s

    fleet.until("it has trained to the end", lambda: _step(fleet, slow) >= slow.configuration.timesteps)
    with slowed(vm.main_pid(UNIT)):
        fleet.account.pause(SLOWED_S)
        evaluating = fleet.manifest(slow)
    fleet.done(slow)
    return Slow(restored_s, evaluating, fleet.manifest(slow), vm.results(UNIT))


def _step(fleet: Machines, job: Job) -> int:
    manifest = fleet.account.manifest(job)
    return manifest.generations[0].step if manifest and manifest.generations else 0


def late_downloads(request: Request) -> Fault:
    """Let the parts of a checkpoint come late, one after the other, and everything else in time."""
    return Fault(latency_s=LATENCY_S if request.operation == "get checkpoints" else 0.0)


@contextmanager
def slowed(pid: int) -> Iterator[None]:
    """Give a process a tenth of its time."""
    over = threading.Event()

    def slow() -> None:
        while not over.wait(RUNS_S):
            os.kill(pid, signal.SIGSTOP)
            over.wait(STANDS_S)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=slow, name="slowed")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
