"""What pydantic refuses has the rule that is broken, for texts in other languages."""

from __future__ import annotations

import datetime as dt
import typing
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError as ModelValidationError
from django.test import Client
from pydantic import AfterValidator, AwareDatetime, HttpUrl, Json, TypeAdapter, ValidationError
from pydantic.fields import Field
from pydantic_core import core_schema

from aily.rest.schema_rules import refused_value, rule_of
from chat.reasons import SENTENCES
from tests.aily.problem_answers import answer_to, assert_problem
from tests.subtests import subtested


def _refuse(value: object) -> object:
    raise refused_value("This is {odd}.", {"rule": "no_such_row", "id": "{7}"})


CASES: list[tuple[Any, Any, dict[str, object]]] = [
    (Annotated[str, Field(max_length=2)], "abc", {"rule": "maxLength", "limit": 2}),
    (Annotated[str, Field(min_length=2)], "a", {"rule": "minLength", "limit": 2}),
    (Annotated[str, Field(pattern="^a$")], "b", {"rule": "pattern"}),
    (Annotated[list[int], Field(max_length=1)], [1, 2], {"rule": "maxItems", "limit": 1}),
    (Annotated[dict[str, int], Field(max_length=1)], {"a": 1, "b": 2},
     {"rule": "maxProperties", "limit": 1}),
    (Annotated[int, Field(ge=2)], 1, {"rule": "minimum", "limit": 2}),
    (Annotated[int, Field(lt=2)], 2, {"rule": "exclusiveMaximum", "limit": 2}),
    (Annotated[Decimal, Field(le=Decimal("1.5"))], "2", {"rule": "maximum", "limit": "1.5"}),
    (Annotated[Decimal, Field(decimal_places=2)], "1.234",
     {"rule": "too_many_decimals", "limit": 2}),
    (int, "x", {"rule": "type", "limit": "integer"}),
    (int, 1.5, {"rule": "type", "limit": "integer"}),
    (float, "x", {"rule": "type", "limit": "number"}),
    (bool, 7, {"rule": "type", "limit": "boolean"}),
    (str, 7, {"rule": "type", "limit": "string"}),
    (dict[str, int], [], {"rule": "type", "limit": "object"}),
    (list[int], {}, {"rule": "type", "limit": "array"}),
    (Literal["", "a", "b", "c"], "d", {"rule": "enum", "limit": "a, b, c"}),
    (dt.date, "soon", {"rule": "not_date"}),
    (AwareDatetime, "2026-01-01T00:00:00", {"rule": "not_time"}),
    (HttpUrl, "a", {"rule": "not_url"}),
    (UUID, "a", {"rule": "format", "limit": "uuid"}),
    (Json, "{", {"rule": "not_json"}),
    (Annotated[int, AfterValidator(_refuse)], 1, {"rule": "no_such_row", "id": "{7}"}),
]  # fmt: skip


@subtested(("kind", "value", "expected"), CASES)
def test_a_wrong_value_has_its_rule(kind: Any, value: Any, expected: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    [error] = caught.value.errors()
    assert rule_of(error) == expected


#: What no schema of this project can be refused for: dataclasses, arguments, bytes, sets of Python.
_NEVER = ("argument", "bytes", "callable", "complex", "counter", "dataclass", "default", "ellipsis",
          "fraction", "frozen", "get_attribute", "is_", "iter", "missing_sentinel", "needs",
          "no_such_attribute", "ordered", "deque", "recursion_depth", "set_item", "unexpected",
          "named_tuple", "multiple_argument", "invalid_key", "missing_", "timezone_offset",
          "timezone_naive", "string_not_ascii")  # fmt: skip
#: Raised by validators that give no rule.
_BARE = {"value_error", "assertion_error"}


def test_each_kind_of_error_has_a_rule_with_a_sentence() -> None:
    """A new release of pydantic may have new kinds."""
    context = dict.fromkeys(
        ("max_length", "min_length", "gt", "ge", "lt", "le", "multiple_of", "decimal_places",
         "max_digits", "whole_digits"), 1
    ) | {"expected": "'a'"}  # fmt: skip
    kinds = {str(kind) for kind in typing.get_args(core_schema.ErrorType)}
    assert len(kinds) > 80
    rules = {kind: rule_of({"type": kind, "ctx": context}) for kind in kinds - _BARE}
    without = {kind for kind, rule in rules.items() if not rule and not kind.startswith(_NEVER)}
    assert without == set()
    assert {str(rule["rule"]) for rule in rules.values() if rule} - SENTENCES.keys() == set()


def test_wrong_fields_have_their_rules_and_the_request_that_of_the_first(client: Client) -> None:
    body = {"name": "x" * 101, "expires_at": "2000-01-01T00:00:00Z", "nam": 1}
    response = client.post("/api/keys", body, content_type="application/json")
    problem = assert_problem(response, 422, "invalid_request")
    rules = {error["field"]: error["params"]["rule"] for error in problem["errors"]}
    assert rules == {
        "name": "maxLength",
        "expires_at": "future_time",
        "nam": "additionalProperties",
    }
    assert (
        problem["params"] == problem["errors"][0]["params"] == {"rule": "maxLength", "limit": 100}
    )


def test_what_a_model_refuses_has_its_rule_as_well() -> None:
    with pytest.raises(ModelValidationError) as caught:
        validate_password("1234")
    answer = answer_to(ModelValidationError({"new_password": caught.value}))
    problem = assert_problem(answer, 422, "invalid_request")
    params = [error["params"] for error in problem["errors"]]
    assert params == [
        {"rule": "minLength", "limit": 8},
        {"rule": "common_password"},
        {"rule": "numeric_password"},
    ]
