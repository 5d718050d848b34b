"""Starting what runs on a VM beside its slots. None of it imports torch."""

import os
import signal
import threading
from functools import partial

from worker.contract import azure, log, names
from worker.contract.arm import delete_instances
from worker.contract.control import Control
from worker.contract.log import Logger
from worker.contract.queue import AzureQueue
from worker.contract.records import AzureBlobs
from worker.contract.runtime import Event, RealRuntime
from worker.contract.settings import Target, WorkerSettings
from worker.vm.events import EventPoller
from worker.vm.files import notice_file
from worker.vm.metadata import imds, own_name
from worker.vm.processes import stop_slot
from worker.vm.retire import RetireService
from worker.vm.witness import record_death

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_events() -> None:
    """Poll scheduled events until told to stop."""
    settings, logger = _begin()
    runtime = RealRuntime()
    stop = _stopped_by_signal(runtime)
    service = imds()
    vm = settings.vm or own_name(service, runtime, stop)
    EventPoller(service, vm, notice_file(settings.runtime_directory), runtime, logger).run(stop)


def run_retire(*, once: bool) -> None:
    """Look after this VM's end until told to stop."""
    settings, logger = _begin()
    runtime = RealRuntime()
    stop = _stopped_by_signal(runtime)
    target = Target.read(settings.target)
    identity = azure.credential(target)
    vm = settings.vm or own_name(imds(), runtime, stop)
    queues = azure.queue_service(target, identity)
    service = RetireService(
        vm=vm,
        control=Control(AzureBlobs(azure.blob_service(target, identity))),
        jobs=AzureQueue(queues.get_queue_client(names.JOBS_QUEUE)),
        durations=settings.protocol(target),
        runtime=runtime,
        runtime_directory=settings.runtime_directory,
        delete_self=lambda: delete_instances(azure.compute_client(target, identity), target, [vm]),
        stop_slot=partial(stop_slot, settings.runtime_directory, runtime=runtime),
        log=logger.bind(vm=vm),
    )
    if once:
        service.by_timer()
    else:
        service.run(stop)


def run_witness(slot: int) -> None:
    """Record a slot's death, if it counts."""
    settings, logger = _begin()
    target = Target.read(settings.target)
    blobs = AzureBlobs(azure.blob_service(target, azure.credential(target)))
    record_death(blobs, settings.runtime_directory, slot, os.environ, logger)


def _begin() -> tuple[WorkerSettings, Logger]:
    settings = WorkerSettings()
    return settings, log.configure(settings.log_level, settings.log_format)


def _stopped_by_signal(runtime: RealRuntime) -> Event:
    """Return a flag that SIGTERM or SIGINT raises; call it before any thread is started."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    stop = runtime.event()

    def wait() -> None:
        # A thread of its own: an Event that is set inside a signal handler can deadlock with a wait on it.
        signal.sigwait(STOP_SIGNALS)
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return stop
