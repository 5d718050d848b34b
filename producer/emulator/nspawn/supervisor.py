"""The power switch of a machine: it mounts its disk, lets systemd-nspawn boot it, and cuts its power.

Speaks as `producer.emulator.supervisor` does. Standard input is the power: when the emulator closes it, or is killed,
the machine is gone at once, and its mounts and control group with it. The first line of its input is {"spec",
"run_dir", "log_dir"}; {"stop": UNIT} is `systemctl stop`. What happens is reported on standard output, one JSON object
a line, for the process `init`: started (with its `pid`), status, ready (all of boot is done); then off.

Run as `unshare --mount python -P -m producer.emulator.nspawn.supervisor`. When this process is itself killed, its
mounts go, too, but not the machine's first process, which systemd unties from its parent: `Instance` kills it, and
where that is killed at the same time, the next machine that is started (see `cgroups`).
"""

import contextlib
import functools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from producer.emulator.nspawn.cgroups import managed_here, own_cgroup
from producer.emulator.nspawn.disk import furnish, mount_disk, unmount_disk
from producer.emulator.nspawn.network import Network, network
from producer.emulator.nspawn.spec import NspawnSpec
from producer.emulator.ties import adopt_orphans, kill_everything, tie_to


class Nspawn:
    """The running machine."""

    def __init__(self, spec: NspawnSpec, root: Path, run_dir: Path, log_dir: Path, net: Network | None) -> None:
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = str(run_dir.with_name("notify"))
        self.notices.bind(address)
        self._init = 0
        with (log_dir / "console.log").open("ab") as console:
            self._nspawn = subprocess.Popen(
                _command(spec, root, net),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env={**os.environ, "NOTIFY_SOCKET": address},
                preexec_fn=functools.partial(tie_to, os.getpid()),  # noqa: PLW1509 - no other thread has begun
            )
        self.ended = os.pidfd_open(self._nspawn.pid)

    def hear(self) -> None:
        """Report what systemd-nspawn and the machine's systemd say of it."""
        for line in self.notices.recv(65536).decode(errors="replace").splitlines():
            key, _, value = line.partition("=")
            if key == "X_NSPAWN_LEADER_PID":
                self._init = int(value)
                report("started", process="init", pid=self._init)
            elif key == "STATUS":
                report("status", process="init", status=value)
            elif key == "READY" and value == "1":
                report("ready", process="init")

    def stop(self, unit: str) -> None:
        """`systemctl stop` in the machine, without waiting for it."""
        inside = ["nsenter", "--target", str(self._init), "--all", "systemctl", "stop", "--no-block", unit]
        subprocess.run(inside, check=False, stdin=subprocess.DEVNULL)

    def cut(self) -> None:
        """Cut its power, and return when its last process is gone."""
        kill_everything()


def report(event: str, **facts: Any) -> None:
    """Tell the emulator, if it is still there."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, json.dumps({"event": event} | facts).encode() + b"\n")


def _command(spec: NspawnSpec, root: Path, net: Network | None) -> list[str]:
    binds = [f"--bind-ro={_escaped(here)}:{_escaped(there)}" for there, here in spec.binds.items()]
    return [
        *("systemd-nspawn", "--quiet", "--boot", f"--directory={root}"),
        *(f"--machine={spec.hostname}", "--register=no", *([] if managed_here() else ["--keep-unit"])),
        *("--settings=no", "--link-journal=no", "--timezone=off", "--resolv-conf=off"),
        *("--console=read-only", "--notify-ready=yes", *binds),
        *([f"--network-namespace-path={net.path}"] if net else []),
    ]


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")


def _lines() -> Iterator[str | None]:
    """The lines that standard input has now, then None at its end; made for a selector's loop."""
    waiting = b""
    while True:
        came = os.read(0, 65536)
        if not came:
            yield None
            return
        *lines, waiting = (waiting + came).split(b"\n")
        for line in lines:
            yield line.decode()
        yield ""


def _live(machine: Nspawn, lines: Iterator[str | None]) -> None:
    """Serve the machine until it ends by itself or the input does."""
    with selectors.DefaultSelector() as ready:
        for source in (0, machine.notices, machine.ended):
            ready.register(source, selectors.EVENT_READ)
        while True:
            sources = {key.fileobj for key, _ in ready.select()}
            if machine.notices in sources:
                machine.hear()
            if machine.ended in sources:
                return
            if 0 in sources and not _obey(machine, lines):
                return


def _obey(machine: Nspawn, lines: Iterator[str | None]) -> bool:
    """Do what the input says now; whether there is still power."""
    for line in lines:
        if line is None:
            return False
        if not line:
            return True
        machine.stop(json.loads(line)["stop"])
    return False


def main() -> None:
    """Live until the power is cut, then leave nothing."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))
    adopt_orphans()
    lines = _lines()
    first = next(lines)
    if not first:
        return
    settings: dict[str, Any] = json.loads(first)
    spec, run_dir, log_dir = NspawnSpec.from_json(settings["spec"]), Path(settings["run_dir"]), settings["log_dir"]
    disk = run_dir.with_name("disk")
    with contextlib.ExitStack() as undo:
        undo.callback(_clear, run_dir)
        undo.enter_context(own_cgroup())
        net = undo.enter_context(network(spec.leads))
        root = mount_disk(disk)
        undo.callback(unmount_disk, disk)
        furnish(root, spec)
        machine = Nspawn(spec, root, run_dir, Path(log_dir), net)
        if net:
            net.serve()
        try:
            _live(machine, lines)
        finally:
            machine.cut()
    report("off")


def _clear(run_dir: Path) -> None:
    """Remove the folders of this machine; what is mounted there, or not ours, stays."""
    run_dir.with_name("notify").unlink(missing_ok=True)
    for folder in (run_dir, run_dir.parent, run_dir.parent.parent):
        with contextlib.suppress(OSError):
            folder.rmdir()


if __name__ == "__main__":
    main()
