"""The files by which the processes of one VM know of each other: the eviction notice, and what each slot works on.

They lie in the runtime directory, which does not survive a reboot. They are written by renaming, so that nobody reads
half of one. Light to import: every slot looks for the notice at every step.
"""

import os
from pathlib import Path

from pydantic import ValidationError

from worker.contract.base import Frozen

NOTICE = "notice.json"


class Notice(Frozen):
    """This VM will go, or restart: its slots stop receiving for good, commit and release."""

    type: str
    """EventType of the scheduled event: Preempt, Terminate, Redeploy or Reboot."""
    event_id: str = ""
    not_before: str = ""
    """When it happens at the earliest, as Azure wrote it: for people, never compared."""
    seen: str = ""
    """UTC, ISO 8601, by this VM's clock: for people, never compared."""


class SlotFile(Frozen):
    """What a slot's process works on."""

    pid: int
    sweep: str = ""
    """Empty while the slot has no job."""
    job: str = ""
    nonce: str = ""
    """Of the claim, as the manifest bears it."""


def notice_file(runtime_directory: Path) -> Path:
    """Return where the notice is."""
    return runtime_directory / NOTICE


def read_notice(path: Path) -> Notice | None:
    """Return the notice, or None where there is none. A notice that cannot be read is one all the same."""
    try:
        body = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return Notice.model_validate_json(body)
    except ValidationError:
        return Notice(type="unreadable")


def slot_file(runtime_directory: Path, slot: int) -> Path:
    """Return where a slot says what it works on."""
    return runtime_directory / f"slot-{slot}.json"


def read_slot_file(runtime_directory: Path, slot: int) -> SlotFile | None:
    """Return what a slot works on, or worked on when it died; None where it never said, or said what we cannot read."""
    try:
        return SlotFile.model_validate_json(slot_file(runtime_directory, slot).read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def slots_here(runtime_directory: Path) -> frozenset[int]:
    """Return the slots that have ever written their file on this VM since it booted."""
    numbers = (path.stem.removeprefix("slot-") for path in runtime_directory.glob("slot-*.json"))
    return frozenset(int(number) for number in numbers if number.isdecimal())


def write_file(path: Path, content: Frozen) -> None:
    """Write a value so that readers find the old file or the new one."""
    # The name is the writer's own: two processes that write at once do not write into each other's half.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content.canonical())
    unfinished.replace(path)
