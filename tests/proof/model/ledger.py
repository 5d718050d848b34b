"""Real manifests as small numbers: models hold the numbers, and the code's own decisions make one from another."""

from collections.abc import Callable, Hashable
from typing import TypeVar

from tests.fakes.trainer import tiny_job
from worker.contract.manifest import BlobRef, Generation, Manifest, SegmentRef
from worker.decisions import Seen

JOB = tiny_job()
NONE = -1
"""There is no manifest."""
V_S = 120.0
R = TypeVar("R")


class Ledger:
    """Manifests by number, and what decisions made of them, each decision asked once.

    What no decision reads is levelled, or the states would never repeat: attempts but the last, epochs, lost steps and
    times. Epochs only name a claim to people; what tells claims apart is the nonce.
    """

    def __init__(self) -> None:
        self._manifests: list[Manifest] = []
        self._numbers: dict[bytes, int] = {}
        self._answers: dict[Hashable, object] = {}
        self._blobs: dict[int, frozenset[str]] = {NONE: frozenset()}

    def number(self, manifest: Manifest) -> int:
        """Return the number of a manifest."""
        level = _levelled(manifest)
        body = level.canonical()
        if body not in self._numbers:
            self._numbers[body] = len(self._manifests)
            self._manifests.append(level)
        return self._numbers[body]

    def __getitem__(self, number: int) -> Manifest:
        return self._manifests[number]

    def find(self, number: int) -> Manifest | None:
        """Return a manifest, or None for `NONE`."""
        return None if number == NONE else self._manifests[number]

    def seen(self, number: int, *, old: bool) -> Seen | None:
        """Return a manifest as a worker reads it."""
        return None if number == NONE else Seen(self._manifests[number], "etag", V_S if old else 0.0)

    def ask(self, key: Hashable, answer: Callable[[], R]) -> R:
        """Return `answer()`, asked once for every key."""
        try:
            return self._answers[key]  # type: ignore[return-value]  # what is stored under a key came from its answer
        except KeyError:
            made = self._answers[key] = answer()
            return made

    def blobs(self, number: int) -> frozenset[str]:
        """Return the checkpoint blobs that a manifest names; a job that is done needs none (rule 9)."""

        found = self._blobs.get(number)
        if found is None:
            manifest = self._manifests[number]
            generations = () if manifest.status == "done" else manifest.generations
            found = self._blobs[number] = frozenset[str]().union(*(one.blob_names() for one in generations))
        return found


def _levelled(manifest: Manifest) -> Manifest:
    attempts = tuple(
        attempt.model_copy(update={"epoch": 1, "started": "", "from_step": 0, "to_step": 0, "reached_step": 0})
        for attempt in manifest.attempts[-1:]
    )
    return manifest.model_copy(
        update={
            "epoch": min(manifest.epoch, 1),
            "attempts": attempts,
            "attempt_count": len(attempts),
            "eviction_count": 0,
            "lost_steps": 0,
            "reached": manifest.step,
        }
    )


def generation(step: int, nonce: str, base: Generation | None) -> Generation:
    """Return the checkpoint of a step: a state, the segments of `base`, and one more, named as a claim names them."""
    kept = base.segments if base else ()
    segment = SegmentRef(name=f"rows-{step}-{nonce}", length=1, sha256="0" * 64, first_row=step - 1, rows=1)
    state = BlobRef(name=f"state-{step}-{nonce}", length=1, sha256="0" * 64)
    return Generation(step=step, state=state, segments=(*kept, segment))
