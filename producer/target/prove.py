"""Proves a deployment: one VM comes, trains a tiny job, and goes. At capacity 0 Azure says nothing of what is wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from producer.fleet.memory import Memory
from producer.fleet.scaler import TickReport, open_scaler
from producer.session import Session
from producer.sweep.audit import audit
from producer.sweep.document import parse_document
from producer.sweep.enqueue import enqueue
from producer.sweep.hold import cancel
from producer.sweep.lifecycle import delete
from producer.sweep.planning import make_plan
from producer.sweep.plans import read_manifest
from producer.sweep.sweep_file import parse_sweep_file
from worker.contract import names
from worker.contract.errors import InputError, TranquilityError
from worker.contract.manifest import Manifest
from worker.contract.plan import Plan
from worker.contract.settings import Durations

SWEEP: Final = """
name: {name}
env: Pendulum-v1
timesteps: 600
seeds: [0]
fixed: {{learning_starts: 100, batch_size: 64, policy_kwargs: {{net_arch: [32, 32]}}}}
evaluation: {{every: 300, episodes: 1, final_episodes: 2}}
"""

Say = Callable[[str], None]


class ProofFailed(TranquilityError):
    """The deployment does not work yet."""


@dataclass(frozen=True)
class Patience:
    """How long each part may take."""

    heartbeat_s: float
    """From the raise to a worker's first report: the VM's own dead man's switch ends it at 30 minutes."""
    job_s: float
    zero_s: float
    """From the job's end to a set at 0, by the ordinary drain."""

    @classmethod
    def of(cls, durations: Durations) -> "Patience":
        """Return what a fleet of this pace may take."""
        return cls(1.2 * durations.boot_grace_s, durations.boot_grace_s, durations.boot_grace_s)


@dataclass(frozen=True)
class Proven:
    """What was seen to work."""

    vm: str
    boot_to_first_receive_s: float
    boot_to_first_step_s: float
    """From the VM's boot to the first training step."""
    total_s: float
    """From the raise to a set at 0 again."""


@dataclass(frozen=True)
class _Seen:
    """What the proof has seen so far."""

    vm: str = ""
    first_receive_s: float = 0.0
    first_step_s: float = 0.0
    status: str = ""


class Proof:
    """One proof. It ticks as `scale` does, and looks between the ticks."""

    def __init__(self, session: Session, tick: Callable[[Memory], TickReport], patience: Patience, say: Say) -> None:
        self._session, self._tick, self._patience, self._say = session, tick, patience, say
        self._memory = Memory()
        self._seen = _Seen()
        self._never = session.runtime.event()

    def run(self) -> Proven:
        """Prove it, and leave nothing behind. Raises InputError where jobs wait already, and ProofFailed."""
        session = self._session
        if session.jobs.count():
            raise InputError("Jobs are in the queue: what they do is the proof (tranquility status).")
        plan = tiny_plan(session.runtime.utc())
        began_s = session.runtime.monotonic()
        enqueue(session, plan, confirm=lambda _question: True)
        try:
            self._until(plan, "a worker reports", self._patience.heartbeat_s, lambda _: bool(self._seen.vm))
            self._say(f"A worker of {self._seen.vm} reports, {self._seen.first_receive_s:.0f} s after its VM's boot.")
            self._until(plan, "its job is done", self._patience.job_s, lambda _: self._seen.status == "done")
            self._say(f"Its job is published; the first training step came {self._seen.first_step_s:.0f} s after boot.")
            self._until(plan, "the set is at 0", self._patience.zero_s, _at_zero)
        except BaseException:
            if self._seen.status != "done":
                cancel(session, plan.sweep, reason="the proof of the deployment ended early")
            raise
        delete(session, plan.sweep)
        return Proven(
            vm=self._seen.vm,
            boot_to_first_receive_s=self._seen.first_receive_s,
            boot_to_first_step_s=self._seen.first_step_s,
            total_s=session.runtime.monotonic() - began_s,
        )

    def _until(self, plan: Plan, what: str, patience_s: float, holds: Callable[[TickReport], bool]) -> None:
        runtime = self._session.runtime
        self._say(f"Waiting until {what} (at most {patience_s / 60:.0f} min)")
        ends_s = runtime.monotonic() + patience_s
        while True:
            report = self._tick(self._memory)
            self._memory = report.memory
            for change in report.changes:
                self._say(change)
            self._look(plan)
            if holds(report):
                return
            self._check(report, what, late=runtime.monotonic() >= ends_s)
            runtime.wait(self._never, min(report.pause_s, self._session.durations.tick_s))

    def _look(self, plan: Plan) -> None:
        for slot in self._session.control.slots():
            report = slot.report
            known = not self._seen.vm or report.vm == self._seen.vm
            if known and report.state != "starting" and slot.age_s <= self._session.durations.dead_after_s:
                first_step_s = self._seen.first_step_s or report.first_step_seconds
                self._seen = replace(
                    self._seen, vm=report.vm, first_receive_s=report.boot_seconds, first_step_s=first_step_s
                )
        found = read_manifest(self._session, plan.sweep, plan.jobs[0].id)
        if found is not None:
            self._seen = replace(self._seen, status=found.manifest.status)
            if found.manifest.terminal and found.manifest.status != "done":
                raise ProofFailed(f"The job ended as {found.manifest.status}: {_reason(found.manifest)}")

    def _check(self, report: TickReport, what: str, *, late: bool) -> None:
        """Raise ProofFailed where waiting on makes no sense."""
        if report.refused or report.held:
            raise ProofFailed(report.refused or report.held)
        instances = report.look.state.instances if report.look else ()
        broken = [instance for instance in instances if instance.provisioning == "Failed"]
        if broken:
            raise ProofFailed(f"{broken[0].name} is Failed: {broken[0].problem or 'Azure does not say why'}")
        boots = [blob.name for blob in self._session.blobs.list(names.CONTROL, names.FAILED_BOOTS)]
        if boots and not self._seen.vm and late:
            raise ProofFailed(f"The VM did not become a worker; its log is the blob {names.CONTROL}/{boots[-1]}.")
        if late:  # a new role takes up to ten minutes to take effect, so that a denial is no answer before
            because = f" {report.problem}" if report.problem else ""
            raise ProofFailed(f"It was not so in time that {what}.{because} tranquility doctor says what is wrong.")


def prove(session: Session, say: Say, patience: Patience | None = None) -> Proven:
    """Raise to one VM, wait for its heartbeat and one published tiny job, and go back to 0."""
    return Proof(session, open_scaler(session, audit).tick, patience or Patience.of(session.durations), say).run()


def tiny_plan(utc: str) -> Plan:
    """Return the plan of a sweep of one small job, named after a moment (ISO 8601)."""
    name = "prove-" + "".join(character for character in utc[:19] if character.isdigit())
    document = parse_document("prove.yaml", SWEEP.format(name=name).encode())
    return make_plan(parse_sweep_file(document), document).plan


def _at_zero(report: TickReport) -> bool:
    state = report.look.state if report.look else None
    return state is not None and not state.capacity and not state.instances


def _reason(manifest: Manifest) -> str:
    return manifest.outcome.reason or (manifest.attempts[-1].reason if manifest.attempts else "no reason is known")
