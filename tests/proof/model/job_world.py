"""The state of the job model: one job, its manifest, messages and checkpoint blobs, its workers, and a person.

What is abstracted, and why that hides nothing:

- **ETags, pop receipts** are only compared with the newest one, and a stale one never becomes good again: whoever holds
  one has a bit, which everybody else's write (or receive) takes away.
- **Time.** A manifest grows old, and a hidden message comes back, without a fault only if no living process would have
  written it meanwhile. While one would, both are the fault "pause": of that process, or of its requests.
- **Late requests** wait in the network, for longer than any pause, until they arrive or get lost. One at a time.
- **Blobs** that no manifest names, stored or about to be, are left out: nothing ever reads them.
- **Steps**: the job is done after three commits, so that a generation is dropped, and segments are shared.
- Which of two slots is which does not matter, but both have a name: rule 4 looks at it.
"""

from typing import Final, NamedTuple

from tests.proof.model.ledger import NONE

STEPS: Final = 3
MESSAGES: Final = 3
HIDDEN, VISIBLE, GONE = range(3)


class Message(NamedTuple):
    """A place for a message."""

    state: int = GONE
    received: bool = False
    """Whether anybody ever received it: until then the receipt of its sending is good."""


class Hand(NamedTuple):
    """A worker's process, a person's command or an audit: its place in its code, and what it holds."""

    at: str = ""
    """Which step comes next; empty = nothing is going on."""
    message: int = -1
    lease: bool = False
    """Whether its pop receipt is the message's newest."""
    seen: int = NONE
    old: bool = False
    """Whether what it has seen was older than V."""
    fresh: bool = False
    """Whether the ETag that it goes by is still the manifest's."""
    mine: int = NONE
    """The manifest as this claim knows it."""
    base: int = NONE
    """A manifest whose newest generation is the one that the next commit builds upon."""
    reached: int = 0
    """Steps that this process has trained to."""
    write: int = NONE
    """The manifest that it is about to write."""
    then: str = ""
    """What it writes that for: claim, unclaimed (an end without a claim), beat, commit, end, retry."""
    end: str = ""
    """How the claim ends, once that is clear."""
    held: bool = False
    """Whether a hold stood at its last commit, so that it may not begin another."""


class Late(NamedTuple):
    """A conditional write of a manifest on its way."""

    write: int
    fresh: bool
    then: str


class Budget(NamedTuple):
    """How many faults of a kind there may still be, and how many in all."""

    crash: int = 0
    pause: int = 0
    lost: int = 0
    late: int = 0
    stop: int = 0
    """A VM that goes with a notice. No fault of a job, and none of the world."""
    twice: int = 0
    """A second message for the same job."""
    breaks: int = 0
    """Training raises, or its process is killed by what its supervisor sees."""
    total: int = 9


class World(NamedTuple):
    """A state."""

    manifest: int
    old: bool
    messages: tuple[Message, ...]
    blobs: frozenset[str]
    workers: tuple[Hand, ...]
    left: Budget
    late: Late | None = None
    hold: str = ""
    person: Hand = Hand()
    audit: Hand = Hand()
    wishes: tuple[str, ...] = ()
    """What the person may still do, in this order."""


def spend(left: Budget, kind: str) -> Budget | None:
    """Return the budget after one more fault, or None where there may be no more."""
    if not left.total or not getattr(left, kind):
        return None
    return left._replace(**{kind: getattr(left, kind) - 1, "total": left.total - 1})
