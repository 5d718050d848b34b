"""Claims about the proof of a deployment: one VM, one tiny job, and zero; a failure is said and leaves nothing."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from producer.fleet.look import Instance, Look, ScaleSetState
from producer.fleet.memory import Memory
from producer.fleet.reconcile import Standing
from producer.fleet.scaler import TickReport
from producer.session import Session
from producer.target.prove import Patience, Proof, ProofFailed, Proven, tiny_plan
from tests.fakes.producing import Storage
from tests.fakes.sweeps import running
from worker.contract import names
from worker.contract.control import SlotReport, read_hold
from worker.contract.errors import InputError
from worker.contract.manifest import Manifest, Outcome
from worker.contract.plan import Plan

PATIENCE = Patience(heartbeat_s=600.0, job_s=600.0, zero_s=600.0)
VM = Instance("set_1")


@dataclass
class Fleet:
    """A fleet that goes on by one step with every tick; a tick takes what the proof waits."""

    session: Session
    ticks: list[Callable[["Fleet"], TickReport]]
    said: list[str] = field(default_factory=list)

    def prove(self) -> Proven:
        return Proof(self.session, self.tick, PATIENCE, self.said.append).run()

    def tick(self, memory: Memory) -> TickReport:
        """Carry out the next step of the script, the last one again and again."""
        step = self.ticks.pop(0) if len(self.ticks) > 1 else self.ticks[0]
        return replace(step(self), memory=memory, pause_s=30.0)

    @property
    def plan(self) -> Plan:
        return tiny_plan(self.session.runtime.utc())

    def write(self, manifest: Manifest) -> None:
        name = names.manifest(self.plan.sweep, self.plan.jobs[0].id)
        self.session.blobs.put(names.SWEEPS, name, manifest.canonical(), metadata=manifest.metadata())


def report(*instances: Instance, capacity: int = 1, **more: object) -> TickReport:
    look = Look(0.0, ScaleSetState(capacity, '"1"', instances), 0)
    known = TickReport(Memory(), look, Standing((), (), 0, 0))
    return replace(known, **more)  # type: ignore[arg-type] # a table


def booting(_: Fleet) -> TickReport:
    return report(replace(VM, provisioning="Creating"), changes=("Raised the capacity to 1.",))


def reports(fleet: Fleet) -> TickReport:
    fleet.session.control.report_slot(SlotReport(vm="set_1", slot=0, state="idle", boot_seconds=80.0))
    return report(VM)


def trains(fleet: Fleet) -> TickReport:
    slot = SlotReport(vm="set_1", slot=0, state="busy", boot_seconds=80.0, first_step_seconds=95.0)
    fleet.session.control.report_slot(slot)
    fleet.write(running(fleet.plan.job(fleet.plan.jobs[0]), 10))
    return report(VM)


def is_done(fleet: Fleet) -> TickReport:
    done = running(fleet.plan.job(fleet.plan.jobs[0]), 600).model_copy(update={"status": "done"})
    fleet.write(done)
    return report(VM)


def gone(_: Fleet) -> TickReport:
    return report(capacity=0)


@pytest.fixture
def storage() -> Storage:
    return Storage()


def test_it_says_how_long_a_vm_took_to_its_first_training_step_and_leaves_nothing(storage: Storage) -> None:
    fleet = Fleet(storage.session(), [booting, reports, trains, is_done, booting, gone])
    proven = fleet.prove()
    assert (proven.vm, proven.boot_to_first_receive_s, proven.boot_to_first_step_s) == ("set_1", 80.0, 95.0)
    assert any("95 s after boot" in line for line in fleet.said)
    assert "Raised the capacity to 1." in fleet.said
    assert not list(storage.blobs.list(names.SWEEPS, ""))
    assert storage.jobs.count() == 0


def test_a_fleet_at_work_needs_no_proof(storage: Storage) -> None:
    storage.jobs.send("a job")
    with pytest.raises(InputError, match="tranquility status"):
        Fleet(storage.session(), [gone]).prove()
    assert storage.jobs.count() == 1


def failed_boot(fleet: Fleet) -> TickReport:
    fleet.session.blobs.put(names.CONTROL, f"{names.FAILED_BOOTS}set_1", b"log")
    return report(capacity=0)


def fails(fleet: Fleet) -> TickReport:
    lost = running(fleet.plan.job(fleet.plan.jobs[0]), 10)
    fleet.write(lost.model_copy(update={"status": "failed", "outcome": Outcome(reason="diverged: NaN")}))
    return report(VM)


@pytest.mark.parametrize(
    ("ticks", "words"),
    [
        ([booting, lambda _: report(capacity=0, refused="QuotaExceeded: 0 cores")], "QuotaExceeded"),
        (
            [booting, lambda _: report(replace(VM, provisioning="Failed", problem="AllocationFailed"))],
            "AllocationFailed",
        ),
        ([lambda _: report(held="no job made a commit")], "no job made a commit"),
        ([booting], "a worker reports"),
        ([failed_boot], "control/failed-boots/set_1"),
        ([reports, lambda _: report(VM)], "its job is done"),
        ([reports, fails], "diverged: NaN"),
        ([reports, is_done, lambda _: report(VM)], "the set is at 0"),
        ([lambda _: report(denied=True, problem="AuthorizationFailed: write")], "AuthorizationFailed: write"),
    ],
)
def test_what_does_not_work_is_said_and_the_job_is_withdrawn(
    storage: Storage, ticks: list[Callable[[Fleet], TickReport]], words: str
) -> None:
    fleet = Fleet(storage.session(), list(ticks))
    with pytest.raises(ProofFailed) as caught:
        fleet.prove()
    assert words in str(caught.value)
    ended = is_done in ticks or fails in ticks
    assert ended or read_hold(storage.blobs, fleet.plan.sweep) is not None
    assert ended or storage.jobs.count() == 0


def test_a_role_that_takes_minutes_to_take_effect_is_waited_for(storage: Storage) -> None:
    denied = [lambda _: report(denied=True, problem="AuthorizationFailed")] * 15
    fleet = Fleet(storage.session(), [*denied, reports, is_done, gone])
    assert fleet.prove().vm == "set_1"


def test_ctrl_c_withdraws_the_job(storage: Storage) -> None:
    def interrupt(_: Fleet) -> TickReport:
        raise KeyboardInterrupt

    fleet = Fleet(storage.session(), [booting, interrupt])
    with pytest.raises(KeyboardInterrupt):
        fleet.prove()
    assert storage.jobs.count() == 0
