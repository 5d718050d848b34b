"""How a slot's process ends, for the supervisor that would start it again."""

from typing import Final

STOPPED: Final = 0
"""After a signal: the supervisor may start the slot again."""
LEAVES: Final = 10
"""After an eviction notice or a drain: the supervisor must not, or a dying VM would take its job back."""
