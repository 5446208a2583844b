"""Errors in JSON-RPC's form: those of a whole request, and those that a method answers with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response

from aily.http.errors import problem_of
from aily.observability import metrics
from aily.problems import Problem
from chat.openai.errors import OpenAIError

JSON_TYPE = "application/json"
PARSE_ERROR, INVALID_REQUEST, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32602, -32603
#: A header that differs from the body, and a capability that the client did not declare.
HEADER_MISMATCH, MISSING_CAPABILITY = -32020, -32021


class RPCError(Exception):
    """What a method answers with in place of a result."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data = code, message, data

    @classmethod
    def of(cls, problem: Problem) -> RPCError:
        code = INTERNAL_ERROR if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
        return cls(code or INVALID_PARAMS, problem.message, problem.as_error())


def error_body(code: int, message: str, data: object = None) -> bytes:
    """A response to a request whose id is unknown."""
    error: dict[str, object] = {"code": code, "message": message}
    if data is not None:
        error["data"] = data
    return json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()


def error_response(request: Request, error: Exception) -> Response:
    """The response to an exception that the endpoint has raised."""
    if isinstance(error, OpenAIError):
        # The check of the key is that of OpenAI's API.
        status, name, message = error.status, error.code or error.type, error.message
        headers: Mapping[str, str] = error.headers
        data: object = None
    else:
        problem = problem_of(request, error)
        status, name, message = problem.status, problem.code, problem.message
        headers = problem.headers
        if problem.retry_after_seconds is not None:
            headers = {**headers, "Retry-After": str(problem.retry_after_seconds)}
        data = problem.as_error()
    metrics.request_error("mcp", name).inc()
    if status == HTTPStatus.UNAUTHORIZED:
        headers = {"WWW-Authenticate": "Bearer", **headers}
    return Response(error_body(_code(status), message, data), status, headers, JSON_TYPE)


def error_form(problem: Problem, path: str) -> tuple[str, bytes]:
    """Media type and body of a refusal that reaches no endpoint (aily/web/body_limits.py)."""
    return JSON_TYPE, error_body(_code(problem.status), problem.message, problem.as_error())


def _code(status: int) -> int:
    return INTERNAL_ERROR if status >= HTTPStatus.INTERNAL_SERVER_ERROR else INVALID_REQUEST
