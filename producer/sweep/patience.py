"""A role that was given a moment ago takes up to ten minutes to take effect: until then a denial is no answer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed

from producer.session import Session
from worker.contract.errors import AccessDenied
from worker.contract.queue import Message, MessageQueue, Receipt
from worker.contract.records import BlobStore, Condition, Listed, Stored
from worker.contract.runtime import Runtime

PATIENCE_S: Final = 600.0
PAUSE_S: Final = 15.0

T = TypeVar("T")


class Patience:
    """Tries again what was denied, and says so once."""

    def __init__(self, runtime: Runtime, say: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._never = runtime.event()
        self._lock = runtime.lock()
        self._say = say
        self._said = False

    def keep(self, work: Callable[[], T]) -> T:
        """Return what `work` returns. Raises AccessDenied after ten minutes of denials."""
        trying = Retrying(
            retry=retry_if_exception_type(AccessDenied),
            wait=wait_fixed(PAUSE_S),
            stop=lambda state: state.idle_for >= PATIENCE_S,
            sleep=self._pause,
            before_sleep=self._explain,
            reraise=True,
        )
        return trying(work)

    def _pause(self, seconds: float) -> None:
        self._runtime.wait(self._never, seconds)

    def _explain(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        with self._lock:
            said, self._said = self._said, True
        if not said:
            self._say(f"{error} A new role takes up to 10 minutes to take effect: trying again until then.")


class PatientBlobs:
    """A BlobStore that waits for its roles."""

    def __init__(self, blobs: BlobStore, patience: Patience) -> None:
        self._blobs = blobs
        self._patience = patience

    def get(self, container: str, name: str, beat: Callable[[], None] = lambda: None) -> Stored | None:
        """Read a blob."""
        return self._patience.keep(lambda: self._blobs.get(container, name, beat))

    def put(
        self,
        container: str,
        name: str,
        body: bytes,
        condition: Condition = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Write a blob."""
        return self._patience.keep(lambda: self._blobs.put(container, name, body, condition, metadata))

    def delete(self, container: str, name: str, condition: Condition = None) -> None:
        """Delete a blob."""
        self._patience.keep(lambda: self._blobs.delete(container, name, condition))

    def list(self, container: str, prefix: str) -> Iterator[Listed]:
        """List blobs; whole, since a denial comes with the first page."""
        yield from self._patience.keep(lambda: [*self._blobs.list(container, prefix)])

    def folders(self, container: str) -> Iterator[str]:
        """List folders."""
        yield from self._patience.keep(lambda: [*self._blobs.folders(container)])


class PatientQueue:
    """A MessageQueue that waits for its roles."""

    def __init__(self, queue: MessageQueue, patience: Patience) -> None:
        self._queue = queue
        self._patience = patience

    def send(self, text: str) -> Receipt:
        """Put a message."""
        return self._patience.keep(lambda: self._queue.send(text))

    def receive(self, visibility_timeout_s: float) -> Message | None:
        """Take a message."""
        return self._patience.keep(lambda: self._queue.receive(visibility_timeout_s))

    def renew(self, receipt: Receipt, visibility_timeout_s: float) -> Receipt:
        """Hide a message for longer."""
        return self._patience.keep(lambda: self._queue.renew(receipt, visibility_timeout_s))

    def delete(self, receipt: Receipt) -> None:
        """Delete a message."""
        self._patience.keep(lambda: self._queue.delete(receipt))

    def count(self) -> int:
        """Count the messages."""
        return self._patience.keep(self._queue.count)


def patient(session: Session, say: Callable[[str], None]) -> Session:
    """Return the session with storage that waits for its roles, and says so by `say`."""
    patience = Patience(session.runtime, say)
    return replace(
        session,
        blobs=PatientBlobs(session.blobs, patience),
        jobs=PatientQueue(session.jobs, patience),
        poison=PatientQueue(session.poison, patience),
    )
