"""The error in OpenAI's form of a task that ended without an answer."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from chat.events import AnyEvent, TaskCancelled, TaskExpired, TaskFailed
from chat.openai.errors import OpenAIError

#: Retry-After where another try may succeed. The task itself was tried several times before.
RETRY_SECONDS = 2
_BUSY = HTTPStatus.SERVICE_UNAVAILABLE
_BROKEN = HTTPStatus.BAD_GATEWAY
#: Codes that have another status than 502, which means: the provider has not given an answer.
_STATUS = {
    "provider_bad_request": HTTPStatus.BAD_REQUEST,
    "model_disabled": HTTPStatus.NOT_FOUND,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
    "worker_lost": HTTPStatus.INTERNAL_SERVER_ERROR,
    **dict.fromkeys(
        (
            *("provider_rate_limited", "provider_overloaded", "provider_unreachable"),
            *("provider_timeout_connect", "provider_balance"),
        ),
        _BUSY,
    ),
}
#: Codes of what no other try mends.
_FINAL = frozenset(
    {"provider_auth", "provider_balance", "provider_model_not_found", "provider_timeout_total"}
    | {"provider_forbidden_address", "invalid_output", "internal", "worker_lost"}
)
#: Words by which providers say that a prompt is too long for the model.
_TOO_LONG = (
    *("context length", "context_length", "context size", "context window", "too many tokens"),
    *("prompt is too long", "input is too long", "model token limit", "reduce the length"),
    "request too large for",
)


def error_of(end: AnyEvent) -> OpenAIError:
    """The error for a task that has not succeeded."""
    match end:
        case TaskFailed():
            return error_of_failure(end.error)
        case TaskExpired():
            message = "The request's deadline passed before its answer was whole."
            return _final(HTTPStatus.GATEWAY_TIMEOUT, message, "deadline_exceeded")
        case TaskCancelled():
            return _final(HTTPStatus.CONFLICT, "The request was cancelled.", "cancelled")
        case _:
            raise TypeError(f"{end} is no end without an answer")


def error_of_failure(error: Mapping[str, Any]) -> OpenAIError:
    """The error for a task that has failed, by the error in its row."""
    code, message = str(error.get("code") or "internal"), str(error.get("message") or "")
    status = _STATUS.get(code, _BROKEN)
    if status == HTTPStatus.NOT_FOUND:
        return OpenAIError(status, message, param="model", code="model_not_found")
    if status == HTTPStatus.BAD_REQUEST:
        return _bad_request(message)
    if code == "result_too_large":
        return OpenAIError(HTTPStatus.BAD_REQUEST, message, param="input", code=code)
    if code in _FINAL:
        return _final(status, message, code)
    return OpenAIError(status, message, code=code, headers={"Retry-After": str(RETRY_SECONDS)})


def _bad_request(message: str) -> OpenAIError:
    """The provider refuses the request, in its own words."""
    is_too_long = any(words in message.lower() for words in _TOO_LONG)
    code, param = ("context_length_exceeded", "messages") if is_too_long else (None, None)
    return OpenAIError(HTTPStatus.BAD_REQUEST, message, param=param, code=code)


def _final(status: int, message: str, code: str) -> OpenAIError:
    return OpenAIError(status, message, code=code, headers={"x-should-retry": "false"})
