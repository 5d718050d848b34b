"""The queue of jobs: what tranquility asks of it, and Azure Storage Queue as the answer."""

from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Protocol

from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.storage.queue import QueueClient

from worker.contract.azure import storage_errors
from worker.contract.errors import MessageGone


@dataclass(frozen=True, slots=True)
class Receipt:
    """Our hold on a message. It changes with every receive and every renewal."""

    message_id: str
    pop_receipt: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message as received."""

    receipt: Receipt
    text: str
    dequeue_count: int


class MessageQueue(Protocol):
    """A queue with visibility timeouts, which the service counts in whole seconds.

    All methods raise StorageUnavailable or AccessDenied.
    """

    def send(self, text: str) -> Receipt:
        """Put a message that never expires and is visible at once."""

    def receive(self, visibility_timeout_s: float) -> Message | None:
        """Take one message and hide it from others; None where none is visible."""

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        """Hide the message for so long from now on (0 = give it back). Raises MessageGone."""

    def delete(self, receipt: Receipt) -> None:
        """Delete the message. Raises MessageGone where the receipt is no longer good."""

    def count(self) -> int:
        """Return the number of messages, hidden ones included; never lower than the truth."""


class AzureQueue:
    """An Azure Storage Queue."""

    def __init__(self, client: QueueClient) -> None:
        self._client = client
        account = client.url.partition("?")[0].removesuffix(f"/{client.queue_name}")
        self._errors = partial(storage_errors, "queue", account)

    def send(self, text: str) -> Receipt:
        """Put a message with time to live -1 (the service's default would drop it after 7 days)."""
        with self._errors():
            sent = self._client.send_message(text, visibility_timeout=0, time_to_live=-1)
        return Receipt(sent.id, sent.pop_receipt or "")

    def receive(self, visibility_timeout_s: float) -> Message | None:
        """Take one message."""
        with self._errors():
            # receive_messages() would go on fetching pages until the queue is empty (azure-sdk-for-python#14762).
            got = self._client.receive_message(visibility_timeout=ceil(visibility_timeout_s))
        if got is None:
            return None
        return Message(Receipt(got.id, got.pop_receipt or ""), str(got.content), int(got.dequeue_count or 1))

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        """Hide the message for so long from now on, and return the new receipt."""
        with self._errors(), _gone(receipt):
            # Both named: the SDK sends 0 for a missing timeout, and the message would be visible at once.
            updated = self._client.update_message(
                receipt.message_id, pop_receipt=receipt.pop_receipt, visibility_timeout=ceil(visibility_timeout_s)
            )
        return Receipt(receipt.message_id, updated.pop_receipt or "")

    def delete(self, receipt: Receipt) -> None:
        """Delete the message."""
        with self._errors(), _gone(receipt):
            self._client.delete_message(receipt.message_id, pop_receipt=receipt.pop_receipt)

    def count(self) -> int:
        """Return the approximate message count."""
        with self._errors():
            return int(self._client.get_queue_properties().approximate_message_count or 0)


class _gone:  # noqa: N801 - reads as a keyword at its use
    """Turn the service's answers for a stale pop receipt into MessageGone.

    The service says 404 MessageNotFound, Azurite 400 PopReceiptMismatch (Azure/Azurite#2343).
    """

    def __init__(self, receipt: Receipt) -> None:
        self._receipt = receipt

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        stale = isinstance(error, ResourceNotFoundError) or (
            isinstance(error, HttpResponseError)
            and error.status_code == 400
            and getattr(error, "error_code", "")
            in {"PopReceiptMismatch", "MessageNotFound", "InvalidQueryParameterValue"}
        )
        if stale:
            raise MessageGone(f"Message {self._receipt.message_id}.") from error
