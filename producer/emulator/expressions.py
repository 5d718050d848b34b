"""Expressions of the workflow definition language: the part of them that the wake uses, and nothing beyond it.

A function, operator or literal that is not known here raises `UnsupportedWorkflow`, so that the laptop never evaluates
a definition differently from Azure without saying so. Evaluation is eager where Azure's is not documented: a definition
that works here does not lean on a branch that is left unevaluated.

Reference: Microsoft, "Reference guide to workflow expression functions in Azure Logic Apps".
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any, Final, Protocol

TICKS_PER_S: Final = 10_000_000
_EPOCH: Final = datetime(1, 1, 1, tzinfo=UTC)
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+)|(?P<name>[A-Za-z_]\w*)|(?P<mark>\?\[|[\[\](),]))"
)
_CONSTANTS: Final[Mapping[str, Any]] = {"null": None, "true": True, "false": False}


class UnsupportedWorkflow(Exception):
    """The definition uses what the emulator does not know: teach producer/emulator, or write it otherwise."""


class ExpressionError(Exception):
    """An expression has no value, as in Azure: the action that asked for it fails."""


class Scope(Protocol):
    """What an expression may ask of the run that it is evaluated in."""

    def parameter(self, name: str) -> Any:
        """The value of a parameter of the definition."""

    def outputs(self, action: str) -> Any:
        """The outputs of an action; None where it was skipped or brought none."""

    def now(self) -> datetime:
        """The time of the engine, UTC."""


@dataclass(frozen=True, slots=True)
class _Call:
    name: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Index:
    of: Any
    key: Any
    may_be_absent: bool


@dataclass(frozen=True, slots=True)
class _Literal:
    value: Any


_Node = _Call | _Index | _Literal


def evaluate(value: Any, scope: Scope) -> Any:
    """Replace every expression in a JSON value by what it stands for.

    Raises:
        ExpressionError: an expression has no value.
        UnsupportedWorkflow: an expression uses what is not known here.
    """
    if isinstance(value, str):
        return _evaluate_text(value, scope)
    if isinstance(value, Mapping):
        return {key: evaluate(item, scope) for key, item in value.items()}
    if isinstance(value, list):
        return [evaluate(item, scope) for item in value]
    return value


def timestamp(moment: datetime) -> str:
    """Write a time as Azure does: seven digits of a second, and Z."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"


def _evaluate_text(text: str, scope: Scope) -> Any:
    if text.startswith("@@"):
        return text[1:]
    if text.startswith("@") and not text.startswith("@{"):
        return _value(parse(text[1:]), scope)
    parts = text.split("@{")
    rendered = [parts[0]]
    for part in parts[1:]:
        node, rest = _parse_until_brace(part)
        rendered += [_as_text(_value(node, scope)), rest]
    return "".join(rendered)


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str | int):
        return str(value)
    raise UnsupportedWorkflow(f"a {type(value).__name__} inside a text: {value!r}")


# ---- Parsing ---------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def peek(self) -> str:
        match = _TOKEN.match(self.text, self.position)
        return match[0].strip() if match else ""

    def take(self, expected: str = "") -> re.Match[str]:
        match = _TOKEN.match(self.text, self.position)
        if match is None or (expected and match[0].strip() != expected):
            raise UnsupportedWorkflow(f"expected {expected or 'a value'} at {self.position} of: {self.text}")
        self.position = match.end()
        return match

    def expression(self) -> _Node:
        node = self._primary()
        while self.peek() in {"[", "?["}:
            may_be_absent = self.take()[0].strip() == "?["
            node = _Index(node, self.expression(), may_be_absent)
            self.take("]")
        return node

    def _primary(self) -> _Node:
        match = self.take()
        if match["text"] is not None:
            return _Literal(match["text"][1:-1].replace("''", "'"))
        if match["number"] is not None:
            return _Literal(int(match["number"]))
        name = match["name"]
        if name in _CONSTANTS:
            return _Literal(_CONSTANTS[name])
        if name is None:
            raise UnsupportedWorkflow(f"a value cannot begin with {match[0]!r}: {self.text}")
        self.take("(")
        return _Call(name, tuple(self._arguments()))

    def _arguments(self) -> Iterator[_Node]:
        while self.peek() != ")":
            yield self.expression()
            if self.peek() == ",":
                self.take(",")
        self.take(")")


def parse(text: str) -> _Node:
    """Parse one expression, without its leading @."""
    parser = _Parser(text)
    node = parser.expression()
    if text[parser.position :].strip():
        raise UnsupportedWorkflow(f"nothing is known to follow at {parser.position} of: {text}")
    return node


def _parse_until_brace(text: str) -> tuple[_Node, str]:
    parser = _Parser(text)
    node = parser.expression()
    rest = text[parser.position :].lstrip()
    if not rest.startswith("}"):
        raise UnsupportedWorkflow(f"an interpolation is not closed: @{{{text}")
    return node, rest[1:]


