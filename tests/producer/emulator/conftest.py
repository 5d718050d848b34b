"""What the emulator's tests share: a set that is nobody's, and a clock that stands still."""

from collections.abc import Iterator

import pytest

from producer.emulator.description import SetDescription, spot_set
from producer.emulator.serving import HttpHost
from producer.emulator.tokens import Identity
from tests.fakes.hand_clock import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def description(identity: Identity) -> SetDescription:
    return SetDescription(
        subscription_id="0b1f6471-1bf0-4dda-aec3-cb9272f09590",
        resource_group="tests",
        name="fleet",
        identity=identity,
        resource=spot_set("westeurope", "Standard_F2als_v6", identity, {"tranquility-max-instances": "4"}),
    )


@pytest.fixture(scope="session")
def http() -> Iterator[HttpHost]:
    """One thread serves the endpoints of all tests."""
    with HttpHost() as host:
        yield host
