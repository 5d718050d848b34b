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
from worker.contract.manifest import Attempt, Manifest
from worker.contract.records import BlobStore, Unchanged
from worker.vm.files import read_slot_file

FAILURES_TO_POISON: Final = 3
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
        after = after_witnessed_death(manifest, reason)
        try:
            blobs.put(names.SWEEPS, name, after.canonical(), Unchanged(found.etag), after.metadata())
        except ConditionFailed:
            continue  # a last write of the dead claim came through, or our own did and its answer was lost
        log.warning("job.killed", reason=reason, status=after.status, failures=after.counts.failures_in_a_row)
        return after
    log.error("witness.gave_up", reason=reason)
    return None


def after_witnessed_death(manifest: Manifest, reason: str) -> Manifest:
    """Return the manifest of a running job whose process was seen to die: released, or poisoned the third time.

    Failures are counted in a row: a commit of this attempt begins a new row.
    """
    attempt = manifest.attempts[-1] if manifest.attempts else None
    progressed = attempt is not None and attempt.to_step > attempt.from_step
    failures = 1 if progressed else manifest.counts.failures_in_a_row + 1
    poisoned = failures >= FAILURES_TO_POISON
    update: dict[str, object] = {
        "status": "poisoned" if poisoned else "released",
        "attempts": (*manifest.attempts[:-1], _ended(attempt, reason)) if attempt else (),
        "counts": manifest.counts.model_copy(update={"failures_in_a_row": failures}),
    }
    if poisoned:
        text = f"{failures} failures in a row without progress; the last: {reason}"
        update["outcome"] = manifest.outcome.model_copy(update={"reason": text})
    return manifest.model_copy(update=update)


def _ended(attempt: Attempt, reason: str) -> Attempt:
    return attempt.model_copy(update={"ended": "killed", "reason": reason})
