"""Claims about doctor, against a fleet on this machine in which each trouble is really made."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from typer.testing import CliRunner

from producer.emulator.arm import ArmSettings
from producer.emulator.deployment import deployed
from producer.emulator.faults import Allocation, RequestFault
from producer.emulator.fleet import FleetSettings, LocalFleet
from producer.emulator.states import Kind, Latencies, Provisioning
from producer.emulator.units import InstanceSpec, Process
from producer.program import app
from producer.session import Session, open_session
from producer.sweep.enqueue import enqueue
from producer.target.committed import committed_snapshot
from producer.target.doctor import examine, open_sweeps
from producer.target.findings import DAY_S, Finding, diagnose
from producer.target.permissions import OPERATIONS
from producer.target.release import POINTER, Pointer
from producer.target.tried import COVERED, attempts
from tests.fakes.producing import Storage, plan_of
from tests.fakes.sweeps import running
from tests.producer.emulator.test_fleet import IDLE
from worker.contract import names
from worker.contract.control import SlotReport
from worker.contract.errors import AccessDenied, NotSignedIn, StorageUnavailable
from worker.contract.runtime import RealRuntime
from worker.contract.settings import Target
from worker.contract.through import BlobsThrough, QueueThrough

PATIENCE_S = 120.0
QUICK = FleetSettings(
    Latencies(boot_s=0.05, delete_s=0.05, notice_s=2.0), ArmSettings(throttle_speed=1000), time_scale=0.0005
)
ALL_HAD_THEIR_TIME = {"boot_grace_s": -1.0, "dead_after_s": -1.0}
"""Ages are counted in whole seconds, from 0."""
T = TypeVar("T")


@pytest.fixture(scope="module")
def running_fleet(azurite_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """Return a fleet as deployed, with its wake, whose VMs do nothing."""
    folder = tmp_path_factory.mktemp("doctor")
    spec = InstanceSpec((Process("p", IDLE, {}),))
    with LocalFleet(azurite_home, folder, deployed(committed_snapshot(), 4, 1), lambda _: spec, QUICK) as fleet:
        yield fleet


@pytest.fixture
def fleet(running_fleet: LocalFleet, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalFleet]:
    """Return the fleet, empty, and nothing wrong with it but that its wake, which would mend things, is disabled."""
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", "")  # `credential` sets it: put it back afterwards
    quiet(running_fleet)
    yield running_fleet
    quiet(running_fleet)
    running_fleet.faults.deletions_leave = frozenset()
    running_fleet.faults.quota = None
    running_fleet.model.set_capacity(0)
    until(running_fleet, lambda: not running_fleet.model.vms())
    running_fleet.model._orphans.clear()


@pytest.fixture
def target_file(fleet: LocalFleet, tmp_path: Path) -> Path:
    """Return the file that a person's commands would find."""
    file = tmp_path / "target.json"
    file.write_bytes(fleet.operator_target.canonical())
    return file


@pytest.fixture
def session(target_file: Path) -> Iterator[Session]:
    """Return a person's session; its storage is emptied afterwards."""
    opened = open_session(target_file)
    yield opened
    for container in names.CONTAINERS:
        for blob in list(opened.blobs.list(container, "")):
            opened.blobs.delete(container, blob.name)
    for queue in (opened.jobs, opened.poison):
        while message := queue.receive(1):
            queue.delete(message.receipt)


def until(fleet: LocalFleet, holds: Callable[[], T]) -> T:
    """Wait until something holds, and return it."""
    runtime = RealRuntime()
    never, ends_s = runtime.event(), runtime.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert runtime.monotonic() < ends_s
        runtime.wait(never, 0.02)
    return found


def quiet(fleet: LocalFleet) -> None:
    """Disable the wake, and wait for the end of a run that goes on."""
    fleet.faults.wake_disabled = True
    until(fleet, lambda: fleet._wake_history.began is None)


def names_of(fleet: LocalFleet, state: Provisioning = Provisioning.SUCCEEDED) -> list[str]:
    """Return the VMs in this state."""
    return [vm.name for vm in fleet.model.vms() if vm.provisioning is state]


def raise_to(fleet: LocalFleet, capacity: int) -> list[str]:
    """Have as many running VMs; return their names."""
    fleet.model.set_capacity(capacity)
    until(fleet, lambda: len(names_of(fleet)) == capacity)
    return names_of(fleet)


def found_in(session: Session, **durations: float) -> list[Finding]:
    """Return what doctor finds, apart from the wake that these tests disable."""
    session = replace(session, durations=session.durations.model_copy(update=durations))
    found = diagnose(examine(session), session.target, session.durations)
    return [finding for finding in found if finding.subject != "wake.disabled"]


