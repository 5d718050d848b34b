"""A program `az` that answers from a table and keeps what it was asked: the shapes are those of the real one's JSON."""

import sys
from ast import literal_eval
from collections.abc import Mapping
from dataclasses import dataclass
from json import dumps, loads
from pathlib import Path
from typing import Any

# Started hundreds of times: what it imports would cost more than what it does, so it imports nothing but `sys`.
PROGRAM = """#!{python} -IS
import sys
asked = sys.argv[1:]
files = {{word: open(word[1:]).read() for word in asked if word[0] == "@"}}
with open({folder!r} + "/asked", "a") as log:
    log.write(repr((asked, files)) + "\\n")
with open({folder!r} + "/answers") as file:
    table = eval(file.read())
for number, (words, stdout, stderr, status, once) in enumerate(table):
    if all(word in asked if word[0] != "!" else word[1:] not in asked for word in words):
        if once:
            del table[number]
            with open({folder!r} + "/answers", "w") as file:
                file.write(repr(table))
        sys.stderr.write(stderr)
        sys.stdout.write(stdout)
        raise SystemExit(status)
sys.stderr.write("ERROR: (NotFound) the table has no answer to: az " + " ".join(asked))
raise SystemExit(3)
"""
Answer = tuple[list[str], str, str, int, bool]
"""Words, standard output, standard error, exit status, and whether it is given only once."""


@dataclass(frozen=True)
class Asked:
    """One call: its words, and the JSON of the files that it named with `@`."""

    words: tuple[str, ...]
    files: Mapping[str, Any]

    def after(self, option: str) -> str:
        """Return the word that follows `option`."""
        return self.words[self.words.index(option) + 1]


class FakeAz:
    """The program, in a folder to put on the PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "az"
        program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        (folder / "answers").write_text("[]")

    def answer(self, *words: str, json: Any = None, once: bool = False) -> None:
        """Answer calls that have all these words (or, after `!`, have not); of several answers, the last given one."""
        self._add((list(words), "" if json is None else dumps(json), "", 0, once))

    def fail(self, *words: str, stderr: str, status: int = 1, once: bool = False) -> None:
        """Fail such calls with what az would write."""
        self._add((list(words), "", stderr, status, once))

    def _add(self, answer: Answer) -> None:
        table: list[Answer] = literal_eval((self.folder / "answers").read_text())
        (self.folder / "answers").write_text(repr([answer, *table]))

    @property
    def asked(self) -> list[Asked]:
        """Every call so far."""
        log = self.folder / "asked"
        lines = log.read_text().splitlines() if log.exists() else []
        return [
            Asked(tuple(words), {name: loads(text) for name, text in files.items()})
            for words, files in map(literal_eval, lines)
        ]

    def calls(self, *words: str) -> list[Asked]:
        """Return the calls that have all these words."""
        return [one for one in self.asked if all(word in one.words for word in words)]
