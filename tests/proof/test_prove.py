"""The harness of `make prove`: what it runs, writes down, and says of what fell short."""

import io
from pathlib import Path

import pytest
import typer
from rich.console import Console

from tests.proof.prove import all_rows, chosen, prove
from tests.proof.readme import MOST_TO_A_USER, README, with_table
from tests.proof.records import Record, page, read_records
from tests.proof.row import Enough, Found, Row, Size, Tell


def row(run: object = None, *, number: int = 3, part: str = "kills", wanted: int = 10, adds_up: bool = False) -> Row:
    def nothing(_size: Size, _tell: Tell) -> Found:
        return Found(wanted, {"jobs lost": 0})

    return Row(number, "no job is lost", run if callable(run) else nothing, part, wanted, adds_up)


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


@pytest.mark.parametrize(
    ("codes", "adds_up", "begins"),
    [
        (["same", "same", "same"], True, [0, 4, 8]),
        (["one", "two", "two"], True, [0, 0, 4]),
        (["", "", ""], True, [0, 0, 0]),
        (["same", "same", "same"], False, [0, 0, 0]),
    ],
    ids=["of the same code", "of another code", "of code that is not committed", "of a row that has to run at once"],
)
def test_slices_add_up_if_they_are_of_the_same_code(
    monkeypatch: pytest.MonkeyPatch, codes: list[str], adds_up: bool, begins: list[int]
) -> None:
    began: list[int] = []

    def slice_of(_size: Size, tell: Tell) -> Found:
        began.append(tell.done)
        four = Found(4, {"jobs": 8, "machine": "this one"}, ["job 5 lost"] if tell.done == 4 else [])
        tell("four more", four)
        raise Enough

    monkeypatch.setattr("tests.proof.prove.this_code", lambda: codes[len(began)])
    sliced, record = row(slice_of, wanted=12, adds_up=adds_up), None
    for _ in codes:
        record = prove(sliced, "full", 1, quiet(), record)
    assert began == begins
    assert record is not None
    assert (record.trials, record.slices) == (begins[-1] + 4, begins[-1] // 4 + 1)
    assert record.figures == {"jobs": 2 * record.trials, "machine": "this one"}
    assert record.interrupted == (record.trials < 12)
    assert list(record.failures) == (["job 5 lost"] if 8 in begins or begins[-1] == 4 else [])


def test_what_is_done_is_done_again_from_its_beginning() -> None:
    done = prove(row(adds_up=True), "full", 0, quiet())
    assert prove(row(adds_up=True), "full", 0, quiet(), done).slices == 1


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


def test_the_readme_shows_five_rows_as_they_stand() -> None:
    text = README.read_text()
    assert text == with_table(text, all_rows(), read_records()), "run `python -m tests.proof.prove --page`"
    assert len(MOST_TO_A_USER) == 5


def test_a_readme_without_a_place_for_the_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="no table between"):
        with_table("# A page", all_rows(), {})
