"""The simulated world keeps time, kills and pauses as a machine does, and the same each time."""

from collections.abc import Callable

from tests.simulator.scheduler import Process, Scheduler, SimulatedRuntime


def world() -> tuple[Scheduler, Process, SimulatedRuntime]:
    scheduler = Scheduler()
    process = Process(scheduler, "p")
    return scheduler, process, SimulatedRuntime(process, lambda: "0" * 16)


def test_a_wait_ends_with_the_event_or_with_its_time() -> None:
    scheduler, process, runtime = world()
    event, seen = runtime.event(), list[tuple[float, bool]]()

    def work() -> None:
        for _ in range(2):
            up = runtime.wait(event, 5.0)
            seen.append((runtime.monotonic(), up))

    process.spawn("a", work)
    scheduler.after(7.0, event.set)
    scheduler.run(scheduler.now_s + 100)
    assert seen == [(1005.0, False), (1007.0, True)]


def test_a_lock_is_held_by_one_and_a_join_waits_for_the_end() -> None:
    scheduler, process, runtime = world()
    lock, order = runtime.lock(), list[str]()

    def hold(name: str) -> Callable[[], None]:
        def work() -> None:
            with lock:
                order.append(f"{name} in")
                scheduler.sleep(1.0)
                order.append(f"{name} out")

        return work

    def main() -> None:
        for task in [runtime.spawn(name, hold(name)) for name in "abc"]:
            task.join()
        order.append("all")

    process.spawn("main", main)
    scheduler.run(scheduler.now_s + 100)
    assert order == ["a in", "a out", "b in", "b out", "c in", "c out", "all"]


def test_a_killed_process_reaches_nothing_any_more_not_even_in_a_finally() -> None:
    scheduler, process, _ = world()
    reached: list[str] = []

    def work() -> None:
        try:
            scheduler.sleep(10.0)
            reached.append("the end")
        finally:
            scheduler.sleep(1.0)
            reached.append("the world")

    thread = process.spawn("a", work)
    scheduler.after(5.0, process.kill)
    scheduler.run(scheduler.now_s + 100)
    assert reached == []
    assert thread.ended


def test_a_paused_process_goes_on_when_its_pause_ends() -> None:
    scheduler, process, runtime = world()
    seen: list[float] = []

    def work() -> None:
        for _ in range(3):
            scheduler.sleep(1.0)
            seen.append(runtime.monotonic())

    process.spawn("a", work)
    scheduler.after(1.5, lambda: process.pause(10.0))
    scheduler.after(4.0, process.resume)
    scheduler.run(scheduler.now_s + 100)
    assert seen == [1001.0, 1004.0, 1005.0]


def test_what_a_thread_dies_of_is_told() -> None:
    scheduler, process, _ = world()
    told: list[str] = []
    scheduler.on_crash = lambda thread, error: told.append(f"{thread.name} {error!r}")
    process.spawn("a", lambda: told.remove("what is not there"))
    scheduler.run(scheduler.now_s + 1)
    assert told == ["p:a ValueError('list.remove(x): x not in list')"]
