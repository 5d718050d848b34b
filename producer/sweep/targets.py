"""What a person means by SWEEP, SWEEP/JOB or JOB."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from producer.session import Session
from producer.sweep.plans import read_plan, sweeps
from worker.contract.errors import InputError
from worker.contract.plans import find_plan

_JOB: Final = re.compile(r"[0-9a-f]{4,16}")


@dataclass(frozen=True)
class Meant:
    """A sweep, or some of its jobs."""

    sweep: str
    jobs: tuple[str, ...] = ()
    """Empty = all."""


def meant(session: Session, asked: Sequence[str]) -> Meant:
    """Return what `asked` is about: one sweep, or jobs of one sweep, each by its id or the beginning of it.

    Raises InputError where there is no such thing, more than one, or they are of several sweeps.
    """
    found = [_one(session, text) for text in asked]
    if len({one.sweep for one in found}) > 1:
        raise InputError(f"{' and '.join(asked)} are of several sweeps: one sweep at a time.")
    if any(not one.jobs for one in found) and len(found) > 1:
        raise InputError(f"Name the sweep {found[0].sweep} alone, or some of its jobs.")
    return Meant(found[0].sweep, tuple(dict.fromkeys(job for one in found for job in one.jobs)))


def _one(session: Session, text: str) -> Meant:
    sweep, slash, start = text.rpartition("/")
    if slash:
        return Meant(sweep, (_job(session, [sweep], start),))
    if find_plan(session.blobs, text) is not None:
        return Meant(text)
    if _JOB.fullmatch(text):
        places = [name for name in sweeps(session.blobs) if _starting(session, name, text)]
        if len(places) > 1:
            raise InputError(f"Jobs of {', '.join(places)} begin with {text}: write SWEEP/{text}.")
        if places:
            return Meant(places[0], (_job(session, places, text),))
    read_plan(session.blobs, text)  # raises, and names what there is
    return Meant(text)


def _job(session: Session, places: Sequence[str], start: str) -> str:
    jobs = _starting(session, places[0], start)
    if len(jobs) == 1:
        return jobs[0]
    if not jobs:
        raise InputError(f"No job of {places[0]} begins with {start!r}.")
    raise InputError(f"{len(jobs)} jobs of {places[0]} begin with {start!r}: {', '.join(jobs[:5])}.")


def _starting(session: Session, sweep: str, start: str) -> list[str]:
    stored = find_plan(session.blobs, sweep)
    jobs = stored.plan.jobs if stored is not None else read_plan(session.blobs, sweep).plan.jobs
    return [planned.id for planned in jobs if start and planned.id.startswith(start)]
