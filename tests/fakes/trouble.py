"""Storage in trouble: it refuses every request while the test says so."""

import threading
from collections.abc import Callable
from typing import TypeVar

from worker.contract.errors import StorageError, StorageUnavailable

T = TypeVar("T")


class Trouble:
    """What all stores of a test suffer from at once."""

    def __init__(self, error: StorageError | None = None) -> None:
        self._error = error or StorageUnavailable("An outage.")
        self._changed = threading.Condition()
        self.down = False
        self.refused = 0

    def through(self, request: Callable[[], T]) -> T:
        """Carry a request out, unless storage is down."""
        with self._changed:
            if self.down:
                self.refused += 1
                self._changed.notify_all()
                raise self._error
        return request()

    def await_refusals(self, more: int = 1) -> None:
        """Wait until so many more requests were refused."""
        with self._changed:
            enough = self.refused + more
            assert self._changed.wait_for(lambda: self.refused >= enough, 60), "nobody asks the storage"
