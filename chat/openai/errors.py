"""Errors in OpenAI's form, which its clients turn into their own exceptions.

`{"error": {"message", "type", "param", "code"}}`, with all four keys in every case. A client takes
the class of its exception from the status, and retries 408, 409, 429 and 5xx by itself unless
`x-should-retry` says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from aily.http.errors import problem_of
from aily.observability import metrics
from aily.problems import IdempotencyMismatch, LimitReached, Problem

JSON_TYPE = "application/json"
INVALID_REQUEST, RATE_LIMIT, SERVER = "invalid_request_error", "rate_limit_error", "server_error"
#: Clients never retry after a longer wait than this.
MAX_RETRY_SECONDS = 120
_CODES = {
    HTTPStatus.UNAUTHORIZED: "invalid_api_key",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_exceeded",
}
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
        """The error that stands for a problem of aily."""
        # A request of another body under the same Idempotency-Key: OpenAI has no 422 for it.
        status = 409 if isinstance(problem, IdempotencyMismatch) else problem.status
        headers = dict(problem.headers)
        if problem.retry_after_seconds is not None:
            headers["Retry-After"] = str(min(problem.retry_after_seconds, MAX_RETRY_SECONDS))
        if status in _FINAL:
            headers["x-should-retry"] = "false"
        return cls(
            status,
            problem.message,
            type=RATE_LIMIT if isinstance(problem, LimitReached) else None,
            param=problem.field,
            code=_CODES.get(HTTPStatus(status), None if status == 400 else problem.code),
            headers=headers,
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
