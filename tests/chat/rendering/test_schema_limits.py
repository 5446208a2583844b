"""Schemas that take too much are refused; the checks that others need are made in time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from chat.models import SceneVersion
from tests.chat.rendering.conftest import Publish, SubmitVariables, refusal
from tests.chat.rendering.schemas import nested, of_x
from tests.subtests import subtested

pytestmark = pytest.mark.usefixtures("_patient")


# --- Linear now ---------------------------------------------------------------------------------
OBJECTS = [{"a": i, "b": [i, {"c": str(i)}]} for i in range(3000)]
FAST: dict[str, tuple[Any, Any, bool]] = {
    "blanks": (of_x(type="string", pattern="\\s+$"), " " * 40_000 + "x", False),
    "nested quantifiers": (of_x(type="string", pattern="^(a+)+$"), "a" * 26 + "b", False),
    "alternatives": (of_x(type="string", pattern="^(a|aa)+$"), "a" * 50_000 + "b", False),
    "names": (of_x(propertyNames={"pattern": "^(a+)+$"}), {"a" * 30 + "b": 1}, False),
    "properties": (
        of_x(patternProperties={"^(a+)+$": False}, additionalProperties=True),
        {"a" * 30 + "b": 1},
        True,
    ),
    "additional properties": (
        of_x(patternProperties={"^(a+)+$": True}, additionalProperties=False),
        {"a" * 30 + "b": 1},
        False,
    ),
    "unique objects": (of_x(uniqueItems=True), OBJECTS, True),
    "the same object twice": (of_x(uniqueItems=True), [*OBJECTS, OBJECTS[0]], False),
    "1 and true": (of_x(uniqueItems=True), [1, True, [0], [False], 2], True),
    "1 and 1.0": (of_x(uniqueItems=True), [[1], [1.0]], False),
    "an enum of objects": (of_x(enum=[{"a": i} for i in range(999)]), {"a": -1}, False),
    "contains": (of_x(contains={"const": OBJECTS[:100]}), [OBJECTS[:99]] * 3, False),
    "unevaluated": (
        of_x(allOf=[{"allOf": [{"allOf": [True], "unevaluatedItems": False}]}]),
        [1] * 2000,
        False,
    ),
    "multiples of a tiny number": (of_x(multipleOf=1e-300), 10**18, True),
    "multiples in a huge number": (of_x(multipleOf=0.0001), 1e308, True),
}


@subtested("case", FAST)
def test_a_check_that_took_long_is_made(
    publish: Publish, submit_variables: SubmitVariables, case: str
) -> None:
    schema, value, is_valid = FAST[case]
    assert publish("ok", schema).status_code == 200
    answer = submit_variables({"x": value})
    if is_valid:
        assert answer.status_code == 202
        return
    status, code, [field] = refusal(answer)
    assert (status, code) == (422, "invalid_variable")
    assert field.startswith("variables.x")
    assert len(answer.content) < 2000


def doubling(levels: int, link: Callable[[str], Any]) -> dict[str, Any]:
    links = {f"a{i}": link(f"#/$defs/a{i + 1}") for i in range(levels)}
    return {"$defs": {**links, f"a{levels}": {}}, "properties": {"x": {"$ref": "#/$defs/a0"}}}


SCHEMAS: dict[str, Any] = {
    "references that double": doubling(30, lambda to: {"allOf": [{"$ref": to}, {"$ref": to}]}),
    "alternatives that double": doubling(
        30, lambda to: {"anyOf": [{"$ref": to}, {"not": {"$ref": to}}]}
    ),
    "conditions that double": doubling(30, lambda to: {"if": {"$ref": to}, "then": {"$ref": to}}),
    "dependents that double": doubling(
        30, lambda to: {"dependentSchemas": {"a": {"$ref": to}, "b": {"$ref": to}}}
    ),
    "dynamic references": doubling(30, lambda to: {"$dynamicRef": to, "allOf": [{"$ref": to}]}),
    "unevaluated within unevaluated": doubling(
        12, lambda to: {"unevaluatedProperties": False, "allOf": [{"$ref": to}]}
    ),
    "a circle": {"properties": {"x": {"$ref": "#/properties/x"}}},
    "a longer circle": {
        "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}},
        "properties": {"x": {"$ref": "#/$defs/a"}},
    },
    "a $ref to what is no schema": {
        "$ref": "#/properties/x/title",
        "properties": {"x": {"title": "t"}},
    },
    "another dialect inside": of_x(**{"$schema": "http://json-schema.org/draft-07/schema#"}),
    "references that double, within an id of their own": {
        "$defs": {f"a{i}": {} for i in range(31)},
        "properties": {
            "x": {
                **doubling(30, lambda to: {"allOf": [{"$ref": to}, {"$ref": to}]}),
                "$id": "https://example.org/x",
                "$ref": "#/$defs/a0",
            }
        },
    },
    "an id of its own behind a reference": {
        "$ref": "#/x-schemas/a",
        "x-schemas": {"a": {"$id": "a", "type": "object"}},
    },
    "a reference to another host": of_x(**{"$ref": "https://example.org/x"}),
    "a reference to a file": of_x(**{"$ref": "file:///etc/passwd"}),
    "a reference by the id of the top": {
        "$id": "https://example.org/x",
        "properties": {"x": {"$ref": "https://example.org/y#/a"}},
    },
    "look-around": of_x(pattern="(?=a)"),
    "look-behind": of_x(items={"pattern": "(?<!a)b"}),
    "a back-reference": of_x(patternProperties={"(a)\\1": True}),
    "a pattern for a name": {"propertyNames": {"pattern": "(?!a)"}},
    "a huge repetition": of_x(pattern="((a{1,1000}){1,1000})"),
    "a huge pattern": of_x(pattern=".{1,999}" * 20),
    "depth": {"properties": {"x": nested(70)}},
    "values": of_x(enum=list(range(5000))),
    "entries": of_x(enum=list(range(1001))),
    "digits": of_x(multipleOf=10**110),
}  # fmt: skip


@subtested("case", SCHEMAS)
def test_a_schema_that_takes_too_much_is_refused(publish: Publish, case: str) -> None:
    refused = publish("ok", SCHEMAS[case])
    assert refusal(refused) == (422, "invalid_template", ["variables_schema"])
    assert len(refused.content) < 2000
    assert not SceneVersion.objects.exists()


@subtested(
    ("pattern", "value", "is_valid"),
    [
        ("^\\d{4}-\\d\\d$", "2026-11", True),
        ("^\\d+$", "٣", False),
        ("^a$", "a\n", False),
        ("^\\u00e4\\\\u$", "ä\\u", True),
        ("^\\u{1F600}$", "😀", True),
        ("^\\p{L}+$", "äß", True),
        ("^(?<year>\\d+)$", "7", True),
        ("^[\\w.\\-]+@\\w+\\/$", "a-b@c/", True),
    ],
)
def test_patterns_mean_what_json_schema_says(
    publish: Publish, submit_variables: SubmitVariables, pattern: str, value: str, is_valid: bool
) -> None:
    assert publish("ok", of_x(pattern=pattern)).status_code == 200
    assert submit_variables({"x": value}).status_code == (202 if is_valid else 422)


def test_a_version_published_before_its_pattern_was_refused_says_so(
    publish: Publish, submit_variables: SubmitVariables
) -> None:
    assert publish("ok", of_x(pattern="a")).status_code == 200
    SceneVersion.objects.update(variables_schema=of_x(pattern="^(?=a).*$"))
    answer = submit_variables({"x": "a"})
    assert refusal(answer) == (422, "invalid_template", ["variables_schema"])
    assert "$.properties.x.pattern" in json.dumps(answer.json())
