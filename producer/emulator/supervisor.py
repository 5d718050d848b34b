"""The first process of an instance: it stands in for systemd, and for the power switch.

It starts the processes of an InstanceSpec, logs them, restarts them, watches their watchdogs and runs what comes after
their end. Standard input is the power: when the emulator closes it, or is killed, everything here is SIGKILLed at once,
grandchildren included. What happens is reported on standard output, one JSON object a line.

Run as `python -P -m producer.emulator.supervisor`; the first line of its input is {"spec", "run_dir", "log_dir"}. It
has one thread, so that PR_SET_PDEATHSIG, which follows the thread that forked, ties children to the process.
"""

import asyncio
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import Any

from producer.emulator.ties import adopt_orphans, kill_everything, tie_to
from producer.emulator.units import (
    NOT_EXECUTABLE,
    Circumstances,
    End,
    InstanceSpec,
    Process,
    count_oom_kills,
    judge,
)

Report = Callable[..., None]


class Phase(Enum):
    """Where in its life a service is."""

    RUNNING = auto()
    AFTER_EXIT = auto()
    WAITING = auto()
    """For its next start."""
    ENDED = auto()


class Service:
    """One process of the instance through all its lives."""

    def __init__(self, process: Process, supervisor: "Supervisor") -> None:
        self.process = process
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        self._notify = supervisor.notify_socket(self._notified)
        self._phase = Phase.WAITING
        self._pid = 0
        self._seen = Circumstances()
        self._failures = 0
        self._stopping = False
        self._stopped = asyncio.Event()
        self._status = ""
        self._timers: list[asyncio.TimerHandle] = []
        self._watchdog: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin a life."""
        self._phase = Phase.RUNNING
        self._seen = Circumstances()
        environment = dict(self.process.env) | {"NOTIFY_SOCKET": self._notify}
        if self.process.watchdog_s is not None:
            environment["WATCHDOG_USEC"] = str(int(self.process.watchdog_s * 1e6))
        try:
            self._pid = self._supervisor.spawn(self.process, self.process.argv, environment, self._ended)
        except OSError as error:
            self._supervisor.log(self.process, f"{self.process.argv[0]}: {error.strerror}")
            self._after(End("exit-code", "exited", str(NOT_EXECUTABLE)))
            return
        self._supervisor.report("started", process=self.process.name, pid=self._pid)

    async def stop(self) -> None:
        """`systemctl stop`: SIGTERM, SIGKILL when that takes too long; not restarted. Returns when it is stopped."""
        if not self._stopping:
            self._stopping = True
            if self._phase is Phase.RUNNING:
                self._signal(signal.SIGTERM)
                self._later(self.process.stop_timeout_s, self._stop_timed_out)
            elif self._phase is Phase.WAITING:
                self._finish()
        await self._stopped.wait()

    def _notified(self, text: str) -> None:
        for line in text.splitlines():
            key, _, value = line.partition("=")
            if key == "READY" and value == "1":
                self._supervisor.report("ready", process=self.process.name)
                self._rearm()
            elif key == "WATCHDOG" and value == "1" and self._watchdog is not None:
                self._rearm()
            elif key == "STATUS" and value != self._status:
                self._status = value
                self._supervisor.report("status", process=self.process.name, status=value)

    def _rearm(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self.process.watchdog_s is not None and self._pid:
            self._watchdog = self._loop.call_later(self.process.watchdog_s, self._watchdog_expired)

    def _watchdog_expired(self) -> None:
        self._seen.watchdog_fired = True
        self._supervisor.report("watchdog", process=self.process.name)
        self._signal(signal.SIGABRT)
        self._later(self.process.stop_timeout_s, lambda: self._signal_group(signal.SIGKILL))

    def _stop_timed_out(self) -> None:
        self._seen.stop_timed_out = True
        self._signal_group(signal.SIGKILL)

    def _ended(self, wait_status: int) -> None:
        end = judge(wait_status, self._seen, count_oom_kills())
        self._cancel_timers()
        self._signal_group(signal.SIGKILL)  # KillMode=mixed: what it left behind
        self._pid = 0
        self._after(end)

    def _after(self, end: End) -> None:
        self._supervisor.report("exited", process=self.process.name, **end.environment())
        self._failures = 0 if end.clean else self._failures + 1
        if self.process.after_exit is None:
            self._next(end)
            return
        self._phase = Phase.AFTER_EXIT
        environment = dict(self.process.env) | end.environment()
        try:
            pid = self._supervisor.spawn(
                self.process, self.process.after_exit, environment, lambda status: self._after_exit_ended(status, end)
            )
        except OSError as error:
            self._supervisor.log(self.process, f"{self.process.after_exit[0]}: {error.strerror}")
            self._next(end)
            return
        self._later(self.process.stop_timeout_s, lambda: _signal(pid, signal.SIGKILL, group=True))

    def _after_exit_ended(self, wait_status: int, end: End) -> None:
        self._cancel_timers()
        status = os.waitstatus_to_exitcode(wait_status)
        self._supervisor.report("after_exit", process=self.process.name, status=status)
        self._next(end)

    def _next(self, end: End) -> None:
        forbidden = end.code == "exited" and int(end.status) in self.process.no_restart_statuses
        if self._stopping or not self.process.restart or forbidden:
            self._finish()
            return
        self._phase = Phase.WAITING
        doubled = self.process.restart_after_s * 2 ** min(max(0, self._failures - 1), 30)
        longest = max(self.process.restart_after_s, self.process.restart_after_max_s)
        self._later(min(doubled, longest), self._restart)

    def _restart(self) -> None:
        self._timers.clear()
        self.start()

    def _finish(self) -> None:
        self._cancel_timers()
        self._phase = Phase.ENDED
        self._stopped.set()
        self._supervisor.report("ended", process=self.process.name)

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        self._timers.append(self._loop.call_later(delay_s, action))

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _signal(self, number: signal.Signals) -> None:
        _signal(self._pid, number, group=False)

    def _signal_group(self, number: signal.Signals) -> None:
        _signal(self._pid, number, group=True)


class Supervisor:
    """All services of the instance, and the table of children that it reaps."""

    def __init__(self, run_dir: Path, log_dir: Path, report: Report) -> None:
        self.report = report
        self._run_dir = run_dir
        self._log_dir = log_dir
        self._loop = asyncio.get_running_loop()
        self._children: dict[int, Callable[[int], None]] = {}
        self._sockets: list[socket.socket] = []
        self.services: dict[str, Service] = {}

    def start(self, spec: InstanceSpec) -> None:
        """Start everything."""
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for process in spec.processes:
            self.services[process.name] = Service(process, self)
        for service in self.services.values():
            service.start()

    def notify_socket(self, notified: Callable[[str], None]) -> str:
        """The path of a new datagram socket whose messages go to `notified`."""
        path = str(self._run_dir.with_name(f"n{len(self._sockets)}"))
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        receiver.setblocking(False)
        receiver.bind(path)
        self._loop.add_reader(receiver, lambda: notified(receiver.recv(65536).decode(errors="replace")))
        self._sockets.append(receiver)
        return path

    def spawn(
        self, process: Process, argv: tuple[str, ...], environment: dict[str, str], ended: Callable[[int], None]
    ) -> int:
        """Start a child in a session of its own; `ended` gets its wait status. OSError when it cannot be started."""
        with self._log_file(process).open("ab") as log:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment | {"RUNTIME_DIRECTORY": str(self._run_dir)},
                cwd=self._run_dir,
                start_new_session=True,
                preexec_fn=functools.partial(tie_to, os.getpid()),  # noqa: PLW1509 - this process has one thread
            )
        child.returncode = 0  # Popen must not wait for it: _reap does
        self._children[child.pid] = ended
        return child.pid

    def log(self, process: Process, text: str) -> None:
        """Add a line of our own to the log of a process."""
        with self._log_file(process).open("a", encoding="utf-8") as log:
            log.write(f"supervisor: {text}\n")

    def _log_file(self, process: Process) -> Path:
        return self._log_dir / f"{process.name}.log"

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            ended = self._children.pop(pid, None)
            if ended is not None:  # else an orphan of one of the services, which only must not stay a zombie
                ended(status)


async def _commands(supervisor: Supervisor, lines: asyncio.StreamReader) -> None:
    """Act on {"stop": NAME} until the input ends."""
    running: set[asyncio.Task[None]] = set()
    while line := await lines.readline():
        service = supervisor.services.get(json.loads(line)["stop"])
        if service is not None:
            task = asyncio.get_running_loop().create_task(service.stop())
            running.add(task)
            task.add_done_callback(running.discard)


async def _live(report: Report) -> Path | None:
    """Run the instance until its power is cut. Returns its run directory."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    first = await lines.readline()
    if not first:
        return None
    settings: dict[str, Any] = json.loads(first)
    run_dir = Path(settings["run_dir"])
    supervisor = Supervisor(run_dir, Path(settings["log_dir"]), report)
    supervisor.start(InstanceSpec.from_json(settings["spec"]))
    commands = loop.create_task(_commands(supervisor, lines))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, commands.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await commands
    return run_dir


def _signal(pid: int, number: signal.Signals, *, group: bool) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)


def main() -> None:
    """Live until the power is cut, then leave nothing."""

    def report(event: str, **facts: Any) -> None:
        # An emulator that is gone reads no more; its end of the power line closes as well, and that ends us.
        with contextlib.suppress(BrokenPipeError):
            os.write(1, json.dumps({"event": event} | facts).encode() + b"\n")

    adopt_orphans()
    try:
        run_dir = asyncio.run(_live(report))
    finally:
        kill_everything()
    if run_dir is not None:
        shutil.rmtree(run_dir.parent, ignore_errors=True)
        with contextlib.suppress(OSError):
            run_dir.parent.parent.rmdir()  # the last instance of a killed emulator clears up behind it
    report("off")


if __name__ == "__main__":
    main()
