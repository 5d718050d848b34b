"""What tests of the whole share: a real browser."""

from tests.browsers import browser

__all__ = ["browser"]
