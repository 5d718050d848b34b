"""Row 3: a producer's process is killed before and after each request of a command, and another repeats it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.fakes.trainer import TinyRun, straight_digest, tiny_trainers
from tests.proof.crash_points import JOBS, SWEEP, Point
from tests.proof.herd import Herd
from tests.proof.producer_process import VMS
from tests.proof.real_processes import Account
from tests.proof.real_slots import Heard, Running, real_slot
from tests.proof.stage import Stage
from worker.contract import names
from worker.contract.control import SlotReport
from worker.contract.errors import BadConfiguration
from worker.contract.job import Job
from worker.contract.settings import Durations
from worker.slot import Trainers

DURATIONS: Final = Durations().model_copy(
    update={
        "visibility_timeout_s": 10.0,
        "lease_renewal_s": 3.0,
        "manifest_write_s": 4.0,
        "idle_receive_min_s": 0.05,
        "idle_receive_max_s": 0.2,
    }
)


@dataclass(frozen=True)
class Command:
    """What is killed, and what must be true of what others make of it."""

    prepare: Callable[[Stage, Account], None]
    wrong: Callable[[Stage, Account, Herd], list[str]]
    """Looked at after the command was repeated."""


def requests_of(stage: Stage, herd: Herd, name: str) -> int:
    """Return how many requests a command makes."""
    account = Account(stage.target(), stage.credential)
    COMMANDS[name].prepare(stage, account)
    made = herd.produce(name, account.target)
    assert made is not None
    return made


def kill_at(stage: Stage, herd: Herd, name: str, point: Point) -> list[str]:
    """Kill a command at one point, and repeat it; return what is wrong then."""
    account = Account(stage.target(), stage.credential)
    command = COMMANDS[name]
    command.prepare(stage, account)
    if herd.produce(name, account.target, point.at, after=point.after) is not None:
        return [f"{name} made no request {point.at}"]
    if herd.produce(name, account.target) is None:
        return ["its repetition died"]
    return command.wrong(stage, account, herd)


def _work(stage: Stage, account: Account, trainers: Trainers, ended: int) -> None:
    workers = [
        Running(real_slot(account.target, stage.credential, vm, Heard(), durations=DURATIONS, trainers=trainers))
        for vm in ("vm-a", "vm-b")
    ]
    try:
        account.until("all jobs have ended", lambda: account.ended(SWEEP) == ended)
        account.until("every message is gone", lambda: account.jobs.count() == 0)
    finally:
        for worker in workers:
            worker.end()


def _nothing(_stage: Stage, _account: Account) -> None:
    return


def _failed(stage: Stage, account: Account) -> None:
    """A sweep with one job done and two failed."""

    def build(job: Job) -> TinyRun:
        if job.seed:
            raise BadConfiguration("it never works")
        return TinyRun(job, lambda: None)

    account.enqueue(JOBS)
    _work(stage, account, Trainers(build=build, fingerprint={"cpu": "tiny"}), len(JOBS))


def _idle_vms(_stage: Stage, account: Account) -> None:
    for vm in VMS:
        account.control.report_slot(SlotReport(vm=vm, slot=0, state="idle", idle_s=3600.0))


def _all_done(stage: Stage, account: Account, _herd: Herd) -> list[str]:
    _work(stage, account, tiny_trainers(), len(JOBS))
    return list(_not_done(account))


def _not_done(account: Account) -> Iterator[str]:
    for job in JOBS:
        manifest = account.manifest(job)
        if manifest is None or manifest.status != "done":
            yield f"{job.id} is {manifest.status if manifest else 'unclaimed'}"
        elif account.digest(job) != straight_digest(job):
            yield f"{job.id} has another digest"
    if account.poison.count():
        yield "a message was poisoned"


def _gone(_stage: Stage, account: Account, _herd: Herd) -> list[str]:
    left = [blob.name for place in names.CONTAINERS for blob in account.blobs.list(place, f"{SWEEP}/")]
    return [f"{name} is left" for name in left]


def _drained(_stage: Stage, account: Account, herd: Herd) -> list[str]:
    """Nothing is deleted before the slots have answered, and everything after."""
    flagged = {vm for vm, _ in account.control.flagged("drain")}
    wrong = [f"{vm} was not flagged" for vm in VMS if vm not in flagged]
    if account.control.commit_age_s() is not None:
        wrong.append("VMs were deleted that had not answered")
    for vm in VMS:
        account.control.report_slot(SlotReport(vm=vm, slot=0, state="idle", answers="drain"))
    herd.produce("drain", account.target)
    return [*wrong, *([] if account.control.commit_age_s() is not None else ["VMs that had answered were left"])]


COMMANDS: Final = {
    "enqueue": Command(_nothing, _all_done),
    "retry": Command(_failed, _all_done),
    "delete": Command(_failed, _gone),
    "drain": Command(_idle_vms, _drained),
}
