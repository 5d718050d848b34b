"""The poller of scheduled events: what it asks, what it heeds, and what it survives."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest

from producer.emulator.faults import Faults
from producer.emulator.imds import VmMetadata
from producer.emulator.model import ScaleSetModel
from producer.emulator.ports import bind_loopback
from producer.emulator.serving import HttpHost
from producer.emulator.states import Latencies
from producer.emulator.tokens import Identity, TokenAuthority
from tests.fakes.clock import VirtualRuntime
from tests.fakes.deployed import scale_set
from tests.fakes.slot import silent
from worker.contract.errors import MetadataUnavailable
from worker.vm.events import EventPoller, ScheduledEvent, concerning
from worker.vm.files import Notice, notice_file, read_notice, write_file
from worker.vm.metadata import AZURE, Imds, imds, own_name

ME = "fleet_0a1b2c3d"


def event(kind: str = "Preempt", resources: tuple[str, ...] = (ME,), event_id: str = "e1") -> dict[str, Any]:
    """An event as Azure documents it."""
    return {
        "EventId": event_id,
        "EventType": kind,
        "ResourceType": "VirtualMachine",
        "Resources": list(resources),
        "EventStatus": "Scheduled",
        "NotBefore": "Mon, 11 Apr 2022 22:26:58 GMT",
        "Description": "",
        "EventSource": "Platform",
        "DurationInSeconds": -1,
    }


def document(*events: dict[str, Any]) -> dict[str, Any]:
    return {"DocumentIncarnation": 1, "Events": list(events)}


class Scripted(Imds):
    """A metadata service whose answers are known beforehand; the last is repeated."""

    def __init__(self, *answers: object) -> None:
        super().__init__("http://127.0.0.1:1")
        self._answers = list(answers)
        self.timeouts: list[float] = []

    def get(self, path: str, api_version: str, timeout_s: float = 5.0) -> Any:
        self.timeouts.append(timeout_s)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def poller(service: Imds, directory: Path, runtime: VirtualRuntime | None = None) -> EventPoller:
    return EventPoller(service, ME, notice_file(directory), runtime or VirtualRuntime(), silent())


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([event("Preempt")], "Preempt"),
        ([event("Terminate")], "Terminate"),
        ([event("Redeploy")], "Redeploy"),
        ([event("Reboot")], "Reboot"),
        ([event("Freeze")], None),
        ([event("Preempt", ("fleet_other",))], None),
        ([event("Preempt", ("fleet_other", ME.upper()))], "Preempt"),
        ([event("Reboot"), event("Freeze"), event("Preempt")], "Preempt"),
        ([event("Preempt", ())], None),
        ([], None),
    ],
)
def test_only_events_that_name_this_vm_and_end_what_runs_on_it_are_heeded(
    events: list[dict[str, Any]], expected: str | None
) -> None:
    found = concerning([ScheduledEvent.model_validate(one) for one in events], ME)
    assert (found.type if found else None) == expected


def test_an_eviction_becomes_a_notice_for_all_slots(tmp_path: Path) -> None:
    poller(Scripted(document(event(event_id="f020"))), tmp_path).poll()
    notice = read_notice(notice_file(tmp_path))
    assert notice is not None
    assert (notice.type, notice.event_id) == ("Preempt", "f020")
    assert notice.not_before == "Mon, 11 Apr 2022 22:26:58 GMT"


def test_the_first_notice_stands(tmp_path: Path) -> None:
    write_file(notice_file(tmp_path), Notice(type="Reboot", event_id="first"))
    poller(Scripted(document(event(event_id="second"))), tmp_path).poll()
    notice = read_notice(notice_file(tmp_path))
    assert notice is not None
    assert notice.event_id == "first"


@pytest.mark.parametrize(
    "answer",
    [
        MetadataUnavailable("gone", 410),
        MetadataUnavailable("too many", 429),
        MetadataUnavailable("broken", 500),
        MetadataUnavailable("timed out"),
        [],
        {"Events": None},
        {},
        "text",
        None,
    ],
    ids=repr,
)
def test_bad_answers_are_survived_and_the_eviction_after_them_is_heard(tmp_path: Path, answer: object) -> None:
    runtime, stop = VirtualRuntime(), VirtualRuntime().event()
    service = Scripted(answer, answer, document(), document(event()))
    runtime.after(30, stop.set)
    poller(service, tmp_path, runtime).run(stop)
    assert read_notice(notice_file(tmp_path)) is not None


def test_an_entry_that_cannot_be_read_does_not_hide_the_others(tmp_path: Path) -> None:
    poller(Scripted(document({"EventType": 7}, event())), tmp_path).poll()
    assert read_notice(notice_file(tmp_path)) is not None


def test_it_asks_every_second_and_waits_two_minutes_for_the_first_answer_only(tmp_path: Path) -> None:
    runtime, stop = VirtualRuntime(), VirtualRuntime().event()
    service = Scripted(MetadataUnavailable("not yet"), document())
    runtime.after(9.5, stop.set)
    poller(service, tmp_path, runtime).run(stop)
    assert service.timeouts == [120.0, 120.0] + [5.0] * 8


def test_it_asks_less_often_when_it_asked_too_often(tmp_path: Path) -> None:
    assert poller(Scripted(MetadataUnavailable("too many", 429)), tmp_path).poll() == 5.0
    assert poller(Scripted(MetadataUnavailable("broken", 500)), tmp_path).poll() == 1.0


# Over HTTP


class Answers(BaseHTTPRequestHandler):
    """Answers what the server was told to, and keeps what it was asked."""

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Stub)
        server.asked.append((self.path, self.headers.get("Metadata", ""), self.headers.get("X-Forwarded-For", "")))
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.body)))
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(server.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Stub(HTTPServer):
    """A metadata service that misbehaves as told."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.status, self.body = 200, b"{}"
        self.asked: list[tuple[str, str, str]] = []


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as server:
        thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def client(server: Stub) -> Imds:
    return Imds(f"http://127.0.0.1:{server.server_port}")


