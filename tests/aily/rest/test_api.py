"""Errors of the REST surface, as RFC 9457 problem documents; and its documentation."""

from __future__ import annotations

import json

import msgspec
import pytest
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as ModelValidationError
from django.http import Http404
from django.test import Client
from ninja.errors import HttpError
from pytest_django import Settings

from accounts.models import APIKey, User
from aily.problems import TooLarge
from aily.rest.json_input import one_line
from tests.aily.problem_answers import answer_to, assert_problem
from tests.conftest import ClientOf


@pytest.fixture
def client(alice: User, client_of: ClientOf) -> Client:
    return client_of(alice)


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


def test_a_body_that_is_not_sent_as_json_is_a_415(client: Client) -> None:
    response = client.post("/api/keys", "name=x", content_type="application/x-www-form-urlencoded")
    assert_problem(response, 415, "unsupported_media_type")


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
    assert [one["field"] for one in problem.get("errors", [])] == ([field] if field else [])


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
    assert [one.status_code for one in others] == [201, 200, 204, 404, 405, 422, 401]
    assert {one["Cache-Control"] for one in others} == {"no-store"}
