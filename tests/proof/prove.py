"""`make prove`: runs rows of proof, writes what they reached to docs/reliability/, and makes docs/reliability.md of it.

A row is a module of tests/proof/rows that has a `ROW`. Tests call the same functions with the size `small`.
"""

import importlib
import pkgutil
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from tests.proof import readme
from tests.proof.records import PAGE, Record, page, read_records, this_code, this_commit
from tests.proof.row import Enough, Found, Row, Size

ROWS = PAGE.parents[1] / "tests" / "proof" / "rows"
SAY_AGAIN_S = 10.0
"""How often progress is printed where there is no terminal."""


def all_rows() -> list[Row]:
    """Return every row, in the order of their numbers."""
    found = pkgutil.iter_modules([str(ROWS)])
    rows = [importlib.import_module(f"tests.proof.rows.{module.name}").ROW for module in found]
    return sorted(rows, key=lambda row: (row.number, row.part))


def chosen(rows: Sequence[Row], wanted: Sequence[str]) -> list[Row]:
    """Return the rows of these numbers or keys; all where none is named. Raises typer.BadParameter."""
    for name in wanted:
        if not any(name in {str(row.number), row.key} for row in rows):
            keys = ", ".join(row.key for row in rows)
            raise typer.BadParameter(f"There is no row {name}; there are {keys}.")
    return [row for row in rows if not wanted or {str(row.number), row.key} & set(wanted)]


class Teller:
    """Shows how far a row is, keeps what it has found, and ends it when its time is over."""

    def __init__(self, console: Console, minutes: float, done: int = 0) -> None:
        """`done` trials were made by earlier slices."""
        self.done = done
        self._console = console
        self._began_s = self._said_s = time.monotonic()
        self._until_s = self._began_s + 60.0 * minutes if minutes else float("inf")
        self.so_far = Found(0)

    def __call__(self, text: str, so_far: Found | None = None, /) -> None:
        """Show it; on a terminal in place."""
        self.so_far = so_far or self.so_far
        now_s = time.monotonic()
        if self._console.is_terminal:
            self._console.print(f"  {text}", end="\r", overflow="ellipsis", no_wrap=True)
        elif now_s - self._said_s >= SAY_AGAIN_S:
            self._said_s = now_s
            self._console.print(f"  {text}", highlight=False)
        if now_s > self._until_s:
            raise Enough

    def seconds(self) -> float:
        """Return how long it has run."""
        return time.monotonic() - self._began_s


def prove(row: Row, size: Size, minutes: float, console: Console, before: Record | None = None) -> Record:
    """Run one row, or what an earlier slice has left of it; return what it reached, interrupted or not."""
    console.print(f"[bold]row {row.key}[/bold] {row.promise}", highlight=False)
    commit, code, interrupted = this_commit(), this_code(), False
    goes_on = before if before and row.adds_up and code and before.code == code and before.trials < row.wanted else None
    teller = Teller(console, minutes, goes_on.trials if goes_on else 0)
    try:
        found = row.run(size, teller)
    except (Enough, KeyboardInterrupt):
        found, interrupted = teller.so_far, True
    record = Record.of(row, found, commit=commit, code=code, interrupted=interrupted, seconds=teller.seconds())
    record = record.after(goes_on, row) if goes_on else record
    figures = ", ".join(f"{name} {figure}" for name, figure in record.figures.items())
    after = f"{'interrupted ' if interrupted else ''}after {record.seconds:.0f} s"
    console.print(f"  {record.verdict(row) if size == 'full' else size} {after}: {record.trials} trials; {figures}")
    for failure in record.failures:
        console.print(f"  [red]{failure}[/red]", highlight=False)
    return record


def write_pages(rows: Sequence[Row]) -> None:
    """Make docs/reliability.md, and the table of the README, of what was written down."""
    records = read_records()
    PAGE.write_text(page(rows, records))
    readme.write(rows, records)


def main(
    rows: Annotated[list[str] | None, typer.Argument(help="Numbers or keys, as 3 or 3-kills; all without.")] = None,
    size: Annotated[str, typer.Option(help="small or full; only full runs are written down.")] = "full",
    minutes: Annotated[
        float, typer.Option(help="Give each row so long at most; slices add up. 0: as long as it takes.")
    ] = 0.0,
    only_page: Annotated[bool, typer.Option("--page", help="Only make the page anew.")] = False,
) -> None:
    """Run rows of proof; Ctrl-C ends the one that runs, and what it reached is written down as such."""
    if size not in {"small", "full"}:
        raise typer.BadParameter(f"A size is small or full, not {size}.")
    console = Console()
    every = all_rows()
    records = []
    for row in [] if only_page else chosen(every, rows or []):
        before = read_records().get(row.key) if size == "full" else None
        records.append(prove(row, "full" if size == "full" else "small", minutes, console, before))
        if size == "full":
            records[-1].write()
            write_pages(every)
    if only_page:
        write_pages(every)
    if any(record.failures for record in records):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
