"""What a slot says of itself."""

from tests.fakes.hand_runtime import HandRuntime
from worker.signs import Signs

JOB = "ab" * 8


def signs() -> tuple[Signs, HandRuntime]:
    runtime = HandRuntime()
    return Signs("vm1", 0, "r", {"cpu": "x"}, runtime), runtime


def test_a_slot_starts_and_says_which_release_and_processor_it_is() -> None:
    report = signs()[0].report()
    assert (report.vm, report.slot, report.state, report.release, report.cpu) == ("vm1", 0, "starting", "r", "x")


def test_idle_time_goes_on_over_empty_receives_and_begins_anew_after_a_job() -> None:
    slot, runtime = signs()
    slot.idle(boot_seconds=9.0)
    runtime.now_s += 5
    slot.idle()
    runtime.now_s += 5
    assert (slot.report().idle_s, slot.report().boot_seconds) == (10.0, 9.0)
    slot.busy("sweep", JOB)
    runtime.now_s += 5
    assert slot.report().idle_s == 0.0
    slot.idle()
    runtime.now_s += 2
    assert (slot.report().idle_s, slot.report().job, slot.report().sweep) == (2.0, None, "")


def test_an_answer_stands_until_the_slot_receives_again() -> None:
    slot, _ = signs()
    slot.answers("retire")
    assert (slot.report().state, slot.report().answers) == ("idle", "retire")
    slot.idle()
    assert slot.report().answers is None


def test_an_answer_to_a_drain_stays_when_the_process_ends() -> None:
    slot, _ = signs()
    slot.answers("drain")
    slot.stopped()
    assert (slot.report().state, slot.report().answers) == ("stopped", "drain")


def test_only_a_change_wakes_whoever_publishes() -> None:
    slot, _ = signs()
    slot.idle()
    assert slot.changed.is_set()
    slot.changed.clear()
    slot.idle()
    assert not slot.changed.is_set()
    slot.busy("sweep", JOB)
    assert slot.changed.is_set()


def test_only_the_first_training_step_is_timed_from_the_boot() -> None:
    slot, runtime = signs()
    slot.idle(boot_seconds=9.0)
    runtime.now_s += 60
    slot.busy("sweep", JOB)
    assert slot.report().first_step_seconds == 0.0
    runtime.now_s += 5
    slot.trains()
    runtime.now_s += 100
    slot.trains()
    assert slot.report().first_step_seconds == 74.0


def test_commits_are_counted_with_the_time_since_the_last() -> None:
    slot, runtime = signs()
    runtime.now_s += 7
    assert (slot.report().commits, slot.report().since_commit_s) == (0, 7.0)
    slot.committed()
    runtime.now_s += 2
    assert (slot.report().commits, slot.report().since_commit_s) == (1, 2.0)


def test_a_process_that_was_started_again_tells_nothing_of_the_boot() -> None:
    slot, runtime = signs()
    slot.started_again()
    slot.idle()
    slot.busy("sweep", JOB)
    runtime.now_s += 5
    slot.trains()
    assert (slot.report().boot_seconds, slot.report().first_step_seconds) == (0.0, 0.0)
