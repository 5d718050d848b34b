"""Claims about how amounts are written."""

import pytest

from worker.contract.money import money


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "0.00 $"),
        (0.0004, "<0.001 $"),
        (0.0044, "0.004 $"),
        (0.013, "0.013 $"),
        (0.05, "0.05 $"),
        (1.234, "1.23 $"),
        (99.5, "99.50 $"),
        (12345.6, "12,346 $"),
    ],
)
def test_money_is_written_in_cents_until_they_do_not_matter(usd: float, text: str) -> None:
    assert money(usd) == text
