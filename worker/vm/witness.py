"""What a slot's supervisor saw of its death, written into the manifest (rule 6 of docs/protocol.md).

Runs when the slot's process is gone: systemd calls it as ExecStopPost, the emulator's supervisor likewise. Only what
was witnessed counts against a job: an eviction, a vanished VM, a SIGKILL that nobody explains never do.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from worker.contract import names
from worker.contract.errors import ConditionFailed
from worker.contract.log import Logger
from worker.contract.manifest import Manifest
from worker.contract.records import BlobStore, Unchanged
from worker.decisions import failed
from worker.vm.files import read_slot_file

CLEAN_SIGNALS: Final = frozenset({"HUP", "INT", "PIPE", "TERM"})
"""What systemd too takes for a wish to stop."""
_TRIES: Final = 5


def witnessed(environment: Mapping[str, str]) -> str:
    """Return why the process died, if that counts against its job; empty otherwise.

    `environment` is what systemd tells ExecStopPost: SERVICE_RESULT, EXIT_CODE (exited, killed, dumped) and
    EXIT_STATUS (a number or a signal's name).
    """
    result = environment.get("SERVICE_RESULT", "")
    if result == "oom-kill":
        return "out of memory: the kernel killed the slot"
    if result == "watchdog":
        return "no progress: the watchdog killed the slot"
    signal = environment.get("EXIT_STATUS", "").removeprefix("SIG")
    fatal = environment.get("EXIT_CODE", "") in {"killed", "dumped"} and signal not in CLEAN_SIGNALS | {"KILL"}
    # "timeout": it was told to stop, took too long, and whatever ended it then was our supervisor.
    return f"killed by SIG{signal}" if fatal and result != "timeout" else ""


def record_death(
    blobs: BlobStore, runtime_directory: Path, slot: int, environment: Mapping[str, str], log: Logger
) -> Manifest | None:
    """Write a witnessed death into the manifest of the job that the slot worked on, and return it; None if none counts.

    Writes only while the manifest still bears the dead claim's nonce. Raises StorageError: the supervisor may try
    again, and a death that is never recorded makes the job wait until its heartbeat is old, no more.
    """
    reason = witnessed(environment)
    worked_on = read_slot_file(runtime_directory, slot)
    if not reason or worked_on is None or not worked_on.job:
        return None
    name = names.manifest(worked_on.sweep, worked_on.job)
    log = log.bind(sweep=worked_on.sweep, job=worked_on.job, slot=slot)
    for _ in range(_TRIES):
        found = blobs.get(names.SWEEPS, name)
        manifest = Manifest.model_validate_json(found.body) if found else None
        if found is None or manifest is None or manifest.nonce != worked_on.nonce or manifest.status != "running":
            log.info("witness.late", reason=reason)  # the job went on without the dead claim, or ended before
            return None
        after = failed(manifest, "killed", reason)
        try:
            blobs.put(names.SWEEPS, name, after.canonical(), Unchanged(found.etag), after.metadata())
        except ConditionFailed:
            continue  # a last write of the dead claim came through, or our own did and its answer was lost
        log.warning("job.killed", reason=reason, status=after.status, failures=after.counts.failures_in_a_row)
        return after
    log.error("witness.gave_up", reason=reason)
    return None
