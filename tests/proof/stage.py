"""Where a row of proof over real storage plays: one Azurite, and an account for every trial that wants one."""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from azure.core.credentials import TokenCredential

from producer.emulator.azurite import Azurite
from producer.emulator.certificates import Certificates, ensure_certificates
from producer.emulator.tokens import DirectCredential, Identity
from tests.fakes.account import ACCOUNTS, AUTHORITY, IDENTITY, installed_azurite, open_account
from worker.contract.settings import Target


@dataclass(frozen=True)
class Stage:
    """A running Azurite and who may use it."""

    folder: Path
    azurite: Azurite
    certificates: Certificates
    identity: Identity
    credential: TokenCredential
    unused: Iterator[str]

    def target(self) -> Target:
        """Return an account that nobody has touched."""
        return open_account(self.azurite, next(self.unused), self.certificates.ca_file, self.credential)


@contextlib.contextmanager
def on_stage() -> Iterator[Stage]:
    """Start an Azurite of one's own, in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="tranquility-proof-") as name:
        folder = Path(name)
        certificates = ensure_certificates(folder / "certificates", datetime.now(UTC))
        with Azurite(installed_azurite(), folder / "azurite", certificates, *ACCOUNTS) as azurite:
            credential = DirectCredential(AUTHORITY, IDENTITY)
            yield Stage(folder, azurite, certificates, IDENTITY, credential, itertools.chain(ACCOUNTS))
