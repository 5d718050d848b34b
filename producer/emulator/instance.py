"""An instance: one emulated VM, and the switch that cuts its power.

What it consists of is its spec's affair: a group of processes (`units.InstanceSpec`) or a machine that systemd boots in
(`nspawn.spec.NspawnSpec`). Both are run by a supervisor, a program of the same manners.
"""

import contextlib
import json
import os
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import psutil

from producer.emulator.errors import EmulatorError

KILL_TIMEOUT_S = 20.0
EVENTS_KEPT = 1000


class Spec(Protocol):
    """What an instance consists of."""

    @property
    def supervisor(self) -> Sequence[str]:
        """The command that runs it: see `producer.emulator.supervisor` for its input and output."""

    def to_json(self) -> dict[str, Any]:
        """What the supervisor is told of it."""


@dataclass(frozen=True)
class InstanceEvent:
    """Something that the supervisor of an instance saw.

    `kind` is started, ready, status, watchdog, exited, after_exit, ended or off; `facts` are what it says of it, such
    as `pid`, or SERVICE_RESULT, EXIT_CODE and EXIT_STATUS.
    """

    kind: str
    process: str
    facts: dict[str, Any] = field(default_factory=dict)


class Instance:
    """One VM. Everything dies with `kill`, and with this process, however it ends."""

    def __init__(self, name: str, run_dir: Path, log_dir: Path, ended: Callable[[str], None] = lambda _: None) -> None:
        """`run_dir`, a folder that must not exist yet in a short path, goes with the instance; `log_dir` stays.

        `ended` is told the name when the instance is off, by a thread of its own.
        """
        self.name = name
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._ended = ended
        self._changed = threading.Condition()
        self._events: deque[InstanceEvent] = deque(maxlen=EVENTS_KEPT)
        self._pids: dict[str, int] = {}
        self._past_pids: set[int] = set()
        self._supervisor: subprocess.Popen[str] | None = None
        self._reader = threading.Thread(target=self._read, name=f"instance-{name}", daemon=True)

    def start(self, spec: Spec) -> None:
        """Power on. Returns at once: the processes start by themselves."""
        self._run_dir.mkdir(parents=True)
        self._log_dir.mkdir(parents=True, exist_ok=True)
        path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self._log_dir / "supervisor.log").open("ab") as log:
            self._supervisor = subprocess.Popen(
                list(spec.supervisor),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": path},
                start_new_session=True,
                text=True,
            )
        settings = {"spec": spec.to_json(), "run_dir": str(self._run_dir), "log_dir": str(self._log_dir.absolute())}
        self._reader.start()
        self._send(settings)

    def stop_process(self, process: str) -> None:
        """`systemctl stop` from outside; its end shows in `events`."""
        self._send({"stop": process})

    def cut(self) -> None:
        """Cut the power: SIGKILL for everything, at once. Does not wait. Safe to repeat."""
        supervisor = self._supervisor
        if supervisor is not None and supervisor.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                supervisor.stdin.close()

    def kill(self) -> None:
        """Cut the power and return when everything is gone. Safe to repeat. EmulatorError when it does not go."""
        supervisor = self._supervisor
        if supervisor is None:
            return
        self.cut()
        self._reader.join(KILL_TIMEOUT_S)
        if self._reader.is_alive():
            supervisor.kill()  # its children are tied to it; what escaped is cleared up by the reader
            self._reader.join(KILL_TIMEOUT_S)
        if self._reader.is_alive():
            raise EmulatorError(f"The processes of {self.name} do not die: see `ps -s {supervisor.pid}` and kill them.")

    @property
    def pids(self) -> dict[str, int]:
        """The processes that run now."""
        with self._changed:
            return dict(self._pids)

    @property
    def events(self) -> tuple[InstanceEvent, ...]:
        """What happened last, in its order."""
        with self._changed:
            return tuple(self._events)

    def wait_for(self, wanted: Callable[[tuple[InstanceEvent, ...]], bool], timeout_s: float) -> bool:
        """Wait until `wanted` holds for the events; whether it does."""
        with self._changed:
            return self._changed.wait_for(lambda: wanted(tuple(self._events)), timeout_s)

    def _send(self, command: dict[str, Any]) -> None:
        supervisor = self._supervisor
        if supervisor is None or supervisor.stdin is None:
            raise EmulatorError(f"The instance {self.name} was not started.")
        with contextlib.suppress(BrokenPipeError):  # it is off already, and says so in its own way
            supervisor.stdin.write(json.dumps(command) + "\n")
            supervisor.stdin.flush()

    def _read(self) -> None:
        supervisor = self._supervisor
        if supervisor is None or supervisor.stdout is None:
            return
        for line in supervisor.stdout:
            facts = json.loads(line)
            self._record(InstanceEvent(facts.pop("event"), facts.pop("process", ""), facts))
        supervisor.wait()
        supervisor.stdout.close()
        self._clear_up()
        self._ended(self.name)

    def _record(self, event: InstanceEvent) -> None:
        with self._changed:
            self._events.append(event)
            if event.kind == "started":
                self._pids[event.process] = event.facts["pid"]
                self._past_pids.add(event.facts["pid"])
            elif event.kind == "exited":
                self._pids.pop(event.process, None)
            elif event.kind == "off":
                self._pids.clear()
            self._changed.notify_all()

    def _clear_up(self) -> None:
        """A supervisor that was itself killed leaves its grandchildren: they are in the sessions that it made."""
        if self.events and self.events[-1].kind == "off":
            return
        with self._changed:
            sessions = set(self._past_pids)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                if os.getsid(process.pid) in sessions:
                    process.kill()
        self._record(InstanceEvent("off", "", {"supervisor": "killed"}))
