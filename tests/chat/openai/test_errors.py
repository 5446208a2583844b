"""Errors under /v1: in OpenAI's form on every path, with an id on every answer."""

from __future__ import annotations

import httpx
import pytest

from accounts.models import APIKey, User
from aily.database.threads import in_database
from aily.problems import Conflict, InvalidRequest, Problem, RateLimited, Unavailable
from chat.openai.errors import OpenAIError
from tests.chat.openai.conftest import V1


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "", 404, "not_found"),
        ("GET", "/", 404, "not_found"),
        ("POST", "/nothing/at/all", 404, "not_found"),
        ("DELETE", "/models", 405, "method_not_allowed"),
        ("GET", "/models/%00", 404, "not_found"),
    ],
)
async def test_every_path_answers_in_openais_form(
    alice_v1: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await alice_v1.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert (error["type"], error["code"]) == ("invalid_request_error", code)


async def test_keys_that_do_not_work_are_refused(v1: V1, alice: User, bob: User) -> None:
    revoked, of_disabled = await in_database(_dead_keys, alice, bob)
    for secret in (None, "x", "sk-abc", revoked, of_disabled):
        answer = await v1(secret).get("/models")
        assert answer.status_code == 401, secret
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert answer.headers["www-authenticate"] == "Bearer"


def _dead_keys(alice: User, bob: User) -> list[str]:
    secrets = [APIKey.create(user, "test")[1] for user in (alice, bob)]
    APIKey.objects.filter(digest=APIKey.digest_of(secrets[0])).revoke()
    bob.is_active = False
    bob.save()
    return secrets


@pytest.mark.parametrize(
    ("problem", "status", "type_", "headers"),
    [
        (InvalidRequest("x", field="messages"), 400, "invalid_request_error", {}),
        (Conflict("x"), 409, "invalid_request_error", {"x-should-retry": "false"}),
        (
            Unavailable("x", retry_after_seconds=600),
            503,
            "server_error",
            {"Retry-After": "120"},
        ),
        (
            RateLimited("x", limit_name="a", limit=1, retry_after_seconds=7),
            429,
            "rate_limit_error",
            {
                "Retry-After": "7",
                "x-ratelimit-limit-requests": "1",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "7s",
            },
        ),
    ],
)
def test_a_problem_has_the_status_that_its_client_acts_on(
    problem: Problem, status: int, type_: str, headers: dict[str, str]
) -> None:
    error = OpenAIError.of(problem)
    assert (error.status, error.type, error.headers) == (status, type_, headers)
    assert error.param == problem.field
