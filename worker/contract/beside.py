"""Something done beside something else, in a thread that nobody has to wait for."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def beside(name: str, work: Callable[[], T]) -> "Future[T]":
    """Begin `work` in a thread of this name, and return what will come of it.

    An executor waits for its threads when its `with` ends, and once more when the program does: a person who presses
    Ctrl-C while storage does not answer would wait for all time-outs and retries.
    """
    coming: Future[T] = Future()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            coming.set_exception(error)
        else:
            coming.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return coming
