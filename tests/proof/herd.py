"""Worker processes by the dozen, forked from one parent that has imported torch: seconds each would need otherwise.

`python -m tests.proof.herd FOLDER` is that parent. It does what the lines of its standard input say, one JSON object
each, and answers with one line; when the input ends, so do it and all its workers. `Herd` is its other end.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from producer.emulator.tokens import DirectCredential, Identity, TokenAuthority
from worker.__main__ import THREADS
from worker.contract.job import Job, decode
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Durations, Target, WorkerSettings

ROOT = Path(__file__).parents[2]
KEY = "the key of the tests, of 32 bytes or more"


@dataclass(frozen=True)
class Worker:
    """A running worker process."""

    vm: str
    pid: int

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)


class Herd:
    """The parent, as a test sees it. Its methods may be called from any thread."""

    def __init__(self, folder: Path, identity: Identity, durations: Durations) -> None:
        self._folder = folder
        self._told = {"identity": asdict(identity)}
        self._durations = durations
        self._one_at_a_time = threading.Lock()
        self._started = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "told.json").write_text(json.dumps(self._told))
        self._log = (self._folder / "herd.log").open("w")
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.proof.herd", str(self._folder)],
            cwd=ROOT,
            env={**os.environ, **dict.fromkeys(THREADS, "1")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._parent.communicate()
        self._log.close()

    def start(self, target: Target, durations: Durations | None = None) -> Worker:
        """Start a worker on a VM of its own; `durations` are the herd's where none are given."""
        with self._one_at_a_time:
            self._started += 1
            vm = f"vm{self._started:04d}"
            keeps = (durations or self._durations).model_dump()
            answer = self._ask({"start": vm, "target": target.model_dump(mode="json"), "durations": keeps})
        return Worker(vm, answer["pid"])

    def end(self, worker: Worker) -> None:
        """Kill a worker as a power cut does, and wait until it is gone."""
        worker.signal(signal.SIGKILL)
        with self._one_at_a_time:
            self._ask({"reap": worker.pid})

    def straight(self, job: Job) -> str:
        """Return the digest of the job trained in one go, without storage."""
        with self._one_at_a_time:
            return str(self._ask({"straight": job.encode()})["digest"])

    def produce(self, command: str, target: Target, at: int = 0, *, after: bool = False) -> int | None:
        """Run a producer's command that dies at its n-th request; return its requests, or None where it died."""
        with self._one_at_a_time:
            answer = self._ask({"produce": command, "target": target.model_dump(mode="json"), "at": at, "after": after})
        return None if answer["died"] else int(answer["requests"])

    def serve(self, scenario: str, target: Target, at: int = 0, *, after: bool = False) -> int | None:
        """Run a worker until nothing is left, that dies at its n-th request; return as `produce` does."""
        with self._one_at_a_time:
            answer = self._ask({"serve": scenario, "target": target.model_dump(mode="json"), "at": at, "after": after})
        return None if answer["died"] else int(answer["requests"])

    def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps(question) + "\n")
        self._parent.stdin.flush()
        line = self._parent.stdout.readline()
        assert line, f"the herd has ended: see {self._folder}/herd.log"
        answer: dict[str, Any] = json.loads(line)
        return answer


# ---- the parent ------------------------------------------------------------------------------------------------------


def main(folder: Path) -> None:
    """Do what is asked until the input ends."""
    from worker.sac_trainers import sac_trainers

    sac_trainers()  # imports torch, and asks it about this machine
    told = json.loads((folder / "told.json").read_text())
    alive: set[int] = set()
    try:
        for line in sys.stdin:
            print(json.dumps(_answer(json.loads(line), told, folder, alive)), flush=True)
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _answer(question: dict[str, Any], told: dict[str, Any], folder: Path, alive: set[int]) -> dict[str, Any]:
    if "start" in question:
        vm = question["start"]
        target = Target.model_validate(question["target"])
        durations = Durations.model_validate(question["durations"])
        pid = _fork(folder / f"{vm}.log", lambda: _work(told, target, durations, folder, vm))
        alive.add(pid)
        return {"vm": vm, "pid": pid}
    if "reap" in question:
        os.waitpid(question["reap"], 0)
        alive.remove(question["reap"])
        return {}
    if "produce" in question:
        return _until_it_dies(lambda report: _produce(question, told, report), folder / "produced")
    if "serve" in question:
        return _until_it_dies(lambda report: _serve(question, told, report), folder / "served")
    report = folder / "straight.txt"
    pid = _fork(folder / "straight.log", lambda: _train(decode(question["straight"]), report))
    _, status = os.waitpid(pid, 0)
    if status != 0:
        raise SystemExit(f"a straight run ended with status {status}")
    return {"digest": report.read_text()}


def _until_it_dies(work: Callable[[Path], int], place: Path) -> dict[str, Any]:
    """Wait for what kills itself at one of its requests, and reports how many there were if it does not."""
    report, log = place.with_suffix(".txt"), place.with_suffix(".log")
    pid = _fork(log, lambda: work(report))
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return {"died": True}
    if status != 0:
        raise SystemExit(f"it ended with status {status}: see {log}")
    return {"died": False, "requests": int(report.read_text())}


def _fork(log: Path, work: Callable[[], int]) -> int:
    """Run `work` in a child whose input and output are not the parent's; return its pid."""
    pid = os.fork()
    if pid:
        return pid
    with log.open("w") as file:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        status = 1
        try:
            status = work()
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            sys.stderr.flush()
            os._exit(status)


def _work(told: dict[str, Any], target: Target, durations: Durations, folder: Path, vm: str) -> int:
    from worker.notify import Supervisor
    from worker.run import assemble, run_assembled
    from worker.stop import StopRequest

    runtime_directory = folder / vm
    runtime_directory.mkdir()
    os.environ["RUNTIME_DIRECTORY"] = str(runtime_directory)
    settings = WorkerSettings(target=Path(), vm=vm, durations=durations)
    runtime = RealRuntime()
    slot = assemble(settings, target, _identity(told), 0, runtime, StopRequest(runtime))
    return run_assembled(slot, Supervisor(slot.log, {}), booted_s=0.0)


def _produce(question: dict[str, Any], told: dict[str, Any], report: Path) -> int:
    from tests.proof.producer_process import produce

    target = Target.model_validate(question["target"])
    report.write_text(str(produce(question["produce"], target, _identity(told), question["at"], question["after"])))
    return 0


def _serve(question: dict[str, Any], told: dict[str, Any], report: Path) -> int:
    from tests.proof.worker_process import serve

    target = Target.model_validate(question["target"])
    report.write_text(str(serve(question["serve"], target, _identity(told), question["at"], question["after"])))
    return 0


def _identity(told: dict[str, Any]) -> DirectCredential:
    authority = TokenAuthority(KEY.encode(), lambda: datetime.now(UTC))
    return DirectCredential(authority, Identity(**told["identity"]))


def _train(job: Job, report: Path) -> int:
    from worker.training.trainer import SacRun

    report.write_text(SacRun(job).train(lambda _: None, lambda: None).state_digest)
    return 0


@contextlib.contextmanager
def workers(herd: Herd, target: Target, count: int, durations: Durations | None = None) -> Iterator[list[Worker]]:
    """Keep a list of so many workers; whoever is in it at the end is ended."""
    here = [herd.start(target, durations) for _ in range(count)]
    try:
        yield here
    finally:
        for worker in here:
            herd.end(worker)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