# ---- Values ----------------------------------------------------------------------------------------------------------


def _value(node: _Node, scope: Scope) -> Any:
    if isinstance(node, _Literal):
        return node.value
    if isinstance(node, _Index):
        return _index(_value(node.of, scope), _value(node.key, scope), may_be_absent=node.may_be_absent)
    arguments = [_value(argument, scope) for argument in node.arguments]
    match node.name:
        case "parameters":
            return scope.parameter(*arguments)
        case "outputs":
            return scope.outputs(*arguments)
        case "body":
            return _index(scope.outputs(*arguments), "body", may_be_absent=True)
        case "utcNow":
            return _utc_now(scope, *arguments)
    if node.name not in _FUNCTIONS:
        raise UnsupportedWorkflow(f"function {node.name}()")
    return _FUNCTIONS[node.name](*arguments)


def _index(of: Any, key: Any, *, may_be_absent: bool) -> Any:
    if of is None and may_be_absent:
        return None
    if not isinstance(of, Mapping):
        raise ExpressionError(f"{key!r} is asked of {of!r}, which has no properties")
    if key not in of and not may_be_absent:
        raise ExpressionError(f"there is no property {key!r}; there are {', '.join(map(str, of)) or 'none'}")
    return of.get(key)


def _utc_now(scope: Scope, form: str = "") -> str:
    if form == "r":
        return format_datetime(scope.now().astimezone(UTC), usegmt=True)
    if form:
        raise UnsupportedWorkflow(f"utcNow({form!r})")
    return timestamp(scope.now())


def _integer(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ExpressionError(f"a number is needed, not {value!r}")
    return value


def _int(value: Any) -> int:
    try:
        return _integer(value) if not isinstance(value, str) else int(value)
    except ValueError as error:
        raise ExpressionError(f"int({value!r})") from error


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError(f"true or false is needed, not {value!r}")
    return value


def _parse_date_time(text: Any, locale: str, form: str) -> str:
    if (locale, form) != ("en-US", "r"):
        raise UnsupportedWorkflow(f"parseDateTime with {locale!r}, {form!r}")
    try:
        return timestamp(parsedate_to_datetime(text))
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"parseDateTime({text!r})") from error


def _ticks(text: Any) -> int:
    try:
        # Python reads six digits of a second, Azure writes seven.
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"ticks({text!r})") from error
    return (moment - _EPOCH) // timedelta(microseconds=1) * (TICKS_PER_S // 1_000_000)


def _div(dividend: Any, divisor: Any) -> int:
    if _integer(divisor) == 0:
        raise ExpressionError("division by zero")
    quotient: int = abs(_integer(dividend)) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


def equal(one: Any, other: Any) -> bool:
    """`equals` of Azure: no conversion between types, so that 0 is neither null nor false."""
    return type(one) is type(other) and bool(one == other)


def is_greater(one: Any, other: Any) -> bool:
    """`greater` of Azure, for whole numbers."""
    return _integer(one) > _integer(other)


_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "add": lambda one, other: _integer(one) + _integer(other),
    "sub": lambda one, other: _integer(one) - _integer(other),
    "mul": lambda one, other: _integer(one) * _integer(other),
    "div": _div,
    "min": lambda *values: min(map(_integer, values)),
    "int": _int,
    "concat": lambda *texts: "".join(map(_as_text, texts)),
    "coalesce": lambda *values: next((value for value in values if value is not None), None),
    "if": lambda condition, yes, no: yes if _boolean(condition) else no,
    "equals": equal,
    "less": lambda one, other: is_greater(other, one),
    "lessOrEquals": lambda one, other: not is_greater(one, other),
    "parseDateTime": _parse_date_time,
    "ticks": _ticks,
}


def holds(condition: Any, scope: Scope) -> bool:
    """Evaluate the condition of an If action: `and`, `or`, `not` and comparisons as JSON.

    Raises:
        ExpressionError: an operand has no value, or not the type that the comparison needs.
    """
    if not isinstance(condition, Mapping) or len(condition) != 1:
        raise UnsupportedWorkflow(f"condition {condition!r}")
    ((operator, operands),) = condition.items()
    if operator == "not":
        return not holds(operands, scope)
    if operator in {"and", "or"}:
        return (all if operator == "and" else any)([holds(operand, scope) for operand in operands])
    return _compare(operator, [evaluate(operand, scope) for operand in operands])


def _compare(operator: str, operands: Sequence[Any]) -> bool:
    one, other = operands
    match operator:
        case "equals":
            return equal(one, other)
        case "greater":
            return is_greater(one, other)
        case "greaterOrEquals":
            return not is_greater(other, one)
    raise UnsupportedWorkflow(f"comparison {operator!r}")
