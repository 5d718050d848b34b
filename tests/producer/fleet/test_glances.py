"""Whoever only watches asks Azure seldom."""

import pytest

from producer.fleet.scale_set import Glances
from tests.fakes.clock import VirtualRuntime
from tests.fakes.scale_set import MemoryScaleSet
from worker.contract.errors import FleetDenied, Throttled


def test_a_glance_is_remembered_until_it_is_old() -> None:
    runtime = VirtualRuntime()
    inner = MemoryScaleSet(runtime.monotonic)
    glances = Glances(lambda: inner, runtime, every_s=10.0)
    assert glances.read().capacity == 0
    inner.raise_to(1, inner.read().etag)
    runtime.advance(9)
    assert glances.read().capacity == 0
    runtime.advance(1)
    assert glances.read().capacity == 1


def test_a_throttled_glance_shows_what_was_known_and_other_errors_show_themselves() -> None:
    runtime = VirtualRuntime()
    inner = MemoryScaleSet(runtime.monotonic)
    glances = Glances(lambda: inner, runtime, every_s=10.0)
    inner.read_faults.append(Throttled("429", 30.0))
    with pytest.raises(Throttled):
        glances.read()
    runtime.advance(10)
    known = glances.read()
    runtime.advance(10)
    inner.read_faults.append(Throttled("429", 30.0))
    assert glances.read() == known
    runtime.advance(10)
    inner.read_faults.append(FleetDenied("no role"))
    with pytest.raises(FleetDenied):
        glances.read()


def test_a_look_that_failed_is_not_repeated_before_its_time() -> None:
    runtime = VirtualRuntime()
    inner = MemoryScaleSet(runtime.monotonic)
    glances = Glances(lambda: inner, runtime, every_s=10.0)
    inner.read_faults.append(FleetDenied("no role"))
    for _ in range(3):
        with pytest.raises(FleetDenied):
            glances.read()
    runtime.advance(10)
    assert glances.read().capacity == 0
