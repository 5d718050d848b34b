"""Our hold on a message. It owns the pop receipt, which changes with every renewal."""

from worker.contract.errors import MessageGone
from worker.contract.queue import Message, MessageQueue
from worker.contract.runtime import Runtime


class Lease:
    """The lease of one message: for efficiency only, since the manifest is the fence (rule 2).

    One thread at a time uses it: whoever ends the job joins the heartbeat first (rule 3).
    """

    def __init__(self, queue: MessageQueue, message: Message, visibility_timeout_s: float, runtime: Runtime) -> None:
        self._queue = queue
        self._receipt = message.receipt
        self._timeout_s = visibility_timeout_s
        self._runtime = runtime
        self._renewed_s = runtime.monotonic()
        self.message_id = message.receipt.message_id
        self.lost = False
        """Another worker has received the message, or someone deleted it. Training goes on: the fence protects."""

    def age_s(self) -> float:
        """Return the seconds since the message was received or renewed."""
        return self._runtime.monotonic() - self._renewed_s

    def renew(self) -> None:
        """Hide the message for another visibility timeout. Raises StorageUnavailable."""
        self._update(self._timeout_s)
        self._renewed_s = self._runtime.monotonic()

    def give_back(self, after_s: float = 0.0) -> None:
        """Let others receive the message, `after_s` from now. Raises StorageUnavailable."""
        self._update(after_s)

    def delete(self) -> None:
        """Delete the message: its job has ended. Raises StorageUnavailable.

        A receipt that is no longer good means that someone else has the message, who will find the job ended.
        """
        if self.lost:
            return
        try:
            self._queue.delete(self._receipt)
        except MessageGone:
            self.lost = True

    def _update(self, seconds: float) -> None:
        if self.lost:
            return
        try:
            self._receipt = self._queue.renew(self._receipt, seconds)
        except MessageGone:
            self.lost = True
