"""What a test needs of the machine that it runs on. Where that is missing, the test is skipped with the reason.

In CI nothing may be missing that can be installed: with TRANQUILITY_NO_SKIPS set, such a test fails instead.
"""

import os
import shutil
from typing import Final, NoReturn

import pytest

NO_SKIPS: Final = "TRANQUILITY_NO_SKIPS"


def missing(reason: str) -> NoReturn:
    """End this test: it cannot run here."""
    if os.environ.get(NO_SKIPS):
        pytest.fail(f"{NO_SKIPS} is set, and this test cannot run here: {reason}", pytrace=False)
    pytest.skip(reason)


def unavailable(reason: str) -> NoReturn:
    """Skip this test, in CI as well: what it needs cannot be installed everywhere."""
    pytest.skip(reason)


def program(name: str, remedy: str, variable: str = "") -> str:
    """Return the path of a program: the one that the environment variable names, or that of the PATH."""
    found = os.environ.get(variable, "") or shutil.which(name)
    return found or missing(f"{name} is not installed: {remedy}")
