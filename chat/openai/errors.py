"""Errors in OpenAI's form, which its clients turn into their own exceptions.

`{"error": {"message", "type", "param", "code"}}`, with all four keys in every case. A client takes
the class of its exception from the status, and retries 408, 409, 429 and 5xx by itself unless
`x-should-retry` says otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from aily.http.errors import problem_of
from aily.observability import metrics
from aily.problems import (
    IdempotencyMismatch,
    InvalidRequest,
    LimitReached,
    NotFound,
    Problem,
    RateLimited,
    TooLarge,
)
from chat.exceptions import (
    BudgetExceeded,
    InvalidVariable,
    ModelDisabled,
    UnknownModel,
    UnsuitableModel,
)

JSON_TYPE = "application/json"
INVALID_REQUEST, RATE_LIMIT, SERVER = "invalid_request_error", "rate_limit_error", "server_error"
QUOTA = "insufficient_quota"
#: Clients never retry after a longer wait than this.
MAX_RETRY_SECONDS = 120
_CODES = {
    HTTPStatus.UNAUTHORIZED: "invalid_api_key",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded",
}
#: Fields of a request for a task that hold the prompt.
_PROMPTS = ("messages", "variables")
_INDEX = re.compile(r"\.(\d+)(?=\.|$)")
#: Statuses that no client is to retry, though it would by itself.
_FINAL = (HTTPStatus.CONFLICT,)


class OpenAIError(Exception):
    """An error as OpenAI's clients read it: `param` names the bad field, `code` is for programs."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,  # noqa: A002 - OpenAI's name
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or (
            SERVER if status >= HTTPStatus.INTERNAL_SERVER_ERROR else INVALID_REQUEST
        )
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, problem: Problem) -> OpenAIError:
        """OpenAI's error for a problem of aily."""
        if _is_about_the_model(problem):
            message = problem.message
            return cls(HTTPStatus.NOT_FOUND, message, param="model", code="model_not_found")
        status = _status(problem)
        return cls(
            status,
            problem.message,
            type=_type(problem),
            param=param_of(problem.field) if problem.field else None,
            code=_code(problem, status),
            headers=_headers(problem, status),
        )

    def body(self) -> dict[str, object]:
        """The `error` object with its envelope, as in a response and in a stream."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}


def param_of(path: str) -> str:
    """A field's path as OpenAI writes it: `messages[0].content` for `messages.0.content`."""
    return _INDEX.sub(r"[\1]", path)


def _is_about_the_model(problem: Problem) -> bool:
    """Whether there is no such model for the caller; scenes are models here."""
    match problem:
        case UnknownModel() | UnsuitableModel() | ModelDisabled():
            return True
        case NotFound():
            return problem.field == "scene"
    return False


def _status(problem: Problem) -> int:
    match problem:
        case IdempotencyMismatch():
            # A request of another body under the same Idempotency-Key: OpenAI has no 422 for it.
            return HTTPStatus.CONFLICT
        case InvalidRequest():
            return HTTPStatus.BAD_REQUEST
        case TooLarge() if problem.field:
            # The prompt, or what is sent along: the body itself was small enough.
            return HTTPStatus.BAD_REQUEST
    return problem.status


def _type(problem: Problem) -> str | None:
    """None: by the status."""
    match problem:
        case BudgetExceeded():
            return QUOTA
        case LimitReached():
            return RATE_LIMIT
    return None


def _code(problem: Problem, status: int) -> str | None:
    match problem:
        case BudgetExceeded():
            return QUOTA
        case TooLarge() if problem.field in _PROMPTS:
            return "context_length_exceeded"
        case InvalidVariable():
            return problem.code
    if status == HTTPStatus.BAD_REQUEST:
        return None
    return _CODES.get(HTTPStatus(status), problem.code)


def _headers(problem: Problem, status: int) -> dict[str, str]:
    headers = dict(problem.headers)
    seconds = problem.retry_after_seconds
    if isinstance(problem, BudgetExceeded):
        # The end of its period may be weeks away.
        return {**headers, "x-should-retry": "false"}
    if seconds is not None:
        headers["Retry-After"] = str(min(seconds, MAX_RETRY_SECONDS))
    if status in _FINAL:
        headers["x-should-retry"] = "false"
    if isinstance(problem, RateLimited):
        headers |= {
            "x-ratelimit-limit-requests": str(problem.limit),
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-requests": f"{seconds}s",
        }
    return headers


class TryAgainError(OpenAIError):
    """The task of the request goes on: the same request again finds it."""


def unknown_model(name: str) -> OpenAIError:
    """The error for a model that does not exist, or that the caller may not use."""
    message = f"The model {name[:200]!r} does not exist, or you may not use it."
    return OpenAIError(HTTPStatus.NOT_FOUND, message, param="model", code="model_not_found")


def error_response(request: Request, error: Exception) -> Response:
    """The response to an exception that an endpoint has raised."""
    if not isinstance(error, OpenAIError):
        error = OpenAIError.of(problem_of(request, error))
    metrics.request_error("openai", error.code or error.type).inc()
    headers = error.headers
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer", **headers}
    return Response(json.dumps(error.body()), error.status, headers, JSON_TYPE)


def error_form(problem: Problem, path: str) -> tuple[str, bytes]:
    """Media type and body of a refusal that reaches no endpoint (aily/web/body_limits.py)."""
    return JSON_TYPE, json.dumps(OpenAIError.of(problem).body()).encode()
