"""The poison queue: where a message goes that can never be a job, or whose job ends every worker."""

from typing import Final
from xml.sax.saxutils import escape

from worker.contract import names
from worker.contract.base import canonical_json
from worker.slot import Slot

LARGEST_RECORD: Final = 48_000
"""Bytes of a record as it is sent: JSON in ASCII, where an emoji is twelve, inside of XML, where a `<` is four.

The service takes 65,536; what would be larger goes without the text, which then has a blob of its own."""
LONGEST_REASON: Final = 1_000
"""Characters. Whose exception says more has it all in the manifest, or in the message itself."""


def send_to_poison(slot: Slot, reason: str, text: str, message_id: str) -> None:
    """Put a message and why it is there on the poison queue. Raises StorageError; the caller deletes it only after."""
    record = {
        "reason": reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]} …",
        "message_id": message_id,
        "worker": slot.name,
        "utc": slot.runtime.utc(),
    }
    whole = _encoded(record | {"text": text})
    if len(escape(whole)) <= LARGEST_RECORD:
        slot.poison.send(whole)
        return
    slot.blobs.put(names.CONTROL, names.POISONED + message_id, text.encode())
    slot.poison.send(_encoded(record | {"blob": f"{names.CONTROL}/{names.POISONED}{message_id}"}))


def _encoded(record: dict[str, str]) -> str:
    return canonical_json(record).decode()
