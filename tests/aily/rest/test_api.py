"""Errors of the REST surface, as RFC 9457 problem documents; and its documentation."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import jsonschema
import msgspec
import psycopg
import pytest
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import OperationalError
from django.http import Http404, HttpResponse
from django.test import AsyncClient, Client, RequestFactory
from ninja import NinjaAPI
from ninja.errors import HttpError
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.problems import InvalidRequest, Problem, TooLarge, Unavailable
from aily.rest.api import build_api
from aily.rest.document import Document
from aily.rest.json_input import MAX_DEPTH, decode_json, one_line
from aily.urls import api
from tests.conftest import ClientOf


@pytest.fixture
def client(alice: User, client_of: ClientOf) -> Client:
    return client_of(alice)


def assert_problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response["Content-Type"] == "application/problem+json"
    problem: dict[str, Any] = json.loads(response.content)
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["type"] == f"urn:aily:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    return problem


def answer_to(error: Exception) -> HttpResponse:
    api: NinjaAPI = build_api({}, auth=[])
    return api.on_exception(RequestFactory().get("/api/x"), error)


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/keys/", "/api/keys/a%00b"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_path_is_a_problem(client: Client, path: str, method: str) -> None:
    problem = assert_problem(getattr(client, method)(path), 404, "not_found")
    assert problem["instance"].startswith("/api/")


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(client: Client) -> None:
    response = client.put("/api/keys", {}, content_type="application/json")
    assert_problem(response, 405, "method_not_allowed")
    assert set(response["Allow"].split(", ")) == {"GET", "POST"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b'{"name": NaN}',
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}',
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b'{"name": ' + b"[" * 200 + b"]" * 200 + b"}",
    ],
)
def test_bad_json_is_a_400_and_changes_nothing(client: Client, body: bytes) -> None:
    response = client.post("/api/keys", body, content_type="application/json")
    if body:
        assert_problem(response, 400, "invalid_request")
    else:
        problem = assert_problem(response, 422, "invalid_request")
        assert problem["errors"][0]["field"] == "body"
    assert APIKey.objects.count() == 1


def test_wrong_fields_are_a_422_that_names_each(client: Client) -> None:
    response = client.post(
        "/api/keys", {"nam": 1, "expires_at": "soon"}, content_type="application/json"
    )
    problem = assert_problem(response, 422, "invalid_request")
    fields = {error["field"] for error in problem["errors"]}
    assert fields == {"name", "nam", "expires_at"}
    assert all(error["message"] for error in problem["errors"])


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "offset=1e9", "limit=x"])
def test_a_wrong_page_is_refused(client: Client, query: str) -> None:
    problem = assert_problem(client.get(f"/api/keys?{query}"), 422, "invalid_request")
    assert problem["errors"][0]["field"] == f"query.{query.partition('=')[0]}"


def test_nul_in_the_query_is_refused(client: Client) -> None:
    problem = assert_problem(client.get("/api/scenes?search=a%00b"), 400, "invalid_request")
    assert problem["errors"][0]["field"] == "query.search"


def test_a_body_over_the_limit_is_a_413(client: Client, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    body = {"name": "x" * 2000}
    assert_problem(
        client.post("/api/keys", body, content_type="application/json"), 413, "too_large"
    )


def test_an_unexpected_error_is_a_500_that_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    response = answer_to(RuntimeError("the secret plan"))
    assert_problem(response, 500, "internal_server_error")
    assert b"secret plan" not in response.content
    assert "the secret plan" in caplog.text


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Http404(), 404, "not_found"),
        (PermissionDenied(), 403, "forbidden"),
        (HttpError(429, "slow down"), 429, "too_many_requests"),
        (HttpError(409, "busy"), 409, "conflict"),
        (ModelValidationError({"name": "too short"}), 422, "invalid_request"),
        (ModelValidationError("all wrong"), 422, "invalid_request"),
        (
            ModelValidationError({"name": ModelValidationError("taken", code="unique")}),
            409,
            "conflict",
        ),
        (TooLarge("too much"), 413, "too_large"),
    ],
)
def test_each_kind_of_error_has_its_status(error: Exception, status: int, code: str) -> None:
    assert_problem(answer_to(error), status, code)


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("57P01", 503, "unavailable"),
        ("53300", 503, "unavailable"),
        ("54000", 500, "internal_server_error"),
        ("22P05", 500, "internal_server_error"),
    ],
)
def test_a_statement_that_is_refused_is_no_outage(state: str, status: int, code: str) -> None:
    """Otherwise clients would retry a request that is refused again."""
    error = OperationalError("as Django calls both")
    error.__cause__ = psycopg.errors.lookup(state)("refused")
    assert_problem(answer_to(error), status, code)
    assert_problem(answer_to(OperationalError("the connection is closed")), 503, "unavailable")


def test_a_problem_names_its_field_and_when_to_come_back() -> None:
    problem = Unavailable("Redis is away.", field="variables.text", retry_after_seconds=5)
    response = answer_to(problem)
    body = assert_problem(response, 503, "unavailable")
    assert response["Retry-After"] == "5"
    assert body["errors"] == [{"field": "variables.text", "message": "Redis is away."}]


def test_the_code_of_a_problem_is_that_of_its_class() -> None:
    class Odd(Problem):
        code, status, title = "odd", 418, "Odd"

    assert_problem(answer_to(Odd("odd")), 418, "odd")


def test_json_is_decoded_as_it_stands() -> None:
    value = {"text": "é\\u0000 is no NUL 😀", "list": [1, 2.5, None, True]}
    assert decode_json(json.dumps(value)) == value
    assert decode_json(json.dumps(value).encode()) == value
    nested = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(decode_json(nested)) == nested
    with pytest.raises(InvalidRequest, match="nested"):
        decode_json(f"[{nested}]")


@pytest.mark.parametrize("data", ['{"a\\u0000": 1}', '[["\\u0000"]]', '{"a": {"b": "\\u0000"}}'])
def test_nul_is_found_wherever_it_is(data: str) -> None:
    with pytest.raises(InvalidRequest, match=r"U\+0000"):
        decode_json(data)


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


def test_a_body_that_is_not_sent_as_json_is_a_415(client: Client) -> None:
    response = client.post("/api/keys", "name=x", content_type="application/x-www-form-urlencoded")
    assert_problem(response, 415, "unsupported_media_type")


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
            if body:
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


async def test_the_openapi_document_is_made_once_however_many_ask_at_once(
    monkeypatch: pytest.MonkeyPatch, async_client: AsyncClient
) -> None:
    made: list[object] = []

    def counted(self: Any, **options: Any) -> Any:
        made.append(self)
        return get_schema(self, **options)

    get_schema = NinjaAPI.get_openapi_schema
    monkeypatch.setattr(NinjaAPI, "get_openapi_schema", counted)
    document, path = Document(api), "/api/openapi.json"
    request = RequestFactory().get(path)
    answers = await asyncio.gather(*(document.view(request) for _ in range(20)))
    assert len(made) == 1
    [content] = {answer.content for answer in answers}
    served = await async_client.get(path)
    assert served.content == content
    again = await async_client.get(path, headers={"If-None-Match": served["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize("path", ["/v1", "/v1/models", "/api", "/api/a/b", "/ws", "/ws/llmchat/"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_path_for_programs_is_a_problem(path: str, method: str) -> None:
    assert_problem(getattr(Client(), method)(path), 404, "not_found")


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ('{"name": "\\ud800"}', "name"),
        ('{"a": [{"b": "\\ud800"}]}', "a.0.b"),
        ('{"a": NaN}', "a"),
        ('{"a": {"b\\u0000": 1}}', "a"),
        ('{"a": {"b": "\\u0000"}}', "a.b"),
        ("[" * 200_000, None),
        ('{"a": ' + "9" * 5_000 + "}", None),
        ("{" * 100_000, None),
    ],
)
def test_bad_json_names_the_field(client: Client, data: str, field: str | None) -> None:
    response = client.post("/api/keys", data, content_type="application/json")
    problem = assert_problem(response, 400, "invalid_request")
    assert [error["field"] for error in problem.get("errors", [])] == ([field] if field else [])


def test_what_is_told_of_a_bad_request_is_short_however_long_that_is(client: Client) -> None:
    body = {"x" * 100_000: 1, **{f"more{number}": 1 for number in range(1_000)}}
    response = client.post("/api/keys", body, content_type="application/json")
    assert_problem(response, 422, "invalid_request")
    assert len(response.content) < 20_000


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"])
def test_json_on_one_line_has_nothing_that_ends_one(mark: str) -> None:
    value = {"text": f"before{mark}after", "other": "é ‧ 漢 🚀 \x0b"}
    line = one_line(msgspec.json.encode(value))
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == value


# --- What caches may keep -----------------------------------------------------------------------
def test_answers_are_private_and_what_is_no_plain_read_is_stored_nowhere(
    client: Client, alice: User
) -> None:
    read = client.get("/api/me")
    assert read["Cache-Control"] == "private, no-cache"
    again = client.get("/api/me", headers={"If-None-Match": read["ETag"]})
    assert (again.status_code, again["Cache-Control"]) == (304, "private, no-cache")
    made = client.post("/api/conversations", {}, content_type="application/json")
    path = f"/api/conversations/{made.json()['id']}"
    others = [
        made,
        client.patch(path, {"title": "x"}, content_type="application/json"),
        client.delete(path),
        client.get(path),
        client.put(path, {}, content_type="application/json"),
        client.post("/api/conversations", {"x": 1}, content_type="application/json"),
        Client().get("/api/me"),
    ]
    assert [response.status_code for response in others] == [201, 200, 204, 404, 405, 422, 401]
    assert {response["Cache-Control"] for response in others} == {"no-store"}
