"""The harness of `make prove`: what it runs, writes down, and says of what fell short."""

import io
from pathlib import Path

import pytest
import typer
from rich.console import Console

from tests.proof.prove import all_rows, chosen, prove
from tests.proof.records import Record, page, read_records
from tests.proof.row import Found, Row, Size, Tell


def row(run: object = None, *, number: int = 3, part: str = "kills", wanted: int = 10) -> Row:
    def nothing(_size: Size, _tell: Tell) -> Found:
        return Found(wanted, {"jobs lost": 0})

    return Row(number, "no job is lost", run if callable(run) else nothing, part, wanted)


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_every_row_has_a_key_of_its_own_and_a_promise() -> None:
    rows = all_rows()
    assert len({row.key for row in rows}) == len(rows) > 0
    assert all(row.promise and row.wanted for row in rows)
    assert rows == sorted(rows, key=lambda row: (row.number, row.part))


def test_a_number_chooses_all_of_its_parts_and_a_key_chooses_one() -> None:
    rows = [row(part="kills"), row(part="pauses"), row(number=7)]
    assert chosen(rows, []) == rows
    assert chosen(rows, ["3"]) == rows[:2]
    assert chosen(rows, ["3-pauses"]) == [rows[1]]
    with pytest.raises(typer.BadParameter, match="There is no row 4; there are 3-kills, 3-pauses, 7-kills"):
        chosen(rows, ["4"])


def test_what_was_found_is_written_down_and_read_again(tmp_path: Path) -> None:
    record = prove(row(), "full", 0, quiet())
    record.write(tmp_path)
    assert read_records(tmp_path) == {"3-kills": record}
    assert (record.trials, record.figures, record.interrupted) == (10, {"jobs lost": 0}, False)
    assert record.commit
    assert "cores" in record.machine


@pytest.mark.parametrize("interrupt", [True, False])
def test_a_row_that_is_interrupted_or_out_of_time_leaves_what_it_had_found(interrupt: bool) -> None:
    def endless(_size: Size, tell: Tell) -> Found:
        while True:
            tell("on and on", Found(4, {"jobs lost": 0}))
            if interrupt:
                raise KeyboardInterrupt

    record = prove(row(endless), "full", 1e-9, quiet())
    assert (record.trials, record.interrupted) == (4, True)
    assert record.verdict(row()) == "fell short"


def test_the_page_says_what_was_never_run_what_fell_short_and_what_broke() -> None:
    def short(_size: Size, _tell: Tell) -> Found:
        return Found(4, {"jobs lost": 0})

    def broken(_size: Size, _tell: Tell) -> Found:
        return Found(10, {"jobs lost": 1}, ["job 5 lost (seed 77)"])

    rows = [row(part="held"), row(short, part="short"), row(broken, part="broken"), row(part="new")]
    records = {one.key: prove(one, "full", 0, quiet()) for one in rows[:3]}
    text = page(rows, records)
    assert "| 3-held | no job is lost | 10 | jobs lost 0 |" in text
    assert "| 3-short | no job is lost | 4 of 10 | **fell short** · jobs lost 0 |" in text
    assert "| 3-broken | no job is lost | 10 of 10 | **broken** · jobs lost 1 |" in text
    assert "| 3-new | no job is lost | 0 of 10 | **never run** |" in text
    assert "- row 3-broken: job 5 lost (seed 77)" in text
    assert "`make prove ROW=3-held`" in text


def test_the_page_shows_the_figures_that_were_written_down() -> None:
    from tests.proof.records import PAGE

    assert PAGE.read_text() == page(all_rows(), read_records()), "run `python -m tests.proof.prove --page`"
    assert all(isinstance(record, Record) for record in read_records().values())
