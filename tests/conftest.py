"""Fixtures that tests of several packages share: one real Azurite, and an account of its own for each test."""

import itertools
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from azure.core.credentials import TokenCredential

from producer.emulator.azurite import Azurite, install, is_installed
from producer.emulator.azurite.prepare import prepare
from producer.emulator.certificates import Certificates, ensure_certificates
from producer.emulator.tokens import DirectCredential, Identity, TokenAuthority
from tests.fakes.deployed import STORAGE
from worker.contract.azure import blob_service, queue_service
from worker.contract.settings import Target

ACCOUNTS = tuple(f"test{number:04d}" for number in range(1000))
TENANT = "72f988bf-0000-4000-8000-2d7cd011db47"
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
GROUP_ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/tests"


@pytest.fixture(scope="session")
def azurite_home() -> Path:
    """Where Azurite is installed, once for all runs: $AZURITE_HOME, this Python's environment, or here."""
    environment = Path(sys.prefix) / "azurite"  # where `make` puts it
    default = environment if is_installed(environment) else Path(__file__).parents[1] / ".tranquility" / "azurite"
    home = Path(os.environ.get("AZURITE_HOME", default))
    install(home)
    return home


@pytest.fixture(scope="session")
def local_ca(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates of every HTTPS endpoint in these tests."""
    return ensure_certificates(tmp_path_factory.mktemp("certificates"), datetime.now(UTC))


@pytest.fixture(scope="session")
def token_authority() -> TokenAuthority:
    """The emulated tenant."""
    return TokenAuthority(b"the key of the tests, of 32 bytes or more", lambda: datetime.now(UTC))


@pytest.fixture(scope="session")
def identity() -> Identity:
    """The one identity that tests act as."""
    return Identity(
        name="tests",
        resource_id=f"{GROUP_ID}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/tests",
        client_id="6f1fb5b5-7ca5-4d40-9d0a-2f0d60ad4af0",
        principal_id="f9fe51a2-2a5f-4c5b-9e0a-5c35b6ee2c05",
        tenant_id=TENANT,
    )


@pytest.fixture(scope="session")
def credential(token_authority: TokenAuthority, identity: Identity) -> TokenCredential:
    """What the tests' clients authenticate with."""
    return DirectCredential(token_authority, identity)


@pytest.fixture(scope="session")
def azurite(azurite_home: Path, local_ca: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """The one Azurite of the whole run, with many accounts. Most tests want `storage` instead."""
    with Azurite(azurite_home, tmp_path_factory.mktemp("azurite"), local_ca, *ACCOUNTS) as running:
        yield running


@pytest.fixture(scope="session")
def unused_accounts() -> Iterator[str]:
    """Names of accounts that no test has touched."""
    return itertools.chain(ACCOUNTS)


@pytest.fixture
def storage(
    azurite: Azurite, local_ca: Certificates, credential: TokenCredential, unused_accounts: Iterator[str]
) -> Target:
    """A storage account of this test's own, with all queues and containers, as a target (without a scale set)."""
    account = next(unused_accounts)
    target = Target(
        kind="local",
        subscription_id=SUBSCRIPTION,
        resource_group="tests",
        scale_set="none",
        blob_endpoint=azurite.blob_url(account),
        queue_endpoint=azurite.queue_url(account),
        ca_file=local_ca.ca_file,
    )
    with blob_service(target, credential) as blobs, queue_service(target, credential) as queues:
        prepare(blobs, queues, STORAGE)
    return target
