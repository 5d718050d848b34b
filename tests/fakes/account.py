"""Storage accounts of a real Azurite, and the one identity that uses them."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

from azure.core.credentials import TokenCredential

from producer.emulator.azurite import Azurite, install, is_installed
from producer.emulator.azurite.prepare import prepare
from producer.emulator.tokens import Identity, TokenAuthority
from tests.fakes.deployed import STORAGE
from worker.contract.azure import blob_service, queue_service
from worker.contract.settings import Target

ACCOUNTS = tuple(f"test{number:04d}" for number in range(1000))
SUBSCRIPTION = "0b1f6471-1bf0-4dda-aec3-cb9272f09590"
IDENTITY = Identity(
    name="tests",
    resource_id=(
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/tests"
        "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/tests"
    ),
    client_id="6f1fb5b5-7ca5-4d40-9d0a-2f0d60ad4af0",
    principal_id="f9fe51a2-2a5f-4c5b-9e0a-5c35b6ee2c05",
    tenant_id="72f988bf-0000-4000-8000-2d7cd011db47",
)
AUTHORITY = TokenAuthority(b"the key of the tests, of 32 bytes or more", lambda: datetime.now(UTC))
"""The emulated tenant."""


def installed_azurite() -> Path:
    """Return where Azurite is installed, once for all runs: $AZURITE_HOME, this Python's environment, or here."""
    environment = Path(sys.prefix) / "azurite"  # where `make` puts it
    default = environment if is_installed(environment) else Path(__file__).parents[2] / ".tranquility" / "azurite"
    home = Path(os.environ.get("AZURITE_HOME", default))
    install(home)
    return home


def open_account(azurite: Azurite, name: str, ca_file: Path, credential: TokenCredential) -> Target:
    """Return an account with all queues and containers, as a target (without a scale set)."""
    target = Target(
        kind="local",
        subscription_id=SUBSCRIPTION,
        resource_group="tests",
        scale_set="none",
        blob_endpoint=azurite.blob_url(name),
        queue_endpoint=azurite.queue_url(name),
        ca_file=ca_file,
    )
    with blob_service(target, credential) as blobs, queue_service(target, credential) as queues:
        prepare(blobs, queues, STORAGE)
    return target
