"""Requests go out side by side, and the first error is not lost."""

import threading
from collections.abc import Callable, Iterator

import pytest

from producer.sweep.parallel import WIDTH, fan_out
from tests.fakes.producing import InlineRuntime
from worker.contract.runtime import RealRuntime, Task


def test_every_item_is_worked_on_once_and_told_in_order() -> None:
    done: list[int] = []
    told: list[tuple[int, int]] = []
    fan_out(RealRuntime(), done.append, range(100), lambda *count: told.append(count))
    assert sorted(done) == list(range(100))
    assert told == [(number, 100) for number in range(1, 101)]


def test_as_many_items_are_under_way_as_there_are_threads() -> None:
    barrier = threading.Barrier(WIDTH, timeout=60)

    def meet(_: int) -> None:
        barrier.wait()

    fan_out(RealRuntime(), meet, range(WIDTH))
    assert not barrier.broken


def test_the_first_error_stops_what_has_not_begun_and_is_raised() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        if item == 3:
            raise ValueError("three")

    with pytest.raises(ValueError, match="three"):
        fan_out(InlineRuntime(), work, range(100))
    assert begun == [0, 1, 2, 3]


def test_nothing_is_under_way_any_more_when_an_error_is_raised() -> None:
    failed, released = threading.Event(), threading.Event()
    ended: list[str] = []

    def work(item: str) -> None:
        if item == "fails":
            failed.set()
            raise ValueError(item)
        assert released.wait(60)
        ended.append(item)

    def release() -> None:
        assert failed.wait(60)
        released.set()

    helper = threading.Thread(target=release)
    helper.start()
    with pytest.raises(ValueError, match="fails"):
        fan_out(RealRuntime(), work, ["fails", "takes long"])
    helper.join()
    assert ended in (["takes long"], [])  # not begun, or ended: never left behind
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fan-out")]


class InterruptedRuntime(RealRuntime):
    """Ctrl-C comes while the caller waits for its threads."""

    def __init__(self) -> None:
        self._interrupts = iter([True])

    def spawn(self, name: str, work: Callable[[], None]) -> Task:
        return _Interrupted(super().spawn(name, work), self._interrupts)


class _Interrupted:
    def __init__(self, task: Task, interrupts: Iterator[bool]) -> None:
        self._task = task
        self._interrupts = interrupts

    def join(self) -> None:
        if next(self._interrupts, False):
            raise KeyboardInterrupt
        self._task.join()


def test_ctrl_c_waits_for_what_is_under_way() -> None:
    done: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        fan_out(InterruptedRuntime(), done.append, range(1000))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fan-out")]
    assert len(set(done)) == len(done)


def test_no_item_needs_no_thread() -> None:
    fan_out(InlineRuntime(), lambda _: pytest.fail("nothing to do"), [])
