"""A program `az` that answers from a table and keeps what it was asked: the shapes are those of the real one's JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = """#!{python} -IS
import json, pathlib, sys
folder = pathlib.Path({folder!r})
asked = sys.argv[1:]
files = {{}}
for argument in asked:
    if argument.startswith("@"):
        files[argument] = json.loads(pathlib.Path(argument[1:]).read_text())
with (folder / "asked.jsonl").open("a") as log:
    log.write(json.dumps({{"asked": asked, "files": files}}) + "\\n")
table = json.loads((folder / "answers.json").read_text())
for number, answer in enumerate(table):
    if all(word in asked if word[0] != "!" else word[1:] not in asked for word in answer["words"]):
        if answer["once"]:
            del table[number]
            (folder / "answers.json").write_text(json.dumps(table))
        sys.stderr.write(answer["stderr"])
        sys.stdout.write("" if answer["json"] is None else json.dumps(answer["json"]))
        raise SystemExit(answer["status"])
sys.stderr.write("ERROR: (NotFound) the table has no answer to: az " + " ".join(asked))
raise SystemExit(3)
"""


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
        self._table: list[dict[str, Any]] = []
        program = folder / "az"
        program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
        program.chmod(0o755)
        self._write()

    def answer(self, *words: str, json: Any = None, once: bool = False) -> None:
        """Answer calls that have all these words (or, after `!`, have not); of several answers, the last given one."""
        self._add(words, {"json": json, "stderr": "", "status": 0, "once": once})

    def fail(self, *words: str, stderr: str, status: int = 1, once: bool = False) -> None:
        """Fail such calls with what az would write."""
        self._add(words, {"json": None, "stderr": stderr, "status": status, "once": once})

    def _add(self, words: Sequence[str], answer: Mapping[str, Any]) -> None:
        self._table = json.loads((self.folder / "answers.json").read_text())
        self._table.insert(0, {"words": list(words), **answer})
        self._write()

    def _write(self) -> None:
        (self.folder / "answers.json").write_text(json.dumps(self._table))

    @property
    def asked(self) -> list[Asked]:
        """Every call so far."""
        log = self.folder / "asked.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [Asked(tuple(one["asked"]), one["files"]) for one in map(json.loads, lines)]

    def calls(self, *words: str) -> list[Asked]:
        """Return the calls that have all these words."""
        return [one for one in self.asked if all(word in one.words for word in words)]
