"""Groq: usage in a field of its own, reasoning, durations in its headers."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import Answered, Case, Failed, chunk, counts, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="usage under x_groq",
        response=stream(
            chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
            chunk({"reasoning": "Hm.", "channel": "analysis"}),
            text("4"),
            chunk(
                finish="stop",
                x_groq={"id": "req_1", "usage": {**counts(8, 2), "total_time": 0.01}},
            ),
        ),
        text="4",
        reasoning="Hm.",
        usage=Usage(8, 2, 10),
    ),
    Failed(
        name="a limit that is reset in minutes",
        response=whole(
            {
                "error": {
                    "message": "Rate limit reached for model `x` on tokens per day.",
                    "type": "tokens",
                    "code": "rate_limit_exceeded",
                }
            },
            "429 Too Many Requests",
            x_ratelimit_remaining_tokens="0",
            x_ratelimit_reset_tokens="2m59.5s",
        ),
        code="provider_rate_limited",
        words="Rate limit reached",
        retryable=True,
        retry_after_seconds=179.5,
    ),
    Failed(
        name="no capacity",
        response=whole(
            {"error": {"message": "Flex tier capacity exceeded", "type": "capacity_exceeded"}},
            "498 Custom",
        ),
        code="provider_overloaded",
        words="capacity exceeded",
        retryable=True,
    ),
    Failed(
        name="a path that is not there",
        response=whole(
            {
                "error": {
                    "message": "Unknown request URL: POST /chat/completions.",
                    "type": "invalid_request_error",
                    "code": "unknown_url",
                }
            },
            "404 Not Found",
        ),
        code="provider_bad_request",
        words="Unknown request URL",
        retryable=False,
    ),
    Failed(
        name="an error under an event of its own",
        response=stream(
            text("Once"),
            b'event: error\ndata: {"error":{"message":"Overloaded","type":"over_capacity",'
            b'"status_code":503}}\n\n',
        ),
        code="provider_overloaded",
        words="Overloaded",
        retryable=True,
    ),
]
