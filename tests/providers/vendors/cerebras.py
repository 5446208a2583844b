"""Cerebras: errors without `error`, limits of tokens and a queue."""

from __future__ import annotations

from tests.providers.playing import Case, error, failed, stream, text, whole

CASES: list[Case] = [
    failed(
        "a limit of tokens",
        whole(
            {
                "message": "Tokens per minute limit exceeded - too many tokens processed.",
                "type": "too_many_tokens_error",
                "param": "quota",
                "code": "token_quota_exceeded",
            },
            "429 x",
        ),
        "provider_rate_limited",
        "Tokens per minute",
        retryable=True,
    ),
    failed(
        "a queue that is full, in the stream",
        stream(
            {
                "message": "We're experiencing high traffic right now! Please try again soon.",
                "type": "too_many_requests_error",
                "param": "queue",
                "code": "queue_exceeded",
            },
            done=False,
        ),
        "provider_rate_limited",
        "high traffic",
        retryable=True,
    ),
    failed(
        "a failure after some text, its status beside it",
        stream(
            text("a"),
            {
                "error": {
                    "message": "Encountered a server error, please try again.",
                    "type": "server_error",
                    "param": "",
                    "code": "",
                },
                "status_code": 500,
            },
            done=False,
        ),
        "provider_error",
        "server error",
        retryable=True,
    ),
    failed(
        "a key that is wrong",
        whole(
            {
                "message": "Wrong API Key",
                "type": "invalid_request_error",
                "param": "api_key",
                "code": "wrong_api_key",
            },
            "401 x",
        ),
        "provider_auth",
        "Wrong API Key",
    ),
    failed(
        "a limit of a minute by its own header",
        whole(error("x"), "429 x", x_ratelimit_reset_tokens_minute="11"),
        "provider_rate_limited",
        "x",
        retryable=True,
        after=11.0,
    ),
]
