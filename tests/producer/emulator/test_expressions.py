"""The workflow definition language, as far as the wake speaks it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from producer.emulator.expressions import ExpressionError, UnsupportedWorkflow, evaluate, holds

OUTPUTS = {"read": {"statusCode": 200, "body": {"sku": {"capacity": 3}, "etag": '"7"'}, "headers": {}}}


class Scope:
    """A run with one action behind it."""

    def parameter(self, name: str) -> Any:
        return {"max": 10, "name": "set"}[name]

    def outputs(self, action: str) -> Any:
        return OUTPUTS.get(action)

    def now(self) -> datetime:
        return datetime(2026, 11, 22, 8, 0, 5, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("@@literal", "@literal"),
        ("@parameters('max')", 10),
        ("@{parameters('max')}", "10"),
        ("a @{parameters('name')} of @{parameters('max')}.", "a set of 10."),
        ("@{parameters('name')}/wake", "set/wake"),
        ("@concat('it''s ', 3)", "it's 3"),
        ("@outputs('read')?['body']?['sku']?['capacity']", 3),
        ("@body('read')['etag']", '"7"'),
        ("@outputs('read')?['headers']?['ETag']", None),
        ("@outputs('skipped')?['headers']?['ETag']", None),
        ("@coalesce(outputs('skipped'), null, 'x')", "x"),
        ("@if(equals(1, 1), 'yes', 'no')", "yes"),
        ("@div(add(9, sub(8, 1)), 8)", 2),
        ("@div(-7, 2)", -3),
        ("@min(parameters('max'), 4)", 4),
        ("@int('12')", 12),
        ("@less(1, 2)", True),
        ("@lessOrEquals(2, 2)", True),
        ("@equals(0, null)", False),
        ("@equals(1, true)", False),
        ("@utcNow()", "2026-11-22T08:00:05.2500000Z"),
        ("@utcNow('r')", "Sun, 22 Nov 2026 08:00:05 GMT"),
        ("@parseDateTime('Sun, 22 Nov 2026 08:00:05 GMT', 'en-US', 'r')", "2026-11-22T08:00:05.0000000Z"),
        ("@ticks('2018-01-01T08:00:00Z')", 636503904000000000),  # the example of Microsoft's reference
        ("@ticks('2018-01-01T08:00:00.0000010Z')", 636503904000000010),
    ],
)
def test_an_expression_has_the_value_that_the_reference_gives(text: str, value: Any) -> None:
    assert evaluate(text, Scope()) == value
    assert type(evaluate(text, Scope())) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "@int(null)",
        "@int('many')",
        "@int(outputs('skipped')?['headers']?['count'])",
        "@add('1', 2)",
        "@div(1, 0)",
        "@ticks('yesterday')",
        "@ticks(null)",
        "@parseDateTime(null, 'en-US', 'r')",
        "@outputs('read')['body']['tags']",
        "@outputs('read')['statusCode']['deeper']",
        "@outputs('skipped')['headers']",
        "@if('yes', 1, 2)",
    ],
)
def test_what_is_missing_or_of_the_wrong_kind_has_no_value(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text, Scope())


@pytest.mark.parametrize(
    "text", ["@rand(1, 2)", "@add(1, 2) 3", "@{add(1, 2)", "@", "@add(1", "@[1]", "@variables('x')"]
)
def test_what_is_not_known_is_refused(text: str) -> None:
    with pytest.raises(UnsupportedWorkflow):
        evaluate(text, Scope())


def test_expressions_are_found_at_any_depth_of_a_value() -> None:
    assert evaluate({"sku": [{"capacity": "@parameters('max')"}, 1, None]}, Scope()) == {
        "sku": [{"capacity": 10}, 1, None]
    }


@pytest.mark.parametrize(
    ("condition", "value"),
    [
        ({"and": []}, True),
        ({"or": []}, False),
        ({"and": [{"greater": ["@parameters('max')", 9]}, {"equals": ["@parameters('name')", "set"]}]}, True),
        ({"or": [{"equals": [1, 2]}, {"greaterOrEquals": [2, 2]}]}, True),
        ({"not": {"equals": ["@outputs('skipped')", "@null"]}}, False),
    ],
)
def test_a_condition_holds_or_not(condition: dict[str, Any], value: bool) -> None:
    assert holds(condition, Scope()) is value


def test_a_comparison_with_nothing_is_no_answer() -> None:
    with pytest.raises(ExpressionError):
        holds({"or": [{"equals": [1, 1]}, {"greater": ["@null", 0]}]}, Scope())
