"""Requests: JSON and nothing else, and what is wrong with it is named."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import APIKey
from tests.aily.problem_answers import assert_problem


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


def test_nul_in_the_query_is_refused(client: Client) -> None:
    problem = assert_problem(client.get("/api/scenes?search=a%00b"), 400, "invalid_request")
    assert problem["errors"][0]["field"] == "query.search"


def test_a_body_that_is_not_sent_as_json_is_a_415(client: Client) -> None:
    response = client.post("/api/keys", "name=x", content_type="application/x-www-form-urlencoded")
    assert_problem(response, 415, "unsupported_media_type")


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
