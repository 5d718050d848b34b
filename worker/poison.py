"""The poison queue: where a message goes that can never be a job, or whose job ends every worker."""

from worker.contract import names
from worker.contract.base import canonical_json
from worker.slot import Slot

LONGEST_TEXT = 16_000
"""A message has 64 KiB at most, and its XML may need five bytes for one; longer texts go to a blob of their own."""


def send_to_poison(slot: Slot, reason: str, text: str, message_id: str) -> None:
    """Put a message and why it is there on the poison queue. Raises StorageError; the caller deletes it only after."""
    record = {"reason": reason, "message_id": message_id, "worker": slot.name, "utc": slot.runtime.utc()}
    if len(text) <= LONGEST_TEXT:
        record["text"] = text
    else:
        record["blob"] = f"{names.CONTROL}/{names.POISONED}{message_id}"
        slot.blobs.put(names.CONTROL, names.POISONED + message_id, text.encode())
    slot.poison.send(canonical_json(record).decode())
