"""Groq: usage in a field of its own, reasoning, durations in its headers."""

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
    failed(
        "a call that the model wrote wrongly",
        whole(
            error(
                "Failed to call a function. Please adjust your prompt. See "
                "'failed_generation' for more details.",
                type="invalid_request_error",
                code="tool_use_failed",
                failed_generation="<function=f>",
            ),
            "400 Bad Request",
        ),
        "provider_invalid_response",
        "Failed to call a function",
        retryable=True,
    ),
    failed(
        "JSON that the model wrote wrongly",
        whole(
            error(
                "Failed to generate JSON. Please adjust your prompt. See 'failed_generation' "
                "for more details.",
                type="invalid_request_error",
                code="json_validate_failed",
                failed_generation="",
            ),
            "400 Bad Request",
        ),
        "provider_invalid_response",
        "Failed to generate JSON",
        retryable=True,
    ),
    failed(
        "a request above the limit of a minute",
        whole(
            error(
                "Request too large for model `llama` in organization `org_1` service tier "
                "`on_demand` on tokens per minute (TPM): Limit 6000, Requested 9208, please "
                "reduce your message size and try again.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
            "413 Payload Too Large",
            retry_after="3",
        ),
        "provider_bad_request",
        "Request too large",
        after=3.0,
    ),
    failed(
        "a model that is gone",
        whole(
            error(
                "The model `mixtral-8x7b-32768` has been decommissioned and is no longer "
                "supported. Please refer to https://console.groq.com/docs/deprecations for a "
                "recommendation on which model to use instead.",
                type="invalid_request_error",
                code="model_decommissioned",
            ),
            "400 Bad Request",
        ),
        "provider_model_not_found",
        "decommissioned",
    ),
    failed(
        "an account that is restricted",
        whole(
            error(
                "Organization has been restricted. Please reach out to support if you "
                "believe this was in error.",
                type="invalid_request_error",
                code="organization_restricted",
            ),
            "400 Bad Request",
        ),
        "provider_auth",
        "restricted",
    ),
    failed(
        "its own field says why it stopped, without choices",
        stream(text("Once"), {"id": "x", "choices": [], "x_groq": {"error": "over capacity"}}),
        "provider_error",
        "over capacity",
        retryable=True,
    ),
    failed(
        "its own field says why it stopped, beside a finish reason",
        stream(text("Once"), chunk(finish="stop", x_groq={"id": "r", "error": "server error"})),
        "provider_error",
        "server error",
        retryable=True,
    ),
    failed(
        "tools that a model cannot use",
        whole(
            error("model `x`: tool calling is not supported with this model", code=None),
            "400 x",
        ),
        "provider_bad_request",
        "tool calling",
    ),
]
