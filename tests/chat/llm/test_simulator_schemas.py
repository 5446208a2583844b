"""What the simulated provider makes of JSON Schemas."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator

from chat.llm.simulator.config import SimulatorConfig
from chat.llm.simulator.schemas import value_of
from chat.llm.simulator.server import running_simulator

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}},
    "required": ["city", "zip"],
    "additionalProperties": False,
}
PROMPT = f"Answer with JSON that conforms to this JSON Schema:\n\n{json.dumps(SCHEMA)}"


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA,
        {"enum": ["a", 1, None]},
        {"const": {"a": 1}},
        {"type": ["null", "integer"], "minimum": 5, "maximum": 6},
        {"type": "number", "exclusiveMinimum": 0, "multipleOf": 5},
        {"type": "string", "minLength": 30, "maxLength": 40},
        {"type": "string", "maxLength": 3},
        {"type": "array", "items": SCHEMA, "minItems": 3, "maxItems": 4},
        {"type": "array", "prefixItems": [{"type": "null"}], "items": False, "maxItems": 1},
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "boolean"}}]},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"allOf": [SCHEMA, {"properties": {"more": {"const": 1}}}], "additionalProperties": True},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"const": 7}}},
        {
            "$ref": "#/$defs/Node",
            "$defs": {
                "Node": {
                    "type": "object",
                    "properties": {
                        "value": {"type": "integer"},
                        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
                        "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                    },
                    "required": ["value", "children", "next"],
                    "additionalProperties": False,
                }
            },
        },
    ],
)
def test_values_fit_their_schema(schema: dict[str, Any]) -> None:
    if schema.get("allOf"):
        schema = {**schema, "allOf": [{**SCHEMA, "additionalProperties": True}, schema["allOf"][1]]}
    for seed in range(20):
        value = value_of(schema, Random(seed))
        Draft202012Validator(schema).validate(value)


def test_a_schema_without_an_end_is_an_error() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    with pytest.raises(ValueError, match="no end"):
        value_of(schema, Random(1))


@pytest.mark.parametrize(
    ("knows", "kind", "status"),
    [
        ("native", "json_schema", 200),
        ("json_object", "json_schema", 400),
        ("json_object", "json_object", 200),
        ("prompt", "json_object", 400),
        ("prompt", None, 200),
    ],
)
async def test_it_knows_of_schemas_what_it_is_told_to(
    knows: str, kind: str | None, status: int
) -> None:
    config = SimulatorConfig(
        port=0, latency_seconds=(0, 0), tokens_per_second=0, structured_output=knows
    )
    asked: dict[str, Any] = {"type": kind} if kind else {}
    if kind == "json_schema":
        asked["json_schema"] = {"name": "place", "schema": SCHEMA}
    messages = [{"role": "user", "content": "Where?"}]
    if kind != "json_schema":
        messages.insert(0, {"role": "system", "content": PROMPT})
    body = {"model": "m", "messages": messages, "response_format": asked or None}
    async with running_simulator(config) as simulator, httpx.AsyncClient(timeout=30) as client:
        response = await client.post(f"{simulator.url}/chat/completions", json=body)
    assert response.status_code == status
    if status == 200:
        text = response.json()["choices"][0]["message"]["content"]
        Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_a_setting_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="structured_output"):
        SimulatorConfig(structured_output="magic")
