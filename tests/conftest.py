"""Fixtures that tests of several packages share: a real Azurite with an account for each test, and a real browser."""

import itertools
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import TokenCredential

from producer.emulator.azurite import Azurite
from producer.emulator.certificates import Certificates, ensure_certificates
from producer.emulator.tokens import DirectCredential, Identity, TokenAuthority
from tests.browsers import browser
from tests.fakes.account import ACCOUNTS, AUTHORITY, IDENTITY, installed_azurite, open_account
from tests.in_parallel import InParallel, longest_first
from worker.contract.settings import Target

__all__ = ["browser"]


def pytest_configure() -> None:
    """Let programs under test have Ctrl-C: a suite that a shell put in the background ignores it, and so would they."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=longest_first)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> InParallel:
    """Deal the tests out our way."""
    return InParallel(config, log)


@pytest.fixture(scope="session")
def azurite_home() -> Path:
    """Where Azurite is installed, once for all runs."""
    return installed_azurite()


@pytest.fixture(scope="session")
def local_ca(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The certificates of every HTTPS endpoint in these tests."""
    return ensure_certificates(tmp_path_factory.mktemp("certificates"), datetime.now(UTC))


@pytest.fixture(scope="session")
def token_authority() -> TokenAuthority:
    """The emulated tenant."""
    return AUTHORITY


@pytest.fixture(scope="session")
def identity() -> Identity:
    """The one identity that tests act as."""
    return IDENTITY


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
    return open_account(azurite, next(unused_accounts), local_ca.ca_file, credential)