def subjects(found: list[Finding]) -> list[str]:
    return [finding.subject for finding in found]


def content(session: Session) -> list[tuple[str, str]]:
    """Return all blobs with their ETags."""
    return [(blob.name, blob.etag) for container in names.CONTAINERS for blob in session.blobs.list(container, "")]


def test_a_healthy_fleet_is_well_and_looking_changes_nothing(
    fleet: LocalFleet, session: Session, target_file: Path
) -> None:
    fleet.faults.wake_disabled = False
    until(fleet, lambda: len(fleet._wake_history.runs) and fleet._wake_history.runs[-1].status == "Succeeded")
    before = (content(session), fleet.model.snapshot(), session.jobs.count(), session.poison.count())
    told = CliRunner().invoke(app, ["doctor", "--json", "--target", str(target_file)])
    assert json.loads(told.stdout) == {"well": True, "findings": []}
    assert told.exit_code == 0
    after = (content(session), fleet.model.snapshot(), session.jobs.count(), session.poison.count())
    assert after == before


def test_every_operation_of_an_operator_is_tried_or_stands_in_for_another(session: Session) -> None:
    tried = set(attempts(session))
    needed = {one.call for one in OPERATIONS if one.principal == "operator"}
    covered = {call for call in needed if call.rpartition(": ")[2] in COVERED}
    assert tried == needed - covered
    for call in covered:
        head, colon, name = call.rpartition(": ")
        assert f"{head}{colon}{COVERED[name]}" in tried


def test_instances_that_failed_that_stopped_and_that_are_silent_are_named(fleet: LocalFleet, session: Session) -> None:
    stopped, silent, busy = raise_to(fleet, 3)
    fleet.faults.allocate(Allocation.FAILS)
    fleet.model.set_capacity(4)
    (failed,) = until(fleet, lambda: names_of(fleet, Provisioning.FAILED))
    fleet.model.power_off(stopped)
    session.control.report_slot(SlotReport(vm=busy, slot=0, state="busy"))
    assert sorted(subjects(found_in(session))) == ["set.failed", "set.stopped"]  # the silent one may still be booting
    found = {finding.subject: finding.what for finding in found_in(session, boot_grace_s=-1.0)}
    assert sorted(found) == ["set.failed", "set.silent", "set.stopped"]
    assert failed in found["set.failed"]
    assert "sufficient capacity" in found["set.failed"]  # Azure's own words
    assert stopped in found["set.stopped"]
    assert silent in found["set.silent"]


def test_what_deleted_vms_left_behind_is_named_with_the_command_that_removes_it(
    fleet: LocalFleet, session: Session
) -> None:
    gone, _ = raise_to(fleet, 2)  # of the other one everything is attached
    fleet.faults.deletions_leave = frozenset(Kind)
    fleet.model.delete_instances([gone])
    until(fleet, lambda: len(fleet.model.vms()) == 1)
    found = found_in(session)
    assert sorted(subjects(found)) == ["orphan.address", "orphan.disk", "orphan.interface"]
    assert {finding.todo.partition(" delete")[0] for finding in found} == {
        "az disk",
        "az network nic",
        "az network public-ip",
    }


def test_poison_a_failed_boot_and_a_pointer_to_no_release_are_found_and_fail_the_check(
    fleet: LocalFleet, session: Session, target_file: Path
) -> None:
    session.poison.send("not a job")
    session.blobs.put(names.CONTROL, f"{names.FAILED_BOOTS}tranq-set_1", b"log")
    session.blobs.put(names.RELEASES, POINTER, Pointer(release="ab" * 32).canonical())
    told = CliRunner().invoke(app, ["doctor", "--target", str(target_file)])
    assert told.exit_code == 1
    for words in ("1 message in the poison queue", "tranq-set_1 never became a worker", "publish again"):
        assert words in told.stdout
    assert "4 things are wrong" in told.stdout  # and the wake, which is disabled


def test_a_sweep_without_messages_and_a_lease_without_a_worker_are_found(fleet: LocalFleet, session: Session) -> None:
    plan = plan_of()
    enqueue(session, plan, confirm=lambda _: True)
    session.control.pulse("somebody raises")
    while message := session.jobs.receive(60):
        session.jobs.delete(message.receipt)
    manifest = running(plan.job(plan.jobs[0]), 100)
    session.blobs.put(
        names.SWEEPS,
        names.manifest(plan.sweep, plan.jobs[0].id),
        manifest.canonical(),
        metadata=manifest.metadata(),
    )
    (found,) = found_in(session)
    assert found.subject == "jobs.messages"
    assert "5 jobs of s without a message" in found.what
    both = found_in(session, **ALL_HAD_THEIR_TIME)
    assert sorted(subjects(both)) == ["jobs.leases", "jobs.messages"]
    assert any("vm-1/0" in finding.what for finding in both)


