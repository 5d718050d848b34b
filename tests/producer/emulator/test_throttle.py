"""The token buckets of Compute."""

from producer.emulator.throttle import LIMITS, Throttle
from tests.fakes.hand_clock import HandClock


def test_a_full_bucket_gives_a_burst_and_then_its_steady_rate(clock: HandClock) -> None:
    throttle = Throttle(clock)
    assert [throttle.ask("UpdateVMScaleSet", "set").passes for _ in range(13)] == [True] * 12 + [False]
    clock.pass_s(15)
    assert [throttle.ask("UpdateVMScaleSet", "set").passes for _ in range(2)] == [True, False]


def test_a_refusal_says_when_to_come_back_and_that_is_true(clock: HandClock) -> None:
    throttle = Throttle(clock)
    for _ in range(12):
        throttle.ask("UpdateVMScaleSet", "set")
    refused = throttle.ask("UpdateVMScaleSet", "set")
    clock.pass_s(refused.retry_after_s)
    assert throttle.ask("UpdateVMScaleSet", "set").passes


def test_resources_and_policies_have_buckets_of_their_own(clock: HandClock) -> None:
    throttle = Throttle(clock)
    for _ in range(12):
        throttle.ask("DeleteVM", "one")
    assert not throttle.ask("DeleteVM", "one").passes
    assert throttle.ask("DeleteVM", "two").passes
    assert throttle.ask("LowCostGetVM", "one").passes


def test_a_bucket_never_holds_more_than_its_burst(clock: HandClock) -> None:
    throttle = Throttle(clock)
    throttle.ask("GetVMScaleSet", "set")
    clock.pass_s(86_400)
    assert throttle.ask("GetVMScaleSet", "set").remaining == LIMITS["GetVMScaleSet"].burst - 1


def test_a_faster_azure_has_wider_limits(clock: HandClock) -> None:
    throttle = Throttle(clock, speed=10)
    assert all(throttle.ask("UpdateVMScaleSet", "set").passes for _ in range(120))
    assert not throttle.ask("UpdateVMScaleSet", "set").passes
