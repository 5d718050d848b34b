"""Claims about what doctor calls wrong: one table of symptoms and findings."""

from dataclasses import replace

import pytest

from producer.fleet.look import Instance
from producer.target.findings import DAY_S, diagnose
from producer.target.symptoms import (
    Orphan,
    Queues,
    Reading,
    SeenControl,
    SeenQuota,
    SeenRelease,
    SeenSet,
    SeenSlot,
    SeenSweep,
    SeenVm,
    SeenWake,
    SilentJob,
    Symptoms,
    Tried,
    WakeRun,
)
from tests.fakes.producing import TARGET
from worker.contract.settings import Durations

AZURE = TARGET.model_copy(
    update={
        "kind": "azure",
        "wake": "tranq-wake",
        "slots_per_instance": 8,
        "queue_endpoint": "https://acc.queue.core.windows.net/",
    }
)
D = Durations()
RELEASE = SeenRelease("ab" * 32, "0.1.0")
SLOT = SeenSlot("set_1", 0, 10.0, RELEASE.id, "busy")
VM = SeenVm(Instance("set_1"), 3_600.0)
WAKE = SeenWake(enabled=True, age_s=9 * DAY_S, interval_s=600.0, runs=(WakeRun("Succeeded", 300.0),) * 3)
SWEEP = SeenSweep("lunar", 5, (SilentJob("lunar/aa", "set_1/0", 20.0),))
WELL = Symptoms(
    tried=(Tried("jobs: update_message"),),
    queues=Reading(Queues(5, 0)),
    control=Reading(SeenControl(slots=(SLOT,), pulse_age_s=30.0)),
    set=Reading(SeenSet(1, (VM,))),
    sweeps=Reading((SWEEP,)),
    release=Reading(RELEASE),
    orphans=Reading(()),
    wake=Reading(WAKE),
    quota=Reading(SeenQuota(8, 80)),
)


def control(**more: object) -> Reading[SeenControl]:
    return Reading(SeenControl(**{"slots": (SLOT,), "pulse_age_s": 30.0, **more}))  # type: ignore[arg-type] # a table


def one_vm(instance: Instance, age_s: float = 3_600.0) -> Reading[SeenSet]:
    return Reading(SeenSet(1, (SeenVm(instance, age_s),)))


def wake(*runs: WakeRun, enabled: bool = True) -> Reading[SeenWake]:
    return Reading(replace(WAKE, enabled=enabled, runs=runs))


FAILED = WakeRun("Failed", 120.0, "CountFailed", "the queue did not answer")
OLD = replace(SLOT, age_s=D.dead_after_s + 1)
ELSEWHERE = replace(SLOT, release="cd" * 32)
LOST = SilentJob("lunar/bb", "set_9/3", D.dead_after_s + 1)


@pytest.mark.parametrize(
    ("change", "subject", "words"),
    [
        ({"queues": Reading(Queues(5, 2))}, "queue.poison", "2 messages"),
        ({"control": control(hold="no job made a commit")}, "set.held", "no job made a commit"),
        ({"set": one_vm(Instance("set_1", "Failed", "", "AllocationFailed"))}, "set.failed", "AllocationFailed"),
        ({"set": one_vm(Instance("set_1", power="stopped"))}, "set.stopped", "stopped"),
        ({"set": one_vm(Instance("set_2"))}, "set.silent", "set_2"),
        ({"control": control(slots=(OLD,))}, "set.silent", "set_1"),
        ({"control": control(failed_boots={"set_7": 60.0})}, "set.failed-boot", "set_7"),
        ({"queues": Reading(Queues(40, 0)), "quota": Reading(SeenQuota(80, 80))}, "quota", "80 of 80"),
        ({"sweeps": Reading((replace(SWEEP, running=(LOST,)),))}, "jobs.leases", "lunar/bb (set_9/3)"),
        ({"queues": Reading(Queues(0, 0))}, "jobs.messages", "5 jobs of lunar without a message"),
        ({"sweeps": Reading((replace(SWEEP, oldest_checkpoint_s=68 * DAY_S),))}, "jobs.checkpoints", "in 22 d"),
        ({"release": Reading(None)}, "release.none", "nothing to run"),
        ({"orphans": Reading((Orphan("disk", "d1", True),))}, "orphan.disk", "d1"),
        ({"orphans": Reading((Orphan("interface", "n1", True),))}, "orphan.interface", "n1"),
        ({"orphans": Reading((Orphan("address", "a1", True),))}, "orphan.address", "a1"),
        ({"wake": wake(enabled=False)}, "wake.disabled", "tranq-wake"),
        ({"wake": wake(FAILED, FAILED)}, "wake.failed", "CountFailed: the queue did not answer"),
        ({"wake": wake(WakeRun("Running", 5.0), FAILED, FAILED)}, "wake.failed", "The last 2 runs"),
        ({"wake": wake(WakeRun("Succeeded", 2_000.0))}, "wake.missing", "33 min"),
        ({"wake": wake()}, "wake.missing", "9 d"),
        (
            {"tried": (Tried("jobs: update_message", "403", denied=True),)},
            "roles.jobs: update_message",
            "messages/write",
        ),
        ({"tried": (Tried("jobs: update_message", "500"),)}, "reach.jobs: update_message", "500"),
        ({"queues": Reading(None, "no answer")}, "reach.queues", "no answer"),
        ({"set": Reading(None, "no answer")}, "reach.set", "no answer"),
        ({"wake": Reading(None, "404 ResourceNotFound")}, "reach.wake", "404"),
    ],
)
def test_each_trouble_is_found_and_nothing_else(change: dict[str, object], subject: str, words: str) -> None:
    (found,) = diagnose(replace(WELL, **change), AZURE, D)  # type: ignore[arg-type] # a table
    assert (found.subject, found.level) == (subject, "wrong")
    assert words in found.what
    assert found.todo


