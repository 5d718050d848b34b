"""The state of the sweep model, and its rules."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.fakes.slot import plan_of_one
from tests.proof.model.ledger import JOB, NONE

PLAN: Final = plan_of_one(JOB)
TOMBSTONE: Final = PLAN.model_copy(update={"deleted": True})
ENQUEUE: Final = ("find plan", "write plan", "statuses", "records", "send", "record")
HIDDEN, VISIBLE = 0, 1


class Hand(NamedTuple):
    """A command on a laptop, or the worker."""

    command: str = ""
    at: str = ""
    fresh: bool = False
    """Whether the manifest (of a delete: the plan) is as it was read."""
    seen: int = NONE
    old: bool = False
    plan: str = ""
    """The plan as it was read: empty = none, planned, tombstone."""
    records: bool = False
    """Whether a record of what was sent was found."""


class Sweep(NamedTuple):
    """A state."""

    plan: str = ""
    manifest: int = NONE
    old: bool = False
    waiting: int = 0
    undelivered: int = 0
    """Of the waiting messages those that nobody ever received."""
    hidden: int = 0
    """Messages behind a worker that is gone."""
    recorded: int = NONE - 1
    """The epoch that the newest record of what was sent names; -2: there is no record."""
    reopened: int = 0
    """Retries that said that jobs are about to begin, and have not said that they have."""
    complete: bool = False
    """Whether the sweep is marked, so that no audit looks at it."""
    laptops: tuple[Hand, ...] = (Hand(), Hand())
    worker: Hand = Hand()
    wishes: tuple[str, ...] = ()
    kills: int = 0
    deaths: int = 0


@dataclass(frozen=True)
class SweepRules:
    """The rules as the model keeps them. A test takes one away, and the model must find the hole."""

    steps: tuple[str, ...] = ENQUEUE
    """Of an enqueue: the plan before the messages, those before their record (rule 7)."""
    audits: bool = True
    reopens: bool = True
    """Whoever lets jobs begin says so first, and no audit marks the sweep until it is through (rule 7)."""
    doubts: bool = True
    """No mark is believed while a command that let jobs begin has not said that they have (rule 7)."""
    tombstone: bool = True
    """A delete writes a tombstone first, and looks again (rule 8)."""
    only_ended: bool = True
    """A delete refuses a sweep whose jobs have not all ended (rule 8)."""
    planned_only: bool = True
    """A message whose plan does not name it is deleted (rule 7)."""
