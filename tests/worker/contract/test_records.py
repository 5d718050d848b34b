"""What every blob store must do; the one in memory passes the same tests as the real one."""

import threading
from typing import Any

import pytest
from azure.core.credentials import TokenCredential
from azure.core.pipeline.transport import RequestsTransport

from tests.worker.contract.conftest import Stores
from worker.contract.azure import blob_service
from worker.contract.errors import ConditionFailed
from worker.contract.names import CHECKPOINTS, CONTROL, SWEEPS
from worker.contract.records import Absent, AzureBlobs, Unchanged
from worker.contract.settings import Target


@pytest.mark.parametrize("body", [b"", b"content", bytes(range(256)) * 40_000])
def test_a_blob_comes_back_as_it_was_written(stores: Stores, body: bytes) -> None:
    beats: list[int] = []
    etag = stores.blobs.put(SWEEPS, "a/b", body, metadata={"status": "running", "reason": "a (b): c, d; 1=2"})
    found = stores.blobs.get(SWEEPS, "a/b", lambda: beats.append(1))
    assert found is not None
    assert (found.body, found.etag) == (body, etag)
    assert found.metadata == {"status": "running", "reason": "a (b): c, d; 1=2"}
    assert 0 <= found.age_s < 60
    assert beats or not body


def test_what_is_not_there_is_none(stores: Stores) -> None:
    assert stores.blobs.get(SWEEPS, "a/b") is None


def test_a_write_replaces_body_and_metadata(stores: Stores) -> None:
    first = stores.blobs.put(SWEEPS, "a", b"1", metadata={"x": "1"})
    second = stores.blobs.put(SWEEPS, "a", b"2")
    found = stores.blobs.get(SWEEPS, "a")
    assert found is not None
    assert (found.body, dict(found.metadata), found.etag) == (b"2", {}, second)
    assert first != second


def test_absent_writes_only_where_there_is_nothing(stores: Stores) -> None:
    stores.blobs.put(SWEEPS, "a", b"1", Absent())
    with pytest.raises(ConditionFailed):
        stores.blobs.put(SWEEPS, "a", b"2", Absent())
    found = stores.blobs.get(SWEEPS, "a")
    assert found is not None
    assert found.body == b"1"


def test_unchanged_writes_only_over_what_was_seen(stores: Stores) -> None:
    first = stores.blobs.put(SWEEPS, "a", b"1")
    second = stores.blobs.put(SWEEPS, "a", b"2", Unchanged(first))
    with pytest.raises(ConditionFailed):
        stores.blobs.put(SWEEPS, "a", b"3", Unchanged(first))
    found = stores.blobs.get(SWEEPS, "a")
    assert found is not None
    assert (found.body, found.etag) == (b"2", second)


def test_an_equal_write_changes_the_etag_too(stores: Stores) -> None:
    first = stores.blobs.put(SWEEPS, "a", b"1")
    assert stores.blobs.put(SWEEPS, "a", b"1", Unchanged(first)) != first


def test_unchanged_does_not_write_where_there_is_nothing(stores: Stores) -> None:
    etag = stores.blobs.put(SWEEPS, "a", b"1")
    stores.blobs.delete(SWEEPS, "a")
    with pytest.raises(ConditionFailed):
        stores.blobs.put(SWEEPS, "a", b"2", Unchanged(etag))
    assert stores.blobs.get(SWEEPS, "a") is None


def test_a_delete_is_done_once_and_no_error_again(stores: Stores) -> None:
    etag = stores.blobs.put(SWEEPS, "a", b"1")
    stores.blobs.delete(SWEEPS, "a", Unchanged(etag))
    assert stores.blobs.get(SWEEPS, "a") is None
    stores.blobs.delete(SWEEPS, "a")
    stores.blobs.delete(SWEEPS, "a", Unchanged(etag))


def test_a_delete_spares_what_has_changed(stores: Stores) -> None:
    etag = stores.blobs.put(SWEEPS, "a", b"1")
    stores.blobs.put(SWEEPS, "a", b"2")
    with pytest.raises(ConditionFailed):
        stores.blobs.delete(SWEEPS, "a", Unchanged(etag))
    assert stores.blobs.get(SWEEPS, "a") is not None


def test_a_listing_shows_names_in_order_with_etag_length_and_metadata(stores: Stores) -> None:
    etags = {
        name: stores.blobs.put(SWEEPS, name, name.encode(), metadata={"name": name})
        for name in ("s/b", "s/a", "s-2/a", "s/c/d", "r/a")
    }
    listed = list(stores.blobs.list(SWEEPS, "s/"))
    assert [blob.name for blob in listed] == ["s/a", "s/b", "s/c/d"]
    for blob in listed:
        assert (blob.etag, blob.length, blob.metadata) == (etags[blob.name], len(blob.name), {"name": blob.name})
        assert 0 <= blob.age_s < 60
    assert list(stores.blobs.list(CHECKPOINTS, "s/")) == []


def test_a_listings_etag_is_good_for_a_condition(stores: Stores) -> None:
    stores.blobs.put(SWEEPS, "s/a", b"1")
    (listed,) = stores.blobs.list(SWEEPS, "s/")
    stores.blobs.delete(SWEEPS, "s/a", Unchanged(listed.etag))
    assert list(stores.blobs.list(SWEEPS, "s/")) == []


def test_folders_are_the_first_parts_of_names(stores: Stores) -> None:
    for name in ("b/plan.json", "a/plan.json", "a/manifests/1", "a-2/plan.json", "top"):
        stores.blobs.put(SWEEPS, name, b"x")
    assert list(stores.blobs.folders(SWEEPS)) == ["a-2", "a", "b"] or list(stores.blobs.folders(SWEEPS)) == [
        "a",
        "a-2",
        "b",
    ]
    assert list(stores.blobs.folders(CONTROL)) == []


def test_of_many_conditional_writes_over_the_same_state_one_succeeds(stores: Stores) -> None:
    etag = stores.blobs.put(SWEEPS, "a", b"")
    won: list[int] = []
    barrier = threading.Barrier(4)

    def write(number: int) -> None:
        barrier.wait(60)
        try:
            stores.blobs.put(SWEEPS, "a", str(number).encode(), Unchanged(etag))
        except ConditionFailed:
            return
        won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = stores.blobs.get(SWEEPS, "a")
    assert found is not None
    assert [found.body] == [str(number).encode() for number in won]


def test_a_browser_is_told_what_a_blob_is(storage: Target, credential: TokenCredential) -> None:
    with blob_service(storage, credential) as blobs:
        for name in ("report.html", "plan.json", "manifest"):
            AzureBlobs(blobs).put(SWEEPS, name, b"{}")
        types = [
            blobs.get_blob_client(SWEEPS, name).get_blob_properties().content_settings.content_type
            for name in ("report.html", "plan.json", "manifest")
        ]
    assert types == ["text/html", "application/json", "application/octet-stream"]


def test_a_large_body_gets_the_time_that_a_slow_uplink_needs(
    storage: Target, credential: TokenCredential, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[int, float, float]] = []
    send = RequestsTransport.send

    def spied(self: RequestsTransport, request: Any, **options: Any) -> Any:
        if request.method == "PUT":
            length = int(request.headers["Content-Length"])
            sent.append((length, options["connection_timeout"], options["read_timeout"]))
        return send(self, request, **options)

    monkeypatch.setattr(RequestsTransport, "send", spied)
    with blob_service(storage, credential) as blobs:
        for length in (100, 10_000_000):
            AzureBlobs(blobs).put(SWEEPS, f"{length}", bytes(length))
    assert sent == [(100, 3, 10), (10_000_000, 50, 50)]
