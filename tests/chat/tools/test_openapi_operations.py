"""What tools are made of operations of OpenAPI documents."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from chat.tools.openapi_operations import DocumentError, Operation, operations_of


def document(paths: dict[str, Any], version: str = "3.0.3", **schemas: Any) -> dict[str, Any]:
    return {"openapi": version, "paths": paths, "components": {"schemas": schemas}}


def body(schema: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def one(paths: dict[str, Any], **schemas: Any) -> Operation:
    (operation,) = operations_of(document(paths, **schemas))
    return operation


def test_parameters_become_arguments() -> None:
    parameters = [
        {"in": "path", "name": "id", "required": True, "schema": {"type": "integer"}},
        {"in": "query", "name": "lines", "description": "How many.", "schema": {"type": "integer"}},
        {"in": "header", "name": "x-tenant", "required": True, "schema": {"type": "string"}},
        {"in": "header", "name": "Authorization", "schema": {"type": "string"}},
        {"in": "cookie", "name": "session", "schema": {"type": "string"}},
    ]
    operation = one(
        {
            "/orders/{id}": {
                "parameters": parameters[:1],
                "get": {
                    "operationId": "getOrder",
                    "summary": "One order",
                    "description": "With its lines.",
                    "parameters": parameters[1:],
                },
            }
        }
    )
    assert (operation.key, operation.name) == ("getOrder", "getOrder")
    assert (operation.method, operation.path, operation.problem) == ("GET", "/orders/{id}", "")
    assert operation.description == "One order\n\nWith its lines."
    assert operation.input_schema == {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "lines": {"type": "integer", "description": "How many."},
            "x-tenant": {"type": "string"},
        },
        "required": ["id", "x-tenant"],
        "additionalProperties": False,
    }
    assert operation.parameters["lines"] == {"in": "query", "name": "lines"}


def test_the_fields_of_a_json_body_are_arguments() -> None:
    operation = one(
        {"/orders": {"post": {"requestBody": body({"$ref": "#/components/schemas/Order"})}}},
        Order={
            "type": "object",
            "properties": {"customer": {"$ref": "#/components/schemas/Customer"}},
            "required": ["customer"],
        },
        Customer={
            "type": "object",
            "properties": {
                "name": {"type": "string", "nullable": True},
                "of": {"$ref": "#/components/schemas/Customer"},
            },
        },
    )
    assert (operation.key, operation.name) == ("POST /orders", "post_orders")
    schema = operation.input_schema
    Draft202012Validator.check_schema(schema)
    assert schema["properties"] == {"customer": {"$ref": "#/$defs/Customer"}}
    assert schema["$defs"]["Customer"]["properties"]["name"] == {"type": ["string", "null"]}
    validator = Draft202012Validator(schema)
    assert validator.is_valid({"customer": {"name": None, "of": {"name": "x"}}})
    assert not validator.is_valid({"customer": {"of": {"name": 1}}})
    assert operation.parameters == {"customer": {"in": "body", "name": "customer"}}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "integer"}},
        {"oneOf": [{"type": "string"}, {"type": "integer"}]},
        {"type": "object", "properties": {"id": {"type": "string"}}},
    ],
)
def test_other_bodies_are_one_argument(schema: dict[str, Any]) -> None:
    parameter = {"in": "query", "name": "id", "schema": {"type": "string"}}
    operation = one({"/bulk": {"put": {"parameters": [parameter], "requestBody": body(schema)}}})
    assert operation.input_schema["properties"]["body"] == schema
    assert operation.parameters["body"] == {"in": "body", "name": ""}
    assert operation.input_schema["required"] == ["body"]


def test_words_of_version_3_0() -> None:
    schema = {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
            "size": {"enum": ["s", "m"], "type": "string", "nullable": True, "example": "s"},
            "of": {"allOf": [{"type": "object"}], "nullable": True},
        },
    }
    found = one({"/x": {"post": {"requestBody": body(schema)}}}).input_schema["properties"]
    assert found["age"] == {"type": "integer", "exclusiveMinimum": 0}
    assert found["size"] == {"enum": ["s", "m", None], "type": ["string", "null"]}
    assert found["of"] == {"anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]}


def test_equal_names_in_two_places() -> None:
    parameters = [
        {"in": "path", "name": "id", "required": True, "schema": {}},
        {"in": "query", "name": "id", "schema": {}},
    ]
    operation = one({"/x/{id}": {"get": {"parameters": parameters}}})
    assert [*operation.input_schema["properties"]] == ["id", "query_id"]
    assert operation.parameters["query_id"] == {"in": "query", "name": "id"}


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        ({"parameters": [{"$ref": "#/components/parameters/no"}]}, "not there"),
        ({"parameters": [{"$ref": "https://evil.example/x.json"}]}, "another document"),
        ({"parameters": [{"in": "cookie", "name": "a", "required": True}]}, "cookie"),
        ({"requestBody": {"required": True, "content": {"text/csv": {}}}}, "no JSON"),
        ({"requestBody": body({"$ref": "#/components/schemas/Loop"})}, "circle"),
        ({"requestBody": {"$ref": "#/components/schemas/Loop"}}, "circle"),
    ],
)
def test_operations_that_no_tool_can_be_made_of(operation: dict[str, Any], problem: str) -> None:
    loop = {"$ref": "#/components/schemas/Loop"}
    assert problem in one({"/x": {"post": operation}}, Loop=loop).problem


def test_a_placeholder_without_a_parameter() -> None:
    assert "{id}" in one({"/x/{id}": {"get": {}}}).problem


def test_a_schema_that_is_nested_too_deeply() -> None:
    schema: dict[str, Any] = {}
    for _ in range(100):
        schema = {"items": schema}
    assert "deep" in one({"/x": {"post": {"requestBody": body(schema)}}}).problem


@pytest.mark.parametrize(
    "given",
    [
        [], None, 5, {}, {"openapi": "2.0", "paths": {}}, {"swagger": "2.0", "paths": {}},
        {"openapi": "3.1.0"}, {"openapi": "3.1.0", "paths": []}, {"openapi": 3, "paths": {}},
        document({f"/{n}": {"get": {}} for n in range(2001)}),
    ],
)  # fmt: skip
def test_what_is_no_document(given: Any) -> None:
    with pytest.raises(DocumentError):
        operations_of(given)


@pytest.mark.parametrize("version", ["3.0.0", "3.1.1", "3.2.0"])
def test_odd_parts_are_passed_over(version: str) -> None:
    paths: dict[str, Any] = {
        "/a": None,
        "/b": {"get": 5, "trace": {}, "post": {"parameters": 7}},
        "/c": [],
    }
    (operation,) = operations_of(document(paths, version))
    assert (operation.key, operation.problem) == ("POST /b", "")
