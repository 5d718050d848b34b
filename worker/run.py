"""Starting a slot: settings and clients in, exit status out."""

import signal
import threading
from pathlib import Path

from azure.core.credentials import TokenCredential

from worker.contract import azure, log, names
from worker.contract.errors import StorageError
from worker.contract.queue import AzureQueue
from worker.contract.records import AzureBlobs
from worker.contract.runtime import RealRuntime, Runtime
from worker.contract.settings import Target, WorkerSettings
from worker.job_log import LogBook
from worker.liveness import Liveness
from worker.loop import Loop
from worker.notify import Supervisor
from worker.presence import Presence
from worker.sac_trainers import sac_trainers
from worker.signs import Signs
from worker.slot import Slot
from worker.stop import StopRequest
from worker.vm.metadata import imds, own_name
from worker.vm.processes import hold_slot

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_slot(settings: WorkerSettings, number: int) -> int:
    """Run slot `number` of this VM until it is told to stop; return the process's exit status."""
    # Before any thread is started, so that all of them inherit it: the signals wait for the thread that takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    runtime = RealRuntime()
    stop = StopRequest(runtime)
    threading.Thread(target=_await_signal, args=(stop,), name="signals", daemon=True).start()
    hold_slot(settings.runtime_directory, number)
    target = Target.read(settings.target)
    slot = assemble(settings, target, azure.credential(target), number, runtime, stop)
    return run_assembled(slot, Supervisor(slot.log), booted_s=settings.booted_s, noted_at_boot=settings.first_pulse)


def run_assembled(slot: Slot, supervisor: Supervisor, *, booted_s: float, noted_at_boot: Path | None = None) -> int:
    """Run a slot until its stop is asked for; return the process's exit status."""
    slot.log.info("slot.started", slot=slot.name, release=slot.release)
    presence = Presence(slot, supervisor)
    slot.say_what_it_works_on(None)
    since_boot_s = max(0.0, slot.runtime.monotonic() - booted_s)
    if since_boot_s > slot.durations.boot_grace_s:
        slot.signs.started_again()
        slot.signs.idle()
    else:
        slot.signs.idle(boot_seconds=since_boot_s)
    _let_the_pulse_be_seen(slot, noted_at_boot)
    try:
        return Loop(slot, answered=supervisor.ready).run()
    finally:
        supervisor.stopping()
        presence.join()


def assemble(
    settings: WorkerSettings,
    target: Target,
    identity: TokenCredential,
    number: int,
    runtime: Runtime,
    stop: StopRequest,
) -> Slot:
    """Return the slot with clients of `target`. Imports torch, which takes seconds."""
    book = LogBook()
    logger = log.configure(settings.log_level, settings.log_format, sink=book.record)
    liveness = Liveness(runtime)
    queues = azure.queue_service(target, identity, liveness.request_returned)
    trainers = sac_trainers()
    vm = settings.vm or own_name(imds(), runtime, stop.event)
    return Slot(
        vm=vm,
        number=number,
        release=target.release,
        blobs=AzureBlobs(azure.blob_service(target, identity, liveness.request_returned)),
        presence_blobs=AzureBlobs(azure.blob_service(target, identity)),
        jobs=AzureQueue(queues.get_queue_client(names.JOBS_QUEUE)),
        poison=AzureQueue(queues.get_queue_client(names.POISON_QUEUE)),
        trainers=trainers,
        runtime=runtime,
        durations=settings.protocol(target),
        runtime_directory=settings.runtime_directory,
        liveness=liveness,
        stop=stop,
        log=logger.bind(worker=f"{vm}/{number}"),
        book=book,
        signs=Signs(vm, number, target.release, trainers.fingerprint, runtime),
    )


def _await_signal(stop: StopRequest) -> None:
    # sigwait in a thread of its own: an Event set inside a signal handler can deadlock with a wait on it.
    signal.sigwait(STOP_SIGNALS)
    stop.ask("stopped")


def _let_the_pulse_be_seen(slot: Slot, noted_at_boot: Path | None) -> None:
    """Pulse, and let the first receive of a VM come a while after its first pulse (rule 12).

    A wake that is about to clear the set reads the pulse once more before it does. The boot of a VM pulses before there
    is a slot; its note of when is root's, and only read here.
    """
    own: Path = slot.runtime_directory / "first-pulse"
    noted = noted_at_boot if noted_at_boot is not None and noted_at_boot.exists() else own
    if not noted.exists():
        try:
            slot.control.pulse(slot.name)
        except StorageError as error:
            slot.log.warning("pulse.failed", error=str(error), next="the first receive waits all the same")
        try:
            own.write_text(str(slot.runtime.monotonic()))
        except OSError as error:
            slot.log.warning("disk.failed", error=str(error), next="this slot waits, and so does the next one to start")
    try:
        passed_s = slot.runtime.monotonic() - float(noted.read_text())
    except (OSError, ValueError):  # the disk did not take it, or an empty one
        passed_s = 0.0
    slot.runtime.wait(slot.stop.event, max(0.0, slot.durations.first_receive_after_pulse_s - passed_s))
