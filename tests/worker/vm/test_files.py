"""The files by which the processes of one VM know of each other."""

import threading
from pathlib import Path

from worker.vm.files import (
    Notice,
    SlotFile,
    notice_file,
    read_notice,
    read_slot_file,
    slot_file,
    slots_here,
    write_file,
)


def test_a_notice_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = notice_file(tmp_path)
    assert read_notice(path) is None
    notice = Notice(type="Preempt", event_id="1", not_before="Mon, 11 Apr 2022 22:26:58 GMT", seen="now")
    write_file(path, notice)
    assert read_notice(path) == notice


def test_a_notice_that_cannot_be_read_is_a_notice(tmp_path: Path) -> None:
    notice_file(tmp_path).write_text('{"type": "Pre')
    assert read_notice(notice_file(tmp_path)) is not None


def test_nobody_reads_half_a_file(tmp_path: Path) -> None:
    path, stop, halves = slot_file(tmp_path, 0), threading.Event(), []
    write_file(path, SlotFile(pid=1))

    def read() -> None:
        while not stop.is_set():
            if read_slot_file(tmp_path, 0) is None:
                halves.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for pid in range(200):
        write_file(path, SlotFile(pid=pid, sweep="s" * (pid % 40), job="0" * 16))
    stop.set()
    reader.join()
    assert not halves


def test_the_slots_of_this_vm_are_those_that_began(tmp_path: Path) -> None:
    for slot in (0, 3, 12):
        write_file(slot_file(tmp_path, slot), SlotFile(pid=1))
    write_file(notice_file(tmp_path), Notice(type="Preempt"))
    (tmp_path / "slot-x.json").write_text("")
    assert slots_here(tmp_path) == {0, 3, 12}
