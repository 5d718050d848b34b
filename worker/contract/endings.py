"""How an attempt ends in the manifest, whoever writes it: the worker, the next claim, or a person who cancels."""

from typing import Final

from worker.contract.job import Job
from worker.contract.manifest import EVICTED, Ended, Manifest, Outcome, Status

PROCESS_DIED: Final = "the process died"
VM_SILENT: Final = "the VM fell silent"


def closed(manifest: Manifest, ended: Ended, reason: str = "") -> Manifest:
    """Return the manifest with its running attempt ended; what was trained after the last commit is counted as lost."""
    attempt = manifest.attempts[-1]
    lost = max(0, manifest.reached - manifest.step)
    evictions = int(ended in EVICTED and reason != PROCESS_DIED)
    attempt = attempt.model_copy(
        update={"ended": ended, "reason": reason, "to_step": manifest.step, "reached_step": manifest.reached}
    )
    return manifest.model_copy(
        update={
            "attempts": (*manifest.attempts[:-1], attempt),
            "eviction_count": manifest.eviction_count + evictions,
            "lost_steps": manifest.lost_steps + lost,
            "reached": manifest.step,
        }
    )


def ended_unclaimed(
    job: Job,
    before: Manifest | None,
    status: Status,
    reason: str,
    *,
    nonce: str,
    message_id: str = "",
    worker: str = "",
) -> Manifest:
    """Return the manifest of a job that ends, or is let go, by somebody who has not claimed it.

    Poisoned by a backstop, or because of a hold: cancelled, or released. `worker` is the slot that writes it, if any.

    Like a claim it counts the epoch up and bears a new nonce, so that it fences a holder that fell silent.
    """
    if before is None:
        before = Manifest(job=job, status="planned", epoch=0, nonce=nonce)
    if before.status == "running":
        before = closed(before, "vanished", PROCESS_DIED if worker == before.worker else VM_SILENT)
    return before.model_copy(
        update={
            "status": status,
            "epoch": before.epoch + 1,
            "nonce": nonce,
            "message_id": message_id,
            "outcome": Outcome(reason="" if status == "released" else reason),  # a hold may be lifted any time
        }
    )
