"""One YAML file as plain values, with the line of every key, so that an error can say where it is."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from worker.contract.errors import InputError

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 20

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of the file."""

# YAML 1.2's core schema, plus 200_000. PyYAML's own (1.1) reads 3e-4 as a word, and yes, on and 1:30 as no words.
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?[0-9][0-9_]*")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_MAX_DIGITS = 400


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong at one place."""

    path: KeyPath
    words: str


class InvalidFile(InputError):
    """The file cannot be used."""


@dataclass(frozen=True)
class Document:
    """A file that holds a mapping."""

    file: str
    text: str
    content: dict[str, Any]
    lines: Mapping[KeyPath, int]

    def refuse(self, *problems: Problem) -> InvalidFile:
        """Return the error that names file, line, key path and what is wrong, a line for each problem."""
        return InvalidFile("\n".join(self._sentence(problem) for problem in problems))

    def _sentence(self, problem: Problem) -> str:
        path = problem.path
        while path and path not in self.lines:
            path = path[:-1]
        return _sentence(self.file, self.lines.get(path), problem)


def read_document(path: Path) -> Document:
    """Read a YAML file of at most 1 MB. Raises InvalidFile."""
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise InvalidFile(f"{path} has {size:,} bytes; a sweep file has at most {MAX_BYTES:,}.")
        with path.open("rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidFile(f"{path} cannot be read: {error.strerror}.") from error
    return parse_document(str(path), raw)


def parse_document(file: str, raw: bytes) -> Document:
    """Parse the bytes of a YAML file whose top is a mapping. Raises InvalidFile, and nothing else, for any bytes."""
    if len(raw) > MAX_BYTES:
        raise InvalidFile(f"{file} has more than {MAX_BYTES:,} bytes.")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidFile(f"{file} is not UTF-8 text (byte {error.start}).") from error
    builder = _Builder(file, text)
    try:
        content = builder.document()
    except yaml.MarkedYAMLError as error:
        line = f", line {mark.line + 1}" if (mark := error.problem_mark) else ""
        raise InvalidFile(f"{file}{line}: this is not YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise InvalidFile(f"{file}: this is not YAML: {str(error).splitlines()[0]}.") from error
    if content is None:
        raise InvalidFile(f"{file} is empty.")
    if not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else f"only {shown(content)}"
        raise InvalidFile(f"{file} holds {kind}; it must hold keys, such as name: and env:.")
    return Document(file, text, content, builder.lines)


class _Builder:
    """Builds values from parser events.

    PyYAML's own loaders recurse in C (a file of brackets crashes the process) and let a later key win over an
    earlier one.
    """

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        self._events: Iterator[Any] = yaml.parse(text, Loader=loader)
        self.lines: dict[KeyPath, int] = {}

    def document(self) -> Any:
        next(self._events)  # the stream starts
        if isinstance(next(self._events), yaml.StreamEndEvent):
            return None
        content = self._value(next(self._events), ())
        next(self._events)  # the document ends
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            raise self._refuse(after, (), "a second document starts here; a file holds one")
        return content

    def _value(self, event: Any, path: KeyPath) -> Any:
        self.lines.setdefault(path, _line(event))
        if len(path) > MAX_DEPTH:
            raise self._refuse(event, path[:3], f"nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.AliasEvent) or event.anchor:
            raise self._refuse(event, path, "anchors (&) and aliases (*) are not read: write the value out")
        if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
            raise self._refuse(event, path, f"the tag {event.tag} is not read")
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(path)
        return self._scalar(event, path)

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            if not isinstance(event, yaml.ScalarEvent):
                raise self._refuse(event, path, "a key must be one word")
            key = event.value
            place = (*path, key)
            if key in found:
                first = self.lines[place]
                raise self._refuse(event, place, f"this key stands here twice (first in line {first})")
            self.lines[place] = _line(event)
            found[key] = self._value(next(self._events), place)
        return found

    def _list(self, path: KeyPath) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, (*path, len(found))))
        return found

    def _scalar(self, event: Any, path: KeyPath) -> Any:
        text: str = event.value
        plain = event.implicit[0]
        if not plain:
            return text
        if text in _NULL:
            return None
        if text in _BOOLEANS:
            return _BOOLEANS[text]
        if _NOT_FINITE.fullmatch(text):
            raise self._refuse(event, path, f"{text} is not allowed: numbers are finite here")
        if len(text) <= _MAX_DIGITS and _INTEGER.fullmatch(text):
            return int(text.replace("_", ""))
        if len(text) <= _MAX_DIGITS and _FLOAT.fullmatch(text):
            return self._finite(event, path)
        return text

    def _finite(self, event: Any, path: KeyPath) -> float:
        number = float(event.value.replace("_", ""))
        if not math.isfinite(number):
            raise self._refuse(event, path, f"{event.value} is not allowed: it is too large for a number")
        return number

    def _refuse(self, event: Any, path: KeyPath, words: str) -> InvalidFile:
        return InvalidFile(_sentence(self._file, _line(event), Problem(path, words)))


def _line(event: Any) -> int:
    number: int = event.start_mark.line + 1
    return number


def key_text(path: KeyPath) -> str:
    """Return a key path as a person writes it: `space.tau.low`, `seeds[2]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def shown(value: Any) -> str:
    """Return a value as it stands in a sweep file, shortened."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _sentence(file: str, line: int | None, problem: Problem) -> str:
    where = f"{file}, line {line}" if line else file
    key = key_text(problem.path)
    end = "" if problem.words.endswith("?") else "."
    return f"{where}: {key}: {problem.words}{end}" if key else f"{where}: {problem.words}{end}"
