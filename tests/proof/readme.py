"""The rows that matter most to a user, as a table of README.md, made of the same figures as docs/reliability.md."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.proof.records import ROOT, Record
from tests.proof.row import Row

README: Final = ROOT / "README.md"
MOST_TO_A_USER: Final = ("3-kills", "7-cuts", "9", "6", "11")
BEGINS, ENDS = "<!-- Made by `make prove`; do not edit. -->", "<!-- Made so far. -->"
_TABLE = re.compile(f"(?<={re.escape(BEGINS)}\n).*(?={re.escape(ENDS)})", re.DOTALL)


def with_table(text: str, rows: Sequence[Row], records: Mapping[str, Record]) -> str:
    """Return a text with the table between its two marks made anew. Raises ValueError where they are missing."""
    found = _TABLE.search(text)
    if found is None:
        raise ValueError(f"There is no table between {BEGINS!r} and {ENDS!r}.")
    return text[: found.start()] + table(rows, records) + text[found.end() :]


def table(rows: Sequence[Row], records: Mapping[str, Record]) -> str:
    """Return the table, in the order of what matters."""
    by_key = {row.key: row for row in rows}
    lines = ["| row | promise | trials | |", "| --- | --- | --: | --- |"]
    lines += [_line(by_key[key], records.get(key)) for key in MOST_TO_A_USER]
    return "\n".join([*lines, ""])


def _line(row: Row, record: Record | None) -> str:
    trials = record.trials if record else 0
    verdict = record.verdict(row) if record else "never run"
    of = f" of {row.wanted:,}" if verdict in {"never run", "fell short"} else ""
    return f"| {row.key} | {row.promise} | {trials:,}{of} | {verdict} |"


def write(rows: Sequence[Row], records: Mapping[str, Record], readme: Path = README) -> None:
    """Make the table of the README anew."""
    readme.write_text(with_table(readme.read_text(), rows, records))
