"""The OpenAPI document: complete, true, and made once."""

from __future__ import annotations

import re
from typing import Any

import jsonschema
from django.test import Client


def test_the_documentation_loads_nothing_that_its_policy_forbids(transactional_db: None) -> None:
    page = Client().get("/api/docs")
    assert page.status_code == 200
    assert "script-src" not in page["Content-Security-Policy"]
    html = page.content.decode()
    assert "https://" not in html
    assert "<script>" not in html
    schema = Client().get("/api/openapi.json").json()
    assert "/api/keys" in schema["paths"]
    assert schema["info"]["title"] == "aily"


def test_each_operation_is_documented_with_its_problems_and_examples() -> None:
    schema = Client().get("/api/openapi.json").json()
    assert {"BearerAuth", "SessionAuth"} == schema["components"]["securitySchemes"].keys()
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            assert {"401", "503"} <= responses.keys(), (method, path)
            described = [*responses.values(), operation.get("requestBody", {})]
            contents = [
                content for part in described for content in part.get("content", {}).values()
            ]
            assert all("example" in content for content in contents), (method, path)
            if "201" in responses:
                headers = [parameter.get("$ref", "") for parameter in operation["parameters"]]
                assert "#/components/parameters/Idempotency-Key" in headers, (method, path)


def test_examples_are_what_their_schemas_say_and_each_schema_has_its_own() -> None:
    document = Client().get("/api/openapi.json").json()
    schemas = document["components"]["schemas"]

    def check(schema: dict[str, Any], example: Any) -> None:
        named = {"components": document["components"], **schema}
        jsonschema.Draft202012Validator(named, format_checker=jsonschema.FormatChecker()).validate(
            example
        )

    bodies = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = operation.get("requestBody")
            responses = [
                response for code, response in operation["responses"].items() if code[0] == "2"
            ]
            for described in [body, *responses] if body else responses:
                content = described.get("content", {}).get("application/json")
                if content is not None:
                    check(content["schema"], content["example"])
            if body and "application/json" in body["content"]:
                name = body["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                bodies.append(name)
                assert schemas[name].get("examples"), (method, path)
    assert len(bodies) > 20
    for name, schema in schemas.items():
        is_own = name.endswith(("Patch", "In", "Out", "Request")) and not name.startswith("Paged")
        assert "examples" in schema or not is_own, name
        for example in schema.get("examples", ()):
            check({"$ref": f"#/components/schemas/{name}"}, example)
            # One that was inherited shows none of what the subclass adds.
            if not name.endswith(("Patch", "In", "Request")):
                assert example.keys() == schema["properties"].keys(), name


def test_bodies_are_of_types_that_generators_of_clients_know() -> None:
    document = Client().get("/api/openapi.json").json()
    kinds = {
        kind
        for operations in document["paths"].values()
        for operation in operations.values()
        for kind in operation.get("requestBody", {}).get("content", {})
    }
    assert kinds == {"application/json", "multipart/form-data", "application/octet-stream"}


def test_the_body_of_a_patch_has_no_documented_defaults() -> None:
    """A missing field keeps its value. A client that is made of the document would send them."""
    document = Client().get("/api/openapi.json").json()
    schemas = document["components"]["schemas"]
    bodies: dict[str, set[str]] = {}
    for operations in document["paths"].values():
        for method, operation in operations.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
                bodies.setdefault(name, set()).add(method)
    patches = [name for name, methods in bodies.items() if "patch" in methods]
    assert len(patches) > 10
    for name in patches:
        assert bodies[name] == {"patch"}, f"{name} is not a PATCH's alone"
        fields = schemas[name]["properties"]
        assert not [field for field, schema in fields.items() if "default" in schema], name


def test_what_is_recognised_unless_it_is_given_has_no_documented_default() -> None:
    dialect = Client().get("/api/openapi.json").json()["components"]["schemas"]["DialectIn"]
    assert "quote" in dialect["properties"]
    assert not [name for name, field in dialect["properties"].items() if "default" in field]


def test_the_document_says_what_it_is_and_where() -> None:
    document = Client().get("/api/openapi.json").json()
    assert document["servers"] == [{"url": "/", "description": "This server"}]
    assert "Idempotency-Key" in document["info"]["description"]


def test_operation_ids_are_plain_and_unique() -> None:
    document = Client().get("/api/openapi.json").json()
    ids = [
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    ]
    assert len(ids) == len(set(ids))
    for operation_id in ids:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", operation_id), operation_id
        assert "_api_" not in operation_id
        assert len(operation_id) <= 30


def test_tags_are_names_of_modules() -> None:
    document = Client().get("/api/openapi.json").json()
    for operations in document["paths"].values():
        for operation in operations.values():
            [tag] = operation["tags"]
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*", tag), tag


def test_usage_and_error_of_a_task_are_typed() -> None:
    schemas = Client().get("/api/openapi.json").json()["components"]["schemas"]
    for name in ("TaskOut", "TaskItem"):
        properties = schemas[name]["properties"]
        for field, schema in (("usage", "Usage"), ("error", "TaskError")):
            choices = properties[field]["anyOf"]
            assert {"$ref": f"#/components/schemas/{schema}"} in choices
    assert schemas["Usage"]["properties"]["total_tokens"]["type"] == "integer"
    assert schemas["TaskError"]["required"] == ["code", "message"]
    calls = schemas["Result"]["properties"]["tool_calls"]
    assert calls["items"] == {"$ref": "#/components/schemas/OwnToolCall"}
