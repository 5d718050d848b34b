"""Where everything lies: the names of containers, queues and blobs."""

from typing import Final

JOBS_QUEUE: Final = "jobs"
POISON_QUEUE: Final = "jobs-poison"

SWEEPS: Final = "sweeps"
CHECKPOINTS: Final = "checkpoints"
CONTROL: Final = "control"
RELEASES: Final = "releases"
CONTAINERS: Final = (SWEEPS, CHECKPOINTS, CONTROL, RELEASES)

# In the container `control`.
PULSE: Final = "pulse"
"""Something is alive: written by a booting VM, by living slots every minute, and before every raise of the capacity."""
COMMIT: Final = "commit"
"""Something makes progress: written after commits."""
FLEET_HOLD: Final = "hold"
"""Why the producer raises no capacity; absent where it may."""
REFUSAL: Final = "refusal"
"""What Azure last said when it granted no more VMs; absent once one came."""
DRAIN: Final = "drain/"
RETIRE: Final = "retire/"
SLOTS: Final = "slots/"
FAILED_BOOTS: Final = "failed-boots/"
"""Logs of VMs that gave up becoming workers; bicep/cloud-init writes them."""
POISONED: Final = "poison/"
"""Full texts of messages too large for the poison queue."""


def plan(sweep: str) -> str:
    """Return the name of a sweep's plan, in `sweeps`."""
    return f"{sweep}/plan.json"


def sent(sweep: str, part: str) -> str:
    """Return the name of one record of sent messages, in `sweeps`."""
    return f"{sweep}/sent/{part}"


def hold(sweep: str) -> str:
    """Return the name of the blob that says why a sweep may not run, in `sweeps`."""
    return f"{sweep}/hold"


def budget(sweep: str) -> str:
    """Return the name of the blob that says how much a sweep may cost, in `sweeps`."""
    return f"{sweep}/budget"


def complete(sweep: str) -> str:
    """Return the name of the mark that every job of a sweep is terminal, in `sweeps`."""
    return f"{sweep}/complete"


def reopened(sweep: str, command: str) -> str:
    """Return the name of the blob by which a command says that it is about to let jobs begin, in `sweeps`.

    It is listed with the mark: beside it no mark is believed.
    """
    return f"{complete(sweep)}-reopened/{command}"


def report(sweep: str) -> str:
    """Return the name of a sweep's report, in `sweeps`: for people, made anew at will, and read by nothing."""
    return f"{sweep}/report.html"


def manifests(sweep: str) -> str:
    """Return the prefix of a sweep's manifests, in `sweeps`."""
    return f"{sweep}/manifests/"


def manifest(sweep: str, job: str) -> str:
    """Return the name of a job's manifest, in `sweeps`."""
    return manifests(sweep) + job


def result(sweep: str, job: str, nonce: str, what: str) -> str:
    """Return a claim-unique name for a part of a job's result (`result.json`, `curve.csv`, …), in `sweeps`."""
    return f"{sweep}/results/{job}/{nonce}-{what}"


def log(sweep: str, job: str, epoch: int, nonce: str) -> str:
    """Return the name of one claim's log, in `sweeps`; names sort in the order of the claims."""
    return f"{sweep}/logs/{job}/{epoch:06d}-{nonce}"


def logs(sweep: str, job: str) -> str:
    """Return the prefix of a job's logs, in `sweeps`."""
    return f"{sweep}/logs/{job}/"


def checkpoint(sweep: str, job: str) -> str:
    """Return the prefix of a job's checkpoint, in `checkpoints`."""
    return f"{sweep}/{job}/"


def state(sweep: str, job: str, nonce: str, step: int, serial: int) -> str:
    """Return a claim-unique name for a state blob, in `checkpoints`."""
    return f"{checkpoint(sweep, job)}state-{step:09d}-{nonce}-{serial}"


def segment(sweep: str, job: str, nonce: str, first_row: int, stop_row: int) -> str:
    """Return a claim-unique name for the segment of rows `first_row` ≤ row < `stop_row`, in `checkpoints`."""
    return f"{checkpoint(sweep, job)}rows-{first_row:010d}-{stop_row:010d}-{nonce}"


def drain(vm: str) -> str:
    """Return the name of the flag that makes a VM stop taking work for good, in `control`."""
    return DRAIN + vm


def retire(vm: str) -> str:
    """Return the name of the flag by which an idle VM wants to delete itself, in `control`."""
    return RETIRE + vm


def slot(vm: str, number: int) -> str:
    """Return the name of a slot's report, in `control`."""
    return f"{SLOTS}{vm}/{number}"
