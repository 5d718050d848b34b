"""How the suite is dealt out to several processes (`pytest -n`), so that they end at about the same time."""

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

MACHINES = "tests/machines/"
LONG = (MACHINES, "tests/system/", "tests/proof/", "tests/simulator/", "tests/worker/training/")
"""Folders of files that take long: what comes last should be short."""


class InParallel(LoadFileScheduling):  # type: ignore[misc]
    """Whole files go to a process, in the order they were collected in, and all machines to one.

    The machines boot side by side, and the tests share what was told of them.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return MACHINES if nodeid.startswith(MACHINES) else nodeid.partition("::")[0]


def longest_first(item: pytest.Item) -> int:
    """Return where the file of a test stands in the order; those of one rank stay as they are."""
    return next((rank for rank, folder in enumerate(LONG) if item.nodeid.startswith(folder)), len(LONG))
