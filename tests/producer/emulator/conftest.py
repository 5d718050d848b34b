"""What the emulator's tests share: a set that is nobody's, and a clock that stands still."""

from collections.abc import Iterator

import pytest

from producer.emulator.description import SetDescription
from producer.emulator.serving import HttpHost
from producer.emulator.tokens import Identity
from tests.fakes.deployed import scale_set
from tests.fakes.hand_clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def description(identity: Identity) -> SetDescription:
    return scale_set(identity)


@pytest.fixture(scope="session")
def http() -> Iterator[HttpHost]:
    """One thread serves the endpoints of all tests."""
    with HttpHost() as host:
        yield host
