"""sd_notify(3), over a real datagram socket."""

import socket
from pathlib import Path

import pytest

from tests.fakes.slot import listening, silent
from worker.notify import Supervisor


@pytest.mark.parametrize("abstract", [False, True])
def test_every_word_to_the_supervisor_is_one_datagram(tmp_path: Path, abstract: bool) -> None:
    name = f"@tranquility-{tmp_path.name}-{tmp_path.parent.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        listener.settimeout(30)
        supervisor = Supervisor(silent(), {"NOTIFY_SOCKET": name})
        supervisor.alive()
        supervisor.ready()
        supervisor.alive()
        supervisor.ready()
        supervisor.stopping()
        heard = [listener.recv(1000) for _ in range(4)]
    assert heard == [b"EXTEND_TIMEOUT_USEC=120000000", b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_without_a_supervisor_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(socket, "socket", lambda *args: opened.append(args))
    Supervisor(silent(), {}).alive()
    assert opened == []


def test_a_supervisor_that_is_deaf_for_a_while_is_logged_once_and_hears_what_comes_later(tmp_path: Path) -> None:
    """As systemd is during a daemon-reexec: the socket's file is there, and nobody listens."""
    name = str(tmp_path / "notify")
    log, events = listening()
    supervisor = Supervisor(log, {"NOTIFY_SOCKET": name})
    supervisor.ready()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as before:
        before.bind(name)
    supervisor.alive()
    supervisor.alive()
    Path(name).unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.settimeout(30)
        supervisor.alive()
        assert [listener.recv(1000) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
    supervisor.stopping()
    assert [(event["event"], event["message"]) for event in events] == [
        ("supervisor.deaf", "READY=1"),
        ("supervisor.deaf", "STOPPING=1"),
    ]