def test_the_request_is_what_azure_asks_for_whatever_the_proxy_variables_say(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    stub.body = json.dumps(document()).encode()
    assert client(stub).get("/metadata/scheduledevents", "2020-07-01") == document()
    assert stub.asked == [("/metadata/scheduledevents?api-version=2020-07-01", "true", "")]


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (200, b'{"Events": ['), (500, b""), (429, b"{}"), (302, b"")]
)
def test_what_is_not_a_document_is_one_error(stub: Stub, status: int, body: bytes) -> None:
    stub.status, stub.body = status, body
    with pytest.raises(MetadataUnavailable) as caught:
        client(stub).get("/metadata/scheduledevents", "2020-07-01")
    assert caught.value.status == status
    assert len(stub.asked) == 1


def test_no_answer_is_the_same_error() -> None:
    with bind_loopback() as unanswered:
        port = unanswered.getsockname()[1]
    with pytest.raises(MetadataUnavailable, match="refused"):
        Imds(f"http://127.0.0.1:{port}").get("/metadata/instance", "2021-02-01")


def test_an_answer_that_never_comes_is_the_same_error() -> None:
    with bind_loopback() as listening:
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(MetadataUnavailable, match="timed out"):
            Imds(f"http://127.0.0.1:{port}").get("/metadata/instance", "2021-02-01", timeout_s=0.1)


def test_a_vm_without_a_name_is_an_error(stub: Stub) -> None:
    stub.body = b'{"compute": {"vmId": "x"}}'
    with pytest.raises(MetadataUnavailable, match="name"):
        client(stub).instance()


def test_a_vm_asks_for_its_name_until_it_hears_it() -> None:
    named = {"compute": {"name": ME}}
    runtime = VirtualRuntime()
    late = Scripted(MetadataUnavailable("410", 410), MetadataUnavailable("booting"), named)
    assert own_name(late, runtime, runtime.event()) == ME
    stop = runtime.event()
    runtime.after(60, stop.set)
    assert own_name(Scripted(MetadataUnavailable("never")), runtime, stop) == ""


def test_the_emulators_metadata_service_is_found_by_azure_identitys_variable() -> None:
    assert vars(imds({})) == vars(Imds(AZURE))
    emulated = vars(imds({"AZURE_POD_IDENTITY_AUTHORITY_HOST": "http://127.0.0.1:4242/"}))
    assert emulated == vars(Imds("http://127.0.0.1:4242"))


def test_an_eviction_in_the_emulator_is_noticed_by_its_vm_and_by_no_other(
    tmp_path: Path, token_authority: TokenAuthority, identity: Identity
) -> None:
    now = [datetime(2026, 3, 1, 12, tzinfo=UTC)]
    faults = Faults()
    model = ScaleSetModel(scale_set(identity), Latencies(60, 20, 30), faults, lambda: now[0], Random(1))
    model.set_capacity(2)
    now[0] += timedelta(seconds=61)
    victim, other = model.vms()
    with HttpHost() as http:
        for vm in (victim, other):
            (tmp_path / vm.name).mkdir()
            endpoint = http.serve(VmMetadata(model, vm, token_authority, faults).app, bind_loopback())
            service = Imds(endpoint.url)
            assert service.instance().name == vm.name
            assert service.instance().scale_set == "fleet"
            watching = EventPoller(service, vm.name, notice_file(tmp_path / vm.name), VirtualRuntime(), silent())
            watching.poll()
            assert read_notice(notice_file(tmp_path / vm.name)) is None
            if vm is victim:
                model.evict(victim.name)
            watching.poll()
    notice = read_notice(notice_file(tmp_path / victim.name))
    assert notice is not None
    assert notice.type == "Preempt"
    assert read_notice(notice_file(tmp_path / other.name)) is None
