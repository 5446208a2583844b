"""Moonshot (Kimi): usage within the choice, and a quota that looks like a limit."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import (
    Answered,
    Case,
    Failed,
    chunk,
    counts,
    error,
    failed,
    stream,
    text,
    whole,
)

CASES: list[Case] = [
    Answered(
        name="usage within the choice",
        response=stream(
            chunk({"role": "assistant", "content": ""}),
            text("Hi"),
            {
                "id": "cmpl-1",
                "choices": [
                    {
                        "index": 0,
                        "delta": {},
                        "finish_reason": "stop",
                        "usage": {**counts(6, 1), "cached_tokens": 4},
                    }
                ],
            },
        ),
        text="Hi",
        usage=Usage(6, 1, 7, cached_tokens=4),
    ),
    Failed(
        name="an account that is empty",
        response=whole(
            {
                "error": {
                    "message": "Your account is suspended, please check your plan.",
                    "type": "exceeded_current_quota_error",
                }
            },
            "429 Too Many Requests",
        ),
        code="provider_balance",
        words="suspended",
        retryable=False,
    ),
    Failed(
        name="overloaded",
        response=whole(
            {
                "error": {
                    "message": "The engine is currently overloaded, please try again later",
                    "type": "engine_overloaded_error",
                }
            },
            "429 Too Many Requests",
        ),
        code="provider_rate_limited",
        words="currently overloaded",
        retryable=True,
    ),
    Failed(
        name="content that it refuses",
        response=whole(
            {
                "error": {
                    "message": "The request was rejected because it was considered high risk",
                    "type": "content_filter",
                }
            },
            "400 Bad Request",
        ),
        code="provider_bad_request",
        words="high risk",
        retryable=False,
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {
                "error": {
                    "message": "Not found the model kimi-x or Permission denied",
                    "type": "resource_not_found_error",
                }
            },
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="Not found the model",
        retryable=False,
    ),
    failed(
        "too many at once, and when to try again",
        whole(
            error("Your account reached max concurrency: 1, please try again after 3 seconds"),
            "429 x",
        ),
        "provider_rate_limited",
        "concurrency",
        retryable=True,
        after=3.0,
    ),
]
