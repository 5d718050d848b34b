"""A role that was given a moment ago takes up to ten minutes to take effect: until then a denial is no answer."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed

from producer.session import Session
from worker.contract.errors import AccessDenied
from worker.contract.runtime import Runtime
from worker.contract.through import BlobsThrough, QueueThrough

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


def patient(session: Session, say: Callable[[str], None]) -> Session:
    """Return the session with storage that waits for its roles, and says so by `say`."""
    patience = Patience(session.runtime, say)
    return replace(
        session,
        blobs=BlobsThrough(session.blobs, patience.keep),
        jobs=QueueThrough(session.jobs, patience.keep),
        poison=QueueThrough(session.poison, patience.keep),
    )
