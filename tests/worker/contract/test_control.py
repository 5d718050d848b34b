"""The blobs by which VMs and producers talk, in memory and on Azurite."""

from collections.abc import Iterator

import pytest
from azure.core.credentials import TokenCredential

from tests.fakes.storage import MemoryBlobs
from worker.contract import names
from worker.contract.azure import blob_service
from worker.contract.control import Control, FleetHold, SlotReport
from worker.contract.records import AzureBlobs, BlobStore
from worker.contract.settings import Target


@pytest.fixture(params=["in memory", "azurite"])
def blobs(request: pytest.FixtureRequest, credential: TokenCredential) -> Iterator[BlobStore]:
    if request.param == "in memory":
        yield MemoryBlobs(lambda: 0.0)
        return
    target: Target = request.getfixturevalue("storage")
    with blob_service(target, credential) as service:
        yield AzureBlobs(service)


def test_flags_stand_until_they_are_lowered_and_keep_their_first_reason(blobs: BlobStore) -> None:
    control = Control(blobs)
    control.raise_flag("drain", "vm_1", "first")
    control.raise_flag("drain", "vm_1", "second")
    control.raise_flag("retire", "vm_2", "idle")
    assert [vm for vm, _ in control.flagged("drain")] == ["vm_1"]
    assert control.flags("vm_1").drain
    assert control.flags("vm_2").retire
    found = blobs.get(names.CONTROL, names.drain("vm_1"))
    assert found is not None
    assert found.body == b"first"
    control.lower_flag("retire", "vm_2")
    control.lower_flag("retire", "vm_2")
    assert not control.flags("vm_2").retire


def test_the_first_hold_of_the_fleet_stands_until_someone_resumes(blobs: BlobStore) -> None:
    control = Control(blobs)
    assert control.fleet_hold() is None
    control.hold_fleet(FleetHold(reason="first", since="then"))
    control.hold_fleet(FleetHold(reason="second", since="now"))
    assert control.fleet_hold() == FleetHold(reason="first", since="then")
    control.resume_fleet()
    control.resume_fleet()
    assert control.fleet_hold() is None


def test_a_hold_that_cannot_be_read_is_a_hold(blobs: BlobStore) -> None:
    blobs.put(names.CONTROL, names.FLEET_HOLD, b'{"until": "tomorrow"}')
    assert Control(blobs).fleet_hold() is not None


def test_the_last_refusal_is_kept_until_a_vm_comes(blobs: BlobStore) -> None:
    control = Control(blobs)
    control.refused("409 QuotaExceeded")
    control.refused("409 SkuNotAvailable: größer")
    refusal = control.refusal()
    assert refusal is not None
    assert refusal.message == "409 SkuNotAvailable: größer"
    control.granted()
    control.granted()
    assert control.refusal() is None


def test_reports_are_listed_with_their_etag_and_forgotten_by_vm(blobs: BlobStore) -> None:
    control = Control(blobs)
    for vm in ("vm_1", "vm_10"):
        for slot in (0, 1):
            control.report_slot(SlotReport(vm=vm, slot=slot, state="idle", idle_s=3.5))
    before = {(seen.report.vm, seen.report.slot): seen.etag for seen in control.slots()}
    assert len(before) == 4
    control.report_slot(SlotReport(vm="vm_1", slot=0, state="busy"))
    after = {(seen.report.vm, seen.report.slot): seen.etag for seen in control.slots("vm_1")}
    assert after[("vm_1", 0)] != before[("vm_1", 0)]
    assert after[("vm_1", 1)] == before[("vm_1", 1)]
    control.forget_slots("vm_1")
    assert {seen.report.vm for seen in control.slots()} == {"vm_10"}


def test_a_report_of_a_newer_release_is_of_a_busy_slot_that_answers_nothing(blobs: BlobStore) -> None:
    newer = '{"vm": "vm_1", "slot": 2, "state": "dreaming", "answers": "drain"}'
    blobs.put(names.CONTROL, names.slot("vm_1", 2), newer.encode(), metadata={"report": newer})
    blobs.put(names.CONTROL, names.SLOTS + "vm_1/notes", b"not a slot")
    (seen,) = Control(blobs).slots()
    assert (seen.report.vm, seen.report.slot, seen.report.state, seen.report.answers) == ("vm_1", 2, "busy", None)
    assert seen.etag


def test_the_age_of_a_commit_is_the_services_own(blobs: BlobStore) -> None:
    control = Control(blobs)
    assert control.commit_age_s() is None
    control.committed("vm_1/0")
    age_s = control.commit_age_s()
    assert age_s is not None
    assert 0 <= age_s < 60
