"""sd_notify(3), over a real datagram socket."""

import socket
from pathlib import Path

import pytest

from worker.notify import Supervisor


@pytest.mark.parametrize("abstract", [False, True])
def test_every_word_to_the_supervisor_is_one_datagram(tmp_path: Path, abstract: bool) -> None:
    name = f"@tranquility-{tmp_path.name}-{tmp_path.parent.name}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        listener.settimeout(30)
        supervisor = Supervisor({"NOTIFY_SOCKET": name})
        supervisor.ready()
        supervisor.alive()
        supervisor.status("trains")
        supervisor.stopping()
        heard = [listener.recv(1000) for _ in range(4)]
    assert heard == [b"READY=1", b"WATCHDOG=1", b"STATUS=trains", b"STOPPING=1"]


def test_without_a_supervisor_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(socket, "socket", lambda *args: opened.append(args))
    Supervisor({}).alive()
    assert opened == []
