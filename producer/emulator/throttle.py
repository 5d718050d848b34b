"""Compute's request limits: a token bucket per policy and resource, as its documentation states them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Limit:
    """Tokens that a bucket regains per minute, and that it holds when full."""

    per_minute: float
    burst: float


@dataclass(frozen=True)
class Verdict:
    """Whether a request passes, what is left of its bucket, and when to come back if it does not."""

    passes: bool
    remaining: int
    retry_after_s: float


LIMITS: Mapping[str, Limit] = {
    "UpdateVMScaleSet": Limit(4, 12),
    "GetVMScaleSet": Limit(12, 36),
    "DeleteVMScaleSetVM": Limit(4, 12),
    "GetVMScaleSetVM": Limit(12, 36),
    "DeleteVM": Limit(4, 12),
    "LowCostGetVM": Limit(12, 36),
    "HighCostGetVM": Limit(300, 900),
    "GetOperation": Limit(15, 45),
}
"""learn.microsoft.com/azure/virtual-machines/compute-throttling-limits, at the level of one resource."""


class Throttle:
    """The buckets. `speed` multiplies what they regain and hold: a fleet whose clock runs ten times as fast asks ten
    times as often. Not thread-safe: the endpoint's one thread owns it."""

    def __init__(self, clock: Callable[[], datetime], speed: float = 1.0) -> None:
        self._clock = clock
        self._speed = speed
        self._levels: dict[tuple[str, str], tuple[float, datetime]] = {}

    def ask(self, policy: str, resource: str) -> Verdict:
        """Take a token of the bucket of `policy` for `resource`, where there is one."""
        limit = LIMITS[policy]
        now = self._clock()
        full = limit.burst * self._speed
        per_second = limit.per_minute * self._speed / 60
        level, since = self._levels.get((policy, resource), (full, now))
        level = min(full, level + (now - since).total_seconds() * per_second)
        passes = level >= 1
        level -= passes
        self._levels[policy, resource] = (level, now)
        return Verdict(passes, int(level), 0.0 if passes else (1 - level) / per_second)
