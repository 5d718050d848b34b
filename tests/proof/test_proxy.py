"""What the fault proxy does to requests of the real clients."""

from collections.abc import Iterator

import pytest
from azure.core.credentials import TokenCredential

from producer.emulator.certificates import Certificates
from tests.proof.proxy import Fault, FaultProxy, Kind, Request
from worker.contract import names
from worker.contract.azure import blob_service, queue_service
from worker.contract.errors import ConditionFailed, StorageUnavailable
from worker.contract.queue import AzureQueue
from worker.contract.records import Absent, AzureBlobs
from worker.contract.settings import Target


@pytest.fixture
def proxy(local_ca: Certificates, storage: Target) -> Iterator[FaultProxy]:
    with FaultProxy(local_ca, storage) as proxy:
        yield proxy


@pytest.fixture
def blobs(proxy: FaultProxy, storage: Target, credential: TokenCredential) -> Iterator[AzureBlobs]:
    with blob_service(proxy.behind(storage), credential) as service:
        yield AzureBlobs(service)


def test_what_passes_is_as_it_was(proxy: FaultProxy, blobs: AzureBlobs) -> None:
    body = bytes(range(256)) * 30_000  # more than one block of the client
    blobs.put(names.SWEEPS, "s/plan.json", body, metadata={"a": "b"})
    found = blobs.get(names.SWEEPS, "s/plan.json")
    assert found is not None
    assert (found.body, found.metadata) == (body, {"a": "b"})
    assert [blob.name for blob in blobs.list(names.SWEEPS, "s/")] == ["s/plan.json"]
    assert proxy.counts["put sweeps", "pass"] == 1


def test_a_dropped_answer_leaves_the_write_done_and_the_client_asking_again(
    proxy: FaultProxy, blobs: AzureBlobs
) -> None:
    kinds: list[Kind] = ["drop"]
    proxy.decide = lambda request: Fault(kinds.pop(0) if kinds and request.method == "PUT" else "pass")
    with pytest.raises(ConditionFailed):
        blobs.put(names.SWEEPS, "s/manifests/j", b"mine", Absent())
    found = blobs.get(names.SWEEPS, "s/manifests/j")
    assert found is not None
    assert found.body == b"mine"
    assert proxy.counts["put manifest", "drop"] == proxy.counts["put manifest", "pass"] == 1


@pytest.mark.parametrize("kind", ["reset", "busy"])
def test_a_reset_or_refused_request_is_not_carried_out_and_asked_again(
    proxy: FaultProxy, blobs: AzureBlobs, kind: Kind
) -> None:
    kinds: list[Kind] = [kind]
    proxy.decide = lambda request: Fault(kinds.pop(0) if kinds and request.method == "PUT" else "pass")
    blobs.put(names.SWEEPS, "s/manifests/j", b"mine", Absent())
    assert (proxy.counts["put manifest", kind], proxy.counts["put manifest", "pass"]) == (1, 1)


@pytest.mark.parametrize("kind", ["reset", "busy", "drop"])
def test_a_read_whose_first_answer_failed_is_the_read_of_the_second(
    proxy: FaultProxy, blobs: AzureBlobs, kind: Kind
) -> None:
    blobs.put(names.SWEEPS, "a", b"1")
    kinds: list[Kind] = [kind]
    proxy.decide = lambda request: Fault(kinds.pop(0) if kinds and request.method == "GET" else "pass")
    found = blobs.get(names.SWEEPS, "a")
    assert found is not None
    assert found.body == b"1"
    assert proxy.counts["get sweeps", kind] == 1


def test_in_a_blackout_nothing_answers(
    proxy: FaultProxy, blobs: AzureBlobs, storage: Target, credential: TokenCredential
) -> None:
    blobs.put(names.SWEEPS, "a", b"1")
    proxy.black_out()
    with pytest.raises(StorageUnavailable):
        blobs.put(names.SWEEPS, "a", b"2")
    proxy.light()
    with blob_service(storage, credential) as around:
        found = AzureBlobs(around).get(names.SWEEPS, "a")
    assert found is not None
    assert found.body == b"1"
    blobs.put(names.SWEEPS, "a", b"3")


def test_operations_have_our_names(proxy: FaultProxy, storage: Target, credential: TokenCredential) -> None:
    with queue_service(proxy.behind(storage), credential) as service:
        queue = AzureQueue(service.get_queue_client(names.JOBS_QUEUE))
        queue.send("text")
        message = queue.receive(30)
        assert message is not None
        queue.delete(queue.renew(message.receipt, 30))
    assert {operation for operation, _ in proxy.counts} == {"send", "receive", "update", "delete"}
    assert Request("PUT", "/a/checkpoints/s/j/state-000-ab-1", 1).operation == "put state"
    assert Request("PUT", "/a/checkpoints/s/j/rows-000-001-ab", 1).operation == "put rows"