def test_a_wake_that_is_disabled_and_one_whose_runs_fail_are_found(fleet: LocalFleet, session: Session) -> None:
    assert [one.subject for one in diagnose(examine(session), session.target, session.durations)] == ["wake.disabled"]
    session.jobs.send("something to raise for")
    fleet.faults.quota = 0
    runs = fleet._wake_history.runs
    runs.clear()
    fleet.faults.wake_disabled = False
    until(fleet, lambda: len(runs) >= 2)
    found = {finding.subject: finding for finding in diagnose(examine(session), session.target, session.durations)}
    assert (found["wake.failed"].level, "NotRaised" in found["wake.failed"].what) == ("wrong", True)
    assert "0 of 0 cores" in found["quota"].what


@pytest.mark.parametrize(("status", "code", "wrong"), [(404, "NotFound", False), (500, "InternalError", True)])
def test_whichever_answer_azure_has_for_an_absent_name_the_right_to_delete_is_there(
    fleet: LocalFleet, session: Session, status: int, code: str, wrong: bool
) -> None:
    fleet.faults.answer(RequestFault(status, code, method="POST", path="virtualMachineScaleSets/.*/delete$"))
    found = subjects(found_in(session))
    assert found == (["reach.virtual_machine_scale_sets.begin_delete_instances"] if wrong else [])


def test_a_missing_right_is_named_with_its_action_and_scope(fleet: LocalFleet, session: Session) -> None:
    fleet.faults.answer(RequestFault(403, "AuthorizationFailed", method="PATCH", path="virtualMachineScaleSets"))

    def carry(request: Callable[[], T]) -> T:
        raise AccessDenied("403 AuthorizationPermissionMismatch")

    denied = BlobsThrough(session.blobs, carry)
    found = diagnose(examine(replace(session, blobs=denied)), session.target, session.durations)
    said = {finding.subject: finding.what for finding in found}
    assert (
        "virtualMachineScaleSets/write on the resource group" in said["roles.virtual_machine_scale_sets.begin_update"]
    )
    assert (
        "blobs/write on Microsoft.Storage/storageAccounts/*/blobServices/default/containers/releases"
        in said["roles.releases: upload_blob"]
    )
    assert not [subject for subject in said if subject.startswith("reach.")]


def test_where_nobody_is_signed_in_that_alone_is_said(fleet: LocalFleet, session: Session) -> None:
    def carry(request: Callable[[], T]) -> T:
        raise NotSignedIn("It says: Please run 'az login' to set up an account")

    with pytest.raises(NotSignedIn, match="sign in with `az login`"):
        examine(replace(session, jobs=QueueThrough(session.jobs, carry)))


def test_storage_that_does_not_answer_is_said_and_the_rest_is_looked_at(fleet: LocalFleet, session: Session) -> None:
    (name,) = raise_to(fleet, 1)
    fleet.model.power_off(name)

    def carry(request: Callable[[], T]) -> T:
        raise StorageUnavailable("no route to host")

    found = found_in(replace(session, blobs=BlobsThrough(session.blobs, carry)))
    assert {"reach.control", "reach.sweeps", "reach.releases", "set.stopped"} <= set(subjects(found))


def test_the_age_of_a_live_checkpoint_is_seen_and_that_of_an_ended_job_is_not() -> None:
    storage, plan = Storage(), plan_of()
    session = storage.session()
    enqueue(session, plan, confirm=lambda _: True)
    live, ended = plan.jobs[0], plan.jobs[1]
    for planned, status in ((live, "running"), (ended, "done")):
        manifest = running(plan.job(planned), 100).model_copy(update={"status": status})
        metadata = manifest.metadata()
        name = names.manifest(plan.sweep, planned.id)
        session.blobs.put(names.SWEEPS, name, manifest.canonical(), metadata=metadata)
    session.blobs.put(names.CHECKPOINTS, f"{names.checkpoint(plan.sweep, ended.id)}rows", b"old")
    storage.now_s += 5 * DAY_S
    session.blobs.put(names.CHECKPOINTS, f"{names.checkpoint(plan.sweep, live.id)}rows", b"live")
    storage.now_s += 50 * DAY_S
    (young,) = open_sweeps(session)
    assert young.oldest_checkpoint_s == 0.0  # of a sweep of 55 days nothing is near 90
    storage.now_s += 20 * DAY_S
    (seen,) = open_sweeps(session)
    assert seen.oldest_checkpoint_s == 70 * DAY_S
    assert Target.model_fields["checkpoint_retention_days"].default == 90
