"""What a slot works on, in a file of its VM: for the supervisor that sees it die, and for the retire service."""

import json
import os
from pathlib import Path

from pydantic import ValidationError

from worker.contract.base import Frozen
from worker.contract.manifest import Manifest


class SlotFile(Frozen):
    """The process of a slot, and its claim."""

    pid: int
    sweep: str = ""
    job: str = ""
    nonce: str = ""


def path_of(runtime_directory: Path, slot: int) -> Path:
    """Return where slot number `slot` keeps its file."""
    return runtime_directory / f"slot-{slot}.json"


def write(runtime_directory: Path, slot: int, claim: Manifest | None) -> None:
    """Say what this process works on; None = nothing."""
    content = SlotFile(pid=os.getpid())
    if claim is not None:
        content = SlotFile(pid=os.getpid(), sweep=claim.job.sweep, job=claim.job.id, nonce=claim.nonce)
    path = path_of(runtime_directory, slot)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(content.model_dump()))
    new.replace(path)


def read(runtime_directory: Path, slot: int) -> SlotFile | None:
    """Return what a slot said last; None where it said nothing that can be read."""
    try:
        return SlotFile.model_validate_json(path_of(runtime_directory, slot).read_text())
    except (OSError, ValidationError):
        return None
