"""Problem documents: each kind of error has its status, its code and its fields."""

from __future__ import annotations

import pytest
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as ModelValidationError
from django.http import Http404
from django.test import Client
from ninja.errors import HttpError

from aily.problems import TooLarge
from tests.aily.problem_answers import answer_to, assert_problem


def test_wrong_fields_are_a_422_that_names_each(client: Client) -> None:
    response = client.post(
        "/api/keys", {"nam": 1, "expires_at": "soon"}, content_type="application/json"
    )
    problem = assert_problem(response, 422, "invalid_request")
    fields = {error["field"] for error in problem["errors"]}
    assert fields == {"name", "nam", "expires_at"}
    assert all(error["message"] for error in problem["errors"])


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


@pytest.mark.parametrize("path", ["/v1", "/v1/models", "/api", "/api/a/b", "/ws", "/ws/llmchat/"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_an_unknown_path_for_programs_is_a_problem(path: str, method: str) -> None:
    assert_problem(getattr(Client(), method)(path), 404, "not_found")
