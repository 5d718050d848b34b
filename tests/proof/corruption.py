"""Row 6: blobs of a checkpoint are damaged at random, and the job goes on from what is whole, or from step 0."""

import itertools
import pickle
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from unittest.mock import patch

from tests.fakes.producing import Killed
from tests.fakes.trainer import tiny_job
from tests.proof.steady import DURATIONS, Ground, work
from worker import checkpoint
from worker.contract import names
from worker.contract.base import sha256_hex
from worker.contract.manifest import Generation, Manifest
from worker.slot import Slot

JOB: Final = tiny_job("corrupt", timesteps=40)
CUT_AT: Final = 30
SEGMENT_ROWS: Final = 8
"""So that a checkpoint of thirty steps has whole segments, which two generations share, and a tail."""
COMMIT_S: Final = 5.0


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (self._file,)


Damage = Callable[[random.Random, Ground, str], bytes | None]
"""What lies in the place of a blob afterwards; None: nothing."""


def _flipped(chance: random.Random, ground: Ground, name: str) -> bytes:
    body = bytearray(_body(ground, name))
    place = chance.randrange(len(body) * 8)
    body[place // 8] ^= 1 << place % 8
    return bytes(body)


def _cut_short(chance: random.Random, ground: Ground, name: str) -> bytes:
    body = _body(ground, name)
    return body[: chance.randrange(len(body))]


def _swapped(chance: random.Random, ground: Ground, name: str) -> bytes:
    """Another blob of the same checkpoint, of whatever kind."""
    others = [_body(ground, other) for other in sorted(ground.checkpoint_names(JOB)) if other != name]
    return chance.choice([other for other in others if other != _body(ground, name)])


def _missing(_chance: random.Random, _ground: Ground, _name: str) -> None:
    return None


def _body(ground: Ground, name: str) -> bytes:
    found = ground.blobs.get(names.CHECKPOINTS, name)
    assert found is not None
    return found.body


DAMAGES: Final[dict[str, Damage]] = {
    "bit flipped": _flipped,
    "cut short": _cut_short,
    "swapped": _swapped,
    "missing": _missing,
}


@contextmanager
def short_segments() -> Iterator[None]:
    """Cut segments so short that a tiny job has several."""
    with patch.object(checkpoint, "SEGMENT_ROWS", SEGMENT_ROWS):
        yield


def interrupted() -> Ground:
    """Return a job that was killed after some commits: two generations, which share whole segments."""
    ground = Ground(durations=DURATIONS.model_copy(update={"commit_s": COMMIT_S}))
    ground.enqueue(JOB)

    def die(_: Slot) -> None:
        manifest = ground.find(JOB)
        if manifest is not None and manifest.step >= CUT_AT:
            raise Killed

    try:
        work(ground.worker("vm-a", at_step=die))
    except Killed:
        return ground
    raise AssertionError("it was to be killed")


@dataclass(frozen=True)
class Trial:
    """What was damaged, and what became of it."""

    kinds: tuple[str, ...]
    fell_back_to: str
    """`newest`, `the one before` or `step 0`."""
    wrong: tuple[str, ...]


def damage(before: Ground, seed: int, payloads: Path) -> Trial:
    """Damage one to three blobs, of any generation, and let the job end."""
    chance = random.Random(seed)
    ground = before.copy()
    manifest = ground.manifest(JOB)
    every = sorted(frozenset[str]().union(*(generation.blob_names() for generation in manifest.generations)))
    victims = chance.sample(every, chance.choice((1, 1, 2, 3)))
    kinds = []
    for name in victims:
        kind = chance.choice((*DAMAGES, "a pickle", "a pickle that the manifest names"))
        kinds.append(kind)
        if kind in DAMAGES:
            _replace(ground, name, DAMAGES[kind](chance, before, name))
        else:
            _put_pickle(ground, name, payloads / str(seed), named=kind != "a pickle")
    return _outcome(ground, victims, tuple(kinds), payloads)


def _replace(ground: Ground, name: str, body: bytes | None) -> None:
    if body is None:
        ground.blobs.delete(names.CHECKPOINTS, name)
    else:
        ground.blobs.put(names.CHECKPOINTS, name, body)


def _put_pickle(ground: Ground, name: str, file: Path, *, named: bool) -> None:
    """Put a payload in a blob's place; `named`: by someone who can write the manifest, too."""
    body = pickle.dumps(Payload(file))
    ground.blobs.put(names.CHECKPOINTS, name, body)
    if named:
        manifest = ground.manifest(JOB)
        forged = tuple(_with_hash(generation, name, body) for generation in manifest.generations)
        manifest = manifest.model_copy(update={"generations": forged})
        place = names.manifest(JOB.sweep, JOB.id)
        ground.blobs.put(names.SWEEPS, place, manifest.canonical(), metadata=manifest.metadata())


def _with_hash(generation: Generation, name: str, body: bytes) -> Generation:
    update = {"length": len(body), "sha256": sha256_hex(body)}
    state = generation.state.model_copy(update=update) if generation.state.name == name else generation.state
    segments = tuple(
        segment.model_copy(update=update) if segment.name == name else segment for segment in generation.segments
    )
    return generation.model_copy(update={"state": state, "segments": segments})


def _outcome(ground: Ground, victims: list[str], kinds: tuple[str, ...], payloads: Path) -> Trial:
    manifest = ground.manifest(JOB)
    whole = [generation for generation in manifest.generations if not generation.blob_names() & set(victims)]
    ground.recover()
    return Trial(kinds, _fallen_back(manifest, whole), tuple(_wrong(ground, manifest, whole, payloads)))


def _fallen_back(manifest: Manifest, whole: list[Generation]) -> str:
    if not whole:
        return "step 0"
    return "newest" if whole[0] == manifest.generations[0] else "the one before"


def _wrong(ground: Ground, manifest: Manifest, whole: list[Generation], payloads: Path) -> Iterator[str]:
    yield from ground.wrong(JOB)
    yield from ground.watched.broken
    expected = [whole[0].step] if whole else []
    if ground.resumed != expected:
        yield f"resumed at {ground.resumed}, and what was whole was {expected}"
    damaged = manifest.generations.index(whole[0]) if whole else len(manifest.generations)
    if ground.events["checkpoint.corrupt"] != damaged:
        yield f"{ground.events['checkpoint.corrupt']} generations were called corrupt, and {damaged} were"
    if ground.events["checkpoint.lost"] != (not whole):
        yield "checkpoint.lost was not said" if not whole else "checkpoint.lost was said"
    if ground.poison.count():
        yield "the job was poisoned"
    if any(payloads.iterdir()):
        yield "a payload ran"


def every_blob_is_a_pickle(before: Ground, payloads: Path) -> Trial:
    """Put a payload in the place of every blob, with the manifest forged to match."""
    ground = before.copy()
    every = sorted(ground.checkpoint_names(JOB))
    for name, number in zip(every, itertools.count()):
        _put_pickle(ground, name, payloads / str(number), named=True)
    return _outcome(ground, every, ("every blob a pickle",), payloads)
