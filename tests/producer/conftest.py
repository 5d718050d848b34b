"""A fake Azure CLI on the PATH, and the subscription that it shows."""

from pathlib import Path

import pytest

from tests.fakes.az import FakeAz
from tests.fakes.cloud import Cloud


@pytest.fixture
def az(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeAz:
    """The program, and no other on the PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return FakeAz(folder)


@pytest.fixture
def cloud(az: FakeAz) -> Cloud:
    """A subscription with nothing in it."""
    return Cloud(az)
