"""Errors of the REST surface, as RFC 9457 problem documents; and its documentation."""

from __future__ import annotations

import json

import msgspec
import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from aily.rest.json_input import one_line
from tests.aily.problem_answers import assert_problem


@pytest.mark.parametrize("path", ["/api/", "/api/nothing", "/api/keys/", "/api/keys/a%00b"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_path_is_a_problem(client: Client, path: str, method: str) -> None:
    problem = assert_problem(getattr(client, method)(path), 404, "not_found")
    assert problem["instance"].startswith("/api/")


def test_a_wrong_method_is_a_problem_that_names_the_right_ones(client: Client) -> None:
    response = client.put("/api/keys", {}, content_type="application/json")
    assert_problem(response, 405, "method_not_allowed")
    assert set(response["Allow"].split(", ")) == {"GET", "POST"}


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "offset=1e9", "limit=x"])
def test_a_wrong_page_is_refused(client: Client, query: str) -> None:
    problem = assert_problem(client.get(f"/api/keys?{query}"), 422, "invalid_request")
    assert problem["errors"][0]["field"] == f"query.{query.partition('=')[0]}"


def test_a_body_over_the_limit_is_a_413(client: Client, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    body = {"name": "x" * 2000}
    assert_problem(
        client.post("/api/keys", body, content_type="application/json"), 413, "too_large"
    )


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
