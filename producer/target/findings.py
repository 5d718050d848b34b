"""What is wrong with a target, and what to do about it: pure, over what doctor saw."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from producer.target.permissions import OPERATIONS
from producer.target.symptoms import Reading, SeenVm, SilentJob, Symptoms
from producer.words import duration, plural
from worker.contract import names
from worker.contract.settings import Durations, Target

NEAR: Final = 0.75
"""Of the days after which a checkpoint is deleted."""
DAY_S: Final = 86_400.0
RUNS_MISSED: Final = 3
LEAST_MISSED_S: Final = 60.0
"""A fleet on this machine shrinks the pause between two runs, and not the time that a run takes."""
SHOWN: Final = 3
PUBLISH: Final = "tranquility release publish"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a person should know."""

    subject: str
    """Stable, for programs: `queue.poison`, `set.failed` …"""
    what: str
    todo: str
    level: Literal["wrong", "note"] = "wrong"
    """A note asks for nothing, and does not fail the check."""


@dataclass(frozen=True)
class Judge:
    """Judges symptoms by a target's settings."""

    symptoms: Symptoms
    target: Target
    durations: Durations

    def findings(self) -> tuple[Finding, ...]:
        """Return everything that is wrong, and then the notes."""
        questions: tuple[Callable[[], Iterator[Finding]], ...] = (
            *(self._unread, self._rights, self._poison, self._held, self._halted, self._silent, self._failed_boots),
            *(self._unanswered, self._quota, self._leases, self._without_messages, self._checkpoints),
            *(self._release, self._orphans, self._wake),
        )
        found = [finding for question in questions for finding in question()]
        return tuple(sorted(found, key=lambda finding: finding.level == "note"))

    @property
    def ran(self) -> bool:
        """Return whether a slot of the fleet lives."""
        control = self.symptoms.control.value
        return control is not None and any(slot.age_s <= self.durations.dead_after_s for slot in control.slots)

    # ---- reachability and rights -----------------------------------------------------------------------------------

    def _unread(self) -> Iterator[Finding]:
        readings: dict[str, Reading[object]] = {
            "queues": self.symptoms.queues,
            "control": self.symptoms.control,
            "sweeps": self.symptoms.sweeps,
            "releases": self.symptoms.release,
            "set": self.symptoms.set,
            "parts": self.symptoms.orphans,
            "wake": self.symptoms.wake,
            "quota": self.symptoms.quota,
        }
        for subject, reading in readings.items():
            if not reading.problem:
                continue
            if subject == "quota" or (subject == "wake" and reading.denied):
                # Not a right that the template can give, or gives without custom roles.
                yield Finding(
                    f"reach.{subject}",
                    f"The {subject} could not be looked at: {reading.problem}",
                    "Whoever deployed it can.",
                    "note",
                )
            elif not reading.denied:  # a missing right is named by the operation that lacks it
                yield Finding(f"reach.{subject}", f"The {subject} cannot be read: {reading.problem}", self._reach())

    def _reach(self) -> str:
        if self.target.kind == "local":
            return "Is the fleet up? tranquility local up"
        return (
            "Is there a network, is somebody signed in (az login), and does a firewall let this address in "
            "(deploy --operator-address)?"
        )

    def _rights(self) -> Iterator[Finding]:
        needs = {one.call: one.need for one in OPERATIONS if one.principal == "operator"}
        denied = [one for one in self.symptoms.tried if one.denied]
        for one in denied:
            if one.call.startswith("GET workflows"):
                continue  # said with the wake: built-in roles do not give it
            yield Finding(
                f"roles.{one.call}",
                f"You may not do {one.call}: {needs[one.call]} is missing.",
                "Ask whoever deployed to add you: tranquility deploy --operator OBJECT_ID. A new role takes up to 10 "
                "minutes.",
            )
        for one in self.symptoms.tried:
            if one.problem and not one.denied:
                yield Finding(f"reach.{one.call}", f"{one.call} did not work: {one.problem}", self._reach())

    # ---- queues and holds ------------------------------------------------------------------------------------------

    def _poison(self) -> Iterator[Finding]:
        queues = self.symptoms.queues.value
        if queues is not None and queues.poison:
            account = self.target.queue_endpoint.partition("//")[2].partition(".")[0]
            look = f"az storage message peek --num-messages 32 --queue-name {names.POISON_QUEUE} --auth-mode login"
            yield Finding(
                "queue.poison",
                f"{plural(queues.poison, 'message')} in the poison queue.",
                "Poisoned jobs are in `status` with their reason, and `retry` sends them again. To read the messages: "
                f"{look} --account-name {account}; the same with `clear` empties the queue.",
            )

    def _held(self) -> Iterator[Finding]:
        control = self.symptoms.control.value
        if control is not None and control.hold:
            yield Finding(
                "set.held",
                f"The fleet is on hold: {control.hold}",
                "Look at the logs of a job (tranquility logs JOB), then: tranquility scale --resume",
            )

    # ---- instances -------------------------------------------------------------------------------------------------

    def _halted(self) -> Iterator[Finding]:
        for vm in self._vms():
            instance = vm.instance
            because = f": {instance.problem}" if instance.problem else ""
            if instance.deleting:
                continue
            if instance.provisioning == "Failed":
                yield Finding("set.failed", f"{instance.name} is Failed{because}.", self._reap())
            elif instance.halted:
                yield Finding(
                    "set.stopped",
                    f"{instance.name} is {instance.power}, counts as capacity and is billed.",
                    self._reap(),
                )

    @staticmethod
    def _reap() -> str:
        return "tranquility scale --watch deletes it."

    def _silent(self) -> Iterator[Finding]:
        control = self.symptoms.control.value
        if control is None:
            return
        newest: dict[str, float] = {}
        for slot in control.slots:
            newest[slot.vm] = min(slot.age_s, newest.get(slot.vm, slot.age_s))
        for vm in self._vms():
            name = vm.instance.name
            if not vm.instance.running or vm.age_s <= self.durations.boot_grace_s:
                continue
            if name not in newest:
                said = f"booted {duration(vm.age_s)} ago and none of its workers has reported"
            elif newest[name] > self.durations.dead_after_s:
                said = f"has not reported for {duration(newest[name])}"
            else:
                continue
            look = f" Its boot: az vm boot-diagnostics get-boot-log -g {self.target.resource_group} -n {name}"
            yield Finding("set.silent", f"{name} {said}.", self._reap() + (look if self.target.kind == "azure" else ""))

    def _vms(self) -> tuple[SeenVm, ...]:
        return self.symptoms.set.value.vms if self.symptoms.set.value is not None else ()

    def _failed_boots(self) -> Iterator[Finding]:
        control = self.symptoms.control.value
        for vm, age_s in control.failed_boots.items() if control is not None else ():
            blob = f"{names.FAILED_BOOTS}{vm}"
            yield Finding(
                "set.failed-boot",
                f"{vm} never became a worker and deleted itself {duration(age_s)} ago.",
                f"Its log is the blob {names.CONTROL}/{blob}; delete it once you have read it.",
            )

    def _unanswered(self) -> Iterator[Finding]:
        """Jobs wait, and nobody has asked for a VM for longer than the wake lets pass."""
        queues, seen, control = self.symptoms.queues.value, self.symptoms.set.value, self.symptoms.control.value
        if queues is None or seen is None or control is None or not queues.jobs or seen.capacity:
            return
        wake = self.symptoms.wake.value
        patience_s = 2 * wake.interval_s if wake is not None and wake.enabled else self.durations.tick_s * 2
        if control.pulse_age_s is None or control.pulse_age_s > patience_s:
            because = f" Azure said {duration(control.refusal_age_s)} ago: {control.refusal}" if control.refusal else ""
            yield Finding(
                "set.unasked",
                f"{plural(queues.jobs, 'message')} in the queue, and the set is at 0.{because}",
                "tranquility scale --once raises it, or says why it cannot.",
            )

    def _quota(self) -> Iterator[Finding]:
        quota, queues, seen = self.symptoms.quota.value, self.symptoms.queues.value, self.symptoms.set.value
        if quota is None or queues is None or seen is None:
            return
        needed = min(self.target.max_instances, -(-queues.jobs // self.target.slots_per_instance))
        if needed > seen.capacity and quota.limit - quota.used < self.target.slots_per_instance:
            yield Finding(
                "quota",
                f"The spot quota is used up ({quota.used:,} of {quota.limit:,} cores), and the queue asks for "
                f"{plural(needed - seen.capacity, 'more VM')}.",
                f"Ask for more in the portal: Quotas → Compute → Total Regional Spot vCPUs, {self.target.location}.",
            )

    # ---- jobs ------------------------------------------------------------------------------------------------------

    def _leases(self) -> Iterator[Finding]:
        lost: list[SilentJob] = []
        for sweep in self.symptoms.sweeps.value or ():
            lost += [job for job in sweep.running if job.age_s > self.durations.dead_after_s]
        if lost:
            shown = ", ".join(f"{job.job} ({job.worker})" for job in lost[:SHOWN])
            yield Finding(
                "jobs.leases",
                f"{plural(len(lost), 'job')} held by workers that have been silent for up to "
                f"{duration(max(job.age_s for job in lost))}: {shown}{', …' if len(lost) > SHOWN else ''}.",
                "Each goes on from its last commit when a worker receives its message: "
                + ("look why living workers do not (tranquility status)." if self.ran else "tranquility scale --once"),
            )

    def _without_messages(self) -> Iterator[Finding]:
        queues, sweeps = self.symptoms.queues.value, self.symptoms.sweeps.value or ()
        open_jobs = sum(sweep.open_jobs for sweep in sweeps)
        if queues is None or queues.jobs >= open_jobs:
            return
        shown = ", ".join(sweep.sweep for sweep in sweeps[:SHOWN]) + (", …" if len(sweeps) > SHOWN else "")
        lacking = f"{plural(open_jobs - queues.jobs, 'job')} of {shown} without a message"
        if queues.jobs:
            audit = "Nothing: an audit sends what is missing once the queue is empty."
            yield Finding("jobs.messages", f"{lacking}; {queues.jobs:,} are queued.", audit, "note")
        else:
            yield Finding(
                "jobs.messages",
                f"{lacking}: the queue is empty, and nothing will run them.",
                "tranquility enqueue of the same file, or tranquility scale --watch, sends what is missing.",
            )

    def _checkpoints(self) -> Iterator[Finding]:
        lifetime_s = self.target.checkpoint_retention_days * DAY_S
        for sweep in self.symptoms.sweeps.value or ():
            if sweep.oldest_checkpoint_s > NEAR * lifetime_s:
                left_s = max(0.0, lifetime_s - sweep.oldest_checkpoint_s)
                yield Finding(
                    "jobs.checkpoints",
                    f"Checkpoints of {sweep.sweep} are {duration(sweep.oldest_checkpoint_s)} old; the account deletes "
                    f"them after {self.target.checkpoint_retention_days} days, in {duration(left_s)}.",
                    "Let the sweep end, or lengthen the rule: az storage account management-policy, or "
                    "checkpointRetentionDays of the template.",
                )

    # ---- what is deployed ------------------------------------------------------------------------------------------

    def _release(self) -> Iterator[Finding]:
        reading, control = self.symptoms.release, self.symptoms.control.value
        if reading.problem:
            return
        release = reading.value
        if release is None:
            if self.target.kind == "azure":
                yield Finding("release.none", "No release is published: VMs have nothing to run.", PUBLISH)
            return
        living = [slot for slot in control.slots if slot.age_s <= self.durations.dead_after_s] if control else []
        others = sorted({slot.vm for slot in living if slot.release and not release.id.startswith(slot.release[:12])})
        if others:
            yield Finding(
                "release.differs",
                f"{plural(len(others), 'VM')} ({', '.join(others[:SHOWN])}) run another release than the current "
                f"{release.version} ({release.id[:12]}).",
                "Nothing: VMs keep the release they booted with, and new ones take the current.",
                "note",
            )

    def _orphans(self) -> Iterator[Finding]:
        for orphan in self.symptoms.orphans.value or ():
            if orphan.ours:
                delete = {"disk": "disk", "interface": "network nic", "address": "network public-ip"}[orphan.kind]
                yield Finding(
                    f"orphan.{orphan.kind}",
                    f"The {orphan.kind} {orphan.name} was left by a VM that is gone, and may be billed.",
                    f"az {delete} delete -g {self.target.resource_group} -n {orphan.name}",
                )
            else:
                yield Finding(
                    f"orphan.{orphan.kind}",
                    f"The {orphan.kind} {orphan.name} is attached to nothing; it does not look like ours.",
                    "Delete it if nobody needs it.",
                    "note",
                )

    def _wake(self) -> Iterator[Finding]:
        wake = self.symptoms.wake.value
        if wake is None:
            return
        name = self.target.wake
        if not wake.enabled:
            yield Finding(
                "wake.disabled",
                f"The wake {name} is disabled: with the laptop closed nobody replaces evicted VMs, or clears a set "
                "that was forgotten.",
                "Enable it in the portal (Logic App → Enable), or deploy again.",
            )
            return
        ended = [run for run in wake.runs if run.status not in {"Running", "Waiting"}]
        if ended and ended[0].status != "Succeeded":
            last = ended[0]
            said = f"{last.code}: {last.message}" if last.code else f"its status is {last.status}"
            failed = next((n for n, run in enumerate(ended) if run.status == "Succeeded"), len(ended))
            yield Finding(
                "wake.failed",
                f"The last {plural(failed, 'run')} of the wake failed, {duration(last.age_s)} ago: {said}",
                "The run's steps are in the portal: Logic App → Runs history.",
                "wrong" if failed > 1 else "note",  # one alone may have met a producer that was quicker
            )
        since_s = min(wake.runs[0].age_s, wake.age_s) if wake.runs else wake.age_s
        if since_s > max(RUNS_MISSED * wake.interval_s, LEAST_MISSED_S):
            yield Finding(
                "wake.missing",
                f"The wake {name} has not run for {duration(since_s)}; it should every {duration(wake.interval_s)}.",
                "Look at its trigger in the portal: Logic App → Trigger history.",
            )


def diagnose(symptoms: Symptoms, target: Target, durations: Durations) -> tuple[Finding, ...]:
    """Return what is wrong with a target, the worst first."""
    return Judge(symptoms, target, durations).findings()
