"""Volcengine Ark (Doubao): codes in camel case, errors with and without `error`."""

from __future__ import annotations

from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    Response,
    chunk,
    error,
    failed,
    stream,
    text,
    whole,
)


def _error(code: str, message: str, kind: str = "") -> dict[str, object]:
    return {"error": {"code": code, "message": message, "param": "", "type": kind}}


def _failed(name: str, response: Response, code: str, words: str, *, retryable: bool) -> Failed:
    return Failed(name=name, response=response, code=code, words=words, retryable=retryable)


CASES: list[Case] = [
    Answered(
        name="reasoning, and a last chunk with empty choices",
        response=stream(
            chunk({"role": "assistant", "content": "", "reasoning_content": "嗯"}),
            text("好"),
            STOP,
            {**chunk(), "choices": [], "usage": None},
        ),
        text="好",
        reasoning="嗯",
    ),
    _failed(
        "an account in arrears",
        whole(_error("AccountOverdueError", "has an overdue balance", "Forbidden"), "403 x"),
        "provider_balance",
        "overdue",
        retryable=False,
    ),
    _failed(
        "an unknown endpoint",
        whole(
            _error("InvalidEndpointOrModel.NotFound", "endpoint ep-1 does not exist", "NotFound"),
            "404 x",
        ),
        "provider_model_not_found",
        "ep-1",
        retryable=False,
    ),
    _failed(
        "a limit of requests",
        whole(_error("ModelAccountRpmRateLimitExceeded", "RPM limit", "TooManyRequests"), "429 x"),
        "provider_rate_limited",
        "RPM limit",
        retryable=True,
    ),
    _failed(
        "a quota that is used up",
        whole(
            _error("QuotaExceeded", "exhausted its free trial quota", "TooManyRequests"), "429 x"
        ),
        "provider_balance",
        "free trial quota",
        retryable=False,
    ),
    _failed(
        "overloaded, in the stream",
        stream(_error("ServerOverloaded", "The service is overloaded", "TooManyRequests")),
        "provider_overloaded",
        "overloaded",
        retryable=True,
    ),
    _failed(
        "sensitive content after some text",
        stream(text("从"), _error("OutputTextSensitiveContentDetected", "sensitive information")),
        "provider_bad_request",
        "sensitive information",
        retryable=False,
    ),
    _failed(
        "without `error`",
        whole({"code": "InternalServiceError", "message": "internal", "request_id": "r"}, "500 x"),
        "provider_error",
        "internal",
        retryable=True,
    ),
    failed(
        "requests that come too fast, in the stream",
        stream(error("Too fast.", code="RequestBurstTooFast", type="TooManyRequests")),
        "provider_rate_limited",
        "Too fast",
        retryable=True,
    ),
]