@pytest.mark.parametrize(
    ("change", "subject"),
    [
        ({"queues": Reading(Queues(2, 0))}, "jobs.messages"),
        ({"control": control(slots=(ELSEWHERE,))}, "release.differs"),
        ({"orphans": Reading((Orphan("disk", "d1", False),))}, "orphan.disk"),
        ({"wake": wake(FAILED, WakeRun("Succeeded", 700.0))}, "wake.failed"),
        ({"quota": Reading(None, "403", denied=True)}, "reach.quota"),
        (
            {"wake": Reading(None, "403", denied=True), "tried": (Tried("GET workflows", "403", denied=True),)},
            "reach.wake",
        ),
    ],
)
def test_what_asks_for_nothing_is_a_note_and_fails_no_check(change: dict[str, object], subject: str) -> None:
    (found,) = diagnose(replace(WELL, **change), AZURE, D)  # type: ignore[arg-type] # a table
    assert (found.subject, found.level) == (subject, "note")


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"set": one_vm(Instance("set_2"), D.boot_grace_s)},  # still booting
        {"set": one_vm(Instance("set_1", "Deleting", "stopping"))},
        {"set": one_vm(Instance("set_1", "Creating", ""))},
        {"sweeps": Reading(()), "queues": Reading(Queues(0, 0)), "set": Reading(SeenSet(0))},
        {"control": control(slots=(replace(SLOT, release="ab" * 6),))},
        {"control": control(slots=(replace(OLD, vm="set_0"), SLOT))},  # of a VM that is gone
        {"wake": wake(WakeRun("Running", 5.0))},
        {"wake": Reading(replace(WAKE, age_s=60.0, runs=()))},  # just deployed
        {"sweeps": Reading((replace(SWEEP, oldest_checkpoint_s=67 * DAY_S),))},
        {"quota": Reading(SeenQuota(80, 80))},  # used up by what is needed
    ],
)
def test_what_is_as_it_should_be_is_not_complained_about(change: dict[str, object]) -> None:
    assert diagnose(replace(WELL, **change), AZURE, D) == ()  # type: ignore[arg-type] # a table


@pytest.mark.parametrize(("pulse_age_s", "asked"), [(None, False), (1_300.0, False), (1_100.0, True)])
def test_jobs_that_wait_for_a_set_at_zero_are_found_once_nobody_asks_for_it(
    pulse_age_s: float | None, asked: bool
) -> None:
    seen = replace(WELL, set=Reading(SeenSet(0)), control=control(slots=(), pulse_age_s=pulse_age_s))
    assert [found.subject for found in diagnose(seen, AZURE, D)] == ([] if asked else ["set.unasked"])


def test_what_is_wrong_comes_before_the_notes() -> None:
    seen = replace(WELL, queues=Reading(Queues(2, 1)))
    assert [found.level for found in diagnose(seen, AZURE, D)] == ["wrong", "note"]


def test_a_fleet_on_this_machine_needs_no_release() -> None:
    assert diagnose(replace(WELL, release=Reading(None)), TARGET, D) == ()
