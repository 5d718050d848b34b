"""Row 3: Azurite is restarted while workers use it, its disk is full for a while, and a worker's for good."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from producer.emulator.azurite import Azurite
from tests.fakes.account import installed_azurite, open_account
from tests.fakes.trainer import straight_digest, tiny_job, tiny_trainers
from tests.proof.real_processes import Account
from tests.proof.real_slots import Heard, Running, real_slot
from tests.proof.stage import Stage
from tests.proof.steady import Ground, work
from worker.contract.job import Job
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations
from worker.slot import Trainers

SWEEP: Final = "troubled"
STEP_S: Final = 0.03
STEPS: Final = 120
# The SDK waits up to 3.5 s before it asks again.
DURATIONS: Final = Durations().model_copy(
    update={
        "visibility_timeout_s": 20.0,
        "lease_renewal_s": 2.0,
        "manifest_write_s": 3.0,
        "commit_s": 0.2,
        "idle_receive_min_s": 0.05,
        "idle_receive_max_s": 0.2,
        "retry_base_s": 1.0,
        "retry_max_s": 10.0,
    }
)


Trouble = Callable[[Azurite, Account, Heard], None]
"""Brings an Azurite into trouble while workers use it, and out of it again."""


def restart_under_load(stage: Stage, restarts: int, away_s: float) -> list[str]:
    """Stop and start an Azurite while two workers train jobs in it; return what is wrong in the end."""

    def restart(azurite: Azurite, account: Account, heard: Heard) -> None:
        azurite.stop()
        account.pause(away_s)
        azurite.start()

    return _train_through(restart, restarts, stage, stage.folder / "restarted")


def fill_the_disk_of_azurite(stage: Stage, times: int, full_s: float) -> list[str]:
    """Let an Azurite run out of space while two workers train jobs in it; return what is wrong when it has had some.

    Raises PermissionError where this user may mount nothing.
    """
    with small_disk("32m") as disk:

        def fill_up(azurite: Azurite, account: Account, heard: Heard) -> None:
            before = _failures(heard)
            ballast = fill(disk)
            account.until("a worker has met the full disk", lambda: _failures(heard) > before)
            account.pause(full_s)
            ballast.unlink()

        return _train_through(fill_up, times, stage, disk / "azurite")


def _failures(heard: Heard) -> int:
    return heard.events["checkpoint.failed"] + heard.events["heartbeat.failed"] + heard.events["storage.failed"]


def _train_through(trouble: Trouble, times: int, stage: Stage, folder: Path) -> list[str]:
    """Enqueue jobs, and let there be trouble when one is under way, so many times; return what is wrong in the end."""
    heard = Heard()
    with Azurite(installed_azurite(), folder, stage.certificates, "troubled") as azurite:
        target = open_account(azurite, "troubled", stage.certificates.ca_file, stage.credential)
        account = Account(target, stage.credential)
        jobs: list[Job] = []
        workers = [
            Running(real_slot(target, stage.credential, vm, heard, durations=DURATIONS, trainers=_steady()))
            for vm in ("vm-a", "vm-b")
        ]
        try:
            for number in range(times):
                begun = _enqueue(account, number)
                jobs += begun
                account.until("a job is under way", partial(_is_under_way, account, begun))
                trouble(azurite, account, heard)
            account.until("every job has ended", lambda: all(account.ended(job.sweep) for job in jobs))
            account.until("every message is gone", lambda: account.jobs.count() == 0)
        finally:
            for worker in workers:
                worker.end()
        return list(_wrong(account, jobs, heard))


def _steady() -> Trainers:
    runtime = RealRuntime()
    never = runtime.event()

    def pace() -> None:
        runtime.wait(never, STEP_S)

    return tiny_trainers(pace)


def _enqueue(account: Account, number: int) -> list[Job]:
    jobs = [tiny_job(f"{SWEEP}{number}-{seed}", seed, timesteps=STEPS) for seed in range(3)]
    for job in jobs:
        account.enqueue([job])
    return jobs


def _is_under_way(account: Account, jobs: list[Job]) -> bool:
    manifests = [account.manifest(job) for job in jobs]
    return any(manifest is not None and manifest.status == "running" and manifest.step for manifest in manifests)


def _wrong(account: Account, jobs: list[Job], heard: Heard) -> Iterator[str]:
    for job in jobs:
        manifest = account.manifest(job)
        if manifest is None or manifest.status != "done":
            yield f"{job.id} is {manifest.status if manifest else 'unclaimed'}"
        elif account.digest(job) != straight_digest(job):
            yield f"{job.id} has another digest"
    for event in ("checkpoint.lost", "checkpoint.corrupt", "job.raised"):
        if heard.events[event]:
            yield f"{heard.events[event]} × {event}"
    if account.poison.count():
        yield "a message was poisoned"


@contextlib.contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount a small file system. Raises PermissionError where this user may not."""
    if os.geteuid() != 0:
        raise PermissionError("only root mounts a file system")
    with tempfile.TemporaryDirectory(prefix="full-disk-") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", name]
        mounted = subprocess.run(command, capture_output=True, text=True)
        if mounted.returncode:
            raise PermissionError(f"this machine mounts nothing: {mounted.stderr.strip()}")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", name], check=True)


def fill(disk: Path) -> Path:
    """Take all space that is left; return the file that takes it."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    return ballast


def train_on(disk: Path, jobs: int) -> list[str]:
    """Train jobs on a worker whose runtime directory is full; return what is wrong in the end."""
    wrong = []
    for seed in range(jobs):
        ground, job = Ground(), tiny_job("full", seed, timesteps=12)
        ground.enqueue(job)
        work(replace(ground.worker("vm-a"), runtime_directory=disk))
        wrong += [*ground.wrong(job), *ground.noticed()]
        if ground.attempts(job) != 1:
            wrong.append(f"{ground.attempts(job)} claims")
        if not ground.events["disk.failed"]:
            wrong.append("the disk was not full")
    return wrong
