"""Many small storage requests at once, in threads of the injected runtime."""

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from worker.contract.runtime import Runtime

WIDTH: Final = 10
"""The connections that the SDK's HTTP pool keeps: more threads would pay for a TLS handshake per request."""

T = TypeVar("T")
Progress = Callable[[int, int], None]
"""Told how many of how many are done."""


def silent(_done: int, _total: int) -> None:
    """Tell nobody."""


def fan_out(
    runtime: Runtime,
    work: Callable[[T], None],
    items: Sequence[T],
    progress: Progress = silent,
    *,
    width: int = WIDTH,
) -> None:
    """Do `work` for every item, `width` of them at once.

    The first error stops what has not begun, and is raised when everything that had begun has ended; so does Ctrl-C.
    """
    lock = runtime.lock()
    waiting = iter(items)
    errors: list[BaseException] = []
    finished = 0

    def labour() -> None:
        nonlocal finished
        while True:
            with lock:
                item = next(waiting, None) if not errors else None
            if item is None:
                return
            try:
                work(item)
            except BaseException as error:  # noqa: BLE001 - raised below, in the caller's thread
                with lock:
                    errors.append(error)
                return
            with lock:
                finished += 1
                progress(finished, len(items))

    tasks = [runtime.spawn(f"fan-out-{number}", labour) for number in range(min(width, len(items)))]
    try:
        for task in tasks:
            task.join()
    except BaseException as error:
        with lock:
            errors.append(error)
        for task in tasks:
            task.join()
        raise
    if errors:
        raise errors[0]
