"""What tests of the rows play on: the Azurite of the whole run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.core.credentials import TokenCredential

from producer.emulator.azurite import Azurite
from producer.emulator.certificates import Certificates
from producer.emulator.tokens import Identity
from tests.proof.herd import Herd
from tests.proof.real_processes import DURATIONS
from tests.proof.stage import Stage


@pytest.fixture(scope="session")
def herd(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    """Return the parent of all worker processes; its start imports torch."""
    with Herd(tmp_path_factory.mktemp("herd"), identity, DURATIONS) as herd:
        yield herd


@pytest.fixture
def stage(
    azurite: Azurite,
    local_ca: Certificates,
    identity: Identity,
    credential: TokenCredential,
    unused_accounts: Iterator[str],
    tmp_path: Path,
) -> Stage:
    """A stage with a folder of this test's own."""
    return Stage(tmp_path, azurite, local_ca, identity, credential, unused_accounts)
