"""Row 5: a worker's process is killed before and after each of its requests to Azurite, and two others take over."""

from typing import Final

from tests.fakes.trainer import straight_digest, tiny_job
from tests.proof.crash_points import Point
from tests.proof.herd import Herd
from tests.proof.real_processes import Account
from tests.proof.real_slots import Heard, Running, real_slot
from tests.proof.stage import Stage
from tests.proof.torn import torn
from tests.proof.worker_process import VISIBILITY_S
from worker.contract.manifest import Manifest
from worker.contract.settings import Durations

JOB: Final = tiny_job("killed", 0, timesteps=12)
DURATIONS: Final = Durations().model_copy(
    update={
        "visibility_timeout_s": VISIBILITY_S,
        "lease_renewal_s": 1.0,
        "manifest_write_s": 1.0,
        "commit_s": 0.05,
        "idle_receive_min_s": 0.05,
        "idle_receive_max_s": 0.2,
        "retry_base_s": 0.1,
    }
)


def requests_of(stage: Stage, herd: Herd, scenario: str) -> int:
    """Return how many requests a worker makes."""
    account = _with_the_job(stage)
    made = herd.serve(scenario, account.target)
    assert made is not None
    return made


def kill_at(stage: Stage, herd: Herd, scenario: str, point: Point) -> list[str] | None:
    """Kill a worker at one point, and let two others end its job; return what is wrong before and after that.

    None: it made fewer requests this time.
    """
    account = _with_the_job(stage)
    if herd.serve(scenario, account.target, point.at, after=point.after) is not None:
        return None
    before = account.manifest(JOB)
    mixed = torn(account.blobs, before)
    heard = Heard()
    workers = [
        Running(real_slot(account.target, stage.credential, vm, heard, durations=DURATIONS)) for vm in ("vm-b", "vm-c")
    ]
    try:
        account.until("the job has ended", lambda: account.ended(JOB.sweep) == 1)
        account.until("every message is gone", lambda: account.jobs.count() == 0)
    finally:
        for worker in workers:
            worker.end()
    return [*mixed, *_wrong(account, before, heard)]


def _with_the_job(stage: Stage) -> Account:
    account = Account(stage.target(), stage.credential)
    account.enqueue([JOB])
    return account


def _wrong(account: Account, before: Manifest | None, heard: Heard) -> list[str]:
    manifest = account.manifest(JOB)
    if manifest is None or manifest.status != "done":
        return [f"the job is {manifest.status if manifest else 'unclaimed'}"]
    wrong = torn(account.blobs, manifest)
    if account.digest(JOB) != straight_digest(JOB):
        wrong.append("another digest")
    ended_before = before is not None and before.terminal
    if ended_before and manifest != before:
        wrong.append("it had ended, and its end was written again")
    ends = ended_before + sum(line["event"] == "job.ended" and line["status"] == "done" for line in heard.lines)
    if ends != 1:
        wrong.append(f"it ended {ends} times")
    never = ("checkpoint.lost", "checkpoint.corrupt", "job.raised", "message.rejected")
    wrong += [f"{heard.events[event]} × {event}" for event in never if heard.events[event]]
    if account.poison.count():
        wrong.append("a message was poisoned")
    return wrong
