"""Ports that stay the same for a data folder."""

import socket
from pathlib import Path

from producer.emulator.ports import RememberedPorts


def test_an_endpoint_keeps_its_port(tmp_path: Path) -> None:
    with RememberedPorts(tmp_path).bind("arm") as first:
        host, port = first.getsockname()
    assert host == "127.0.0.1"
    with RememberedPorts(tmp_path).bind("arm") as again:
        assert again.getsockname() == (host, port)


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    ports = RememberedPorts(tmp_path)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        ports.remember("arm", taken)
        with ports.bind("arm") as bound:
            assert bound.getsockname()[1] != taken
            assert ports.last("arm") == bound.getsockname()[1]


def test_a_damaged_file_costs_new_numbers_and_nothing_else(tmp_path: Path) -> None:
    for content in ("", "not json", "[1]", '{"arm": "x"}', '{"arm": 70000}'):
        (tmp_path / "ports.json").write_text(content)
        assert RememberedPorts(tmp_path).last("arm") == 0
        with RememberedPorts(tmp_path).bind("arm"):
            assert RememberedPorts(tmp_path).last("arm") > 0
