"""What the rules know of manifests, messages and sweeps: the last that was carried out, and when it was otherwise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from worker.contract import names

NEVER: Final = float("-inf")
Key = tuple[str, str]
"""Sweep and job."""


@dataclass(frozen=True)
class Entry:
    """Something that happened."""

    at_s: float
    who: str
    what: str


@dataclass
class KnownManifest:
    """A job's manifest as it stands."""

    content: Mapping[str, Any]
    nonce: str
    epoch: int
    status: str
    step: int
    named: Mapping[tuple[str, str], tuple[int, str]]
    """(container, name) → length and SHA-256 of every blob that it names."""
    written_s: float


@dataclass
class KnownMessage:
    """A message of the queue of jobs."""

    key: Key
    """Empty where it is no job."""
    sent_s: float
    received_s: float = NEVER
    deliveries: int = 0


@dataclass
class KnownSweep:
    """When what excuses the deletion of a message was last so; inf: it is so now."""

    planned: frozenset[str] = frozenset()
    unplanned_s: dict[str, float] = field(default_factory=dict)
    hold: Mapping[str, Any] | None = None
    hold_since_s: float = 0.0
    held_s: dict[str, float] = field(default_factory=dict)
    no_plan_s: float = float("inf")


class KnownSweeps:
    """Plans and holds."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s
        self.known: dict[str, KnownSweep] = {}

    def plan_put(self, name: str, plan: Mapping[str, Any]) -> None:
        """A plan was written, or its tombstone."""
        sweep = self.known.setdefault(name, KnownSweep())
        if plan["deleted"]:
            sweep.no_plan_s = float("inf")
            sweep.planned = frozenset()
            return
        planned = frozenset(job["id"] for job in plan["jobs"])
        if sweep.no_plan_s == float("inf"):
            sweep.no_plan_s = self._now_s()
        for job in planned - sweep.planned:
            sweep.unplanned_s[job] = self._now_s()
        sweep.planned = planned

    def plan_gone(self, name: str) -> None:
        """A plan was deleted."""
        sweep = self.known.setdefault(name, KnownSweep())
        sweep.no_plan_s, sweep.planned = float("inf"), frozenset()

    def hold_put(self, name: str, hold: Mapping[str, Any] | None) -> None:
        """A hold was written; None: it was lifted."""
        sweep = self.known.setdefault(name, KnownSweep())
        if sweep.hold is not None:
            for job in sweep.hold["jobs"] or [""]:
                sweep.held_s[job] = self._now_s()
        sweep.hold, sweep.hold_since_s = hold, self._now_s()


def covers(hold: Mapping[str, Any] | None, job: str) -> bool:
    """Return whether a hold is on this job."""
    return hold is not None and (not hold["jobs"] or job in hold["jobs"])


def named(content: Mapping[str, Any]) -> dict[tuple[str, str], tuple[int, str]]:
    """Return what a manifest names: (container, name) → length and SHA-256."""
    blobs = {}
    for generation in content["generations"]:
        for blob in (generation["state"], *generation["segments"]):
            blobs[names.CHECKPOINTS, blob["name"]] = (blob["length"], blob["sha256"])
    for part in ("result", "curve", "model", "policy"):
        blob = content["outcome"].get(part)
        if blob is not None:
            blobs[names.SWEEPS, blob["name"]] = (blob["length"], blob["sha256"])
    return blobs
