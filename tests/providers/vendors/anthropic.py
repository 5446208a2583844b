"""Anthropic's OpenAI-like API, and what of its own events comes through gateways."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import STOP, Answered, Case, Failed, chunk, failed, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="usage by its own names, the prompt's first",
        response=stream(
            chunk(usage={"input_tokens": 7, "output_tokens": 0, "cache_read_input_tokens": 3}),
            b'event: ping\ndata: {"type": "ping"}\n\n',
            text("Hi"),
            {**STOP, "usage": {"output_tokens": 2}},
        ),
        text="Hi",
        usage=Usage(7, 2, 9, cached_tokens=3),
    ),
    Failed(
        name="overloaded",
        response=whole(
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            "529 Overloaded",
        ),
        code="provider_overloaded",
        words="Overloaded",
        retryable=True,
    ),
    Failed(
        name="overloaded after some text",
        response=stream(
            text("Once"),
            b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error",'
            b'"message":"Overloaded"}}\n\n',
            done=False,
        ),
        code="provider_overloaded",
        words="Overloaded",
        retryable=True,
    ),
    Failed(
        name="credit that is used up",
        response=whole(
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "Your credit balance is too low to access the Anthropic API.",
                },
            },
            "400 Bad Request",
        ),
        code="provider_balance",
        words="credit balance",
        retryable=False,
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {"type": "error", "error": {"type": "not_found_error", "message": "model: claude-x"}},
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="claude-x",
        retryable=False,
    ),
    Failed(
        name="too large a request",
        response=whole(
            {"type": "error", "error": {"type": "request_too_large", "message": "Too large"}},
            "413 Request Entity Too Large",
        ),
        code="provider_bad_request",
        words="Too large",
        retryable=False,
    ),
    failed(
        "a limit of spending",
        whole(
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "You have reached your specified API usage limits.",
                },
            },
            "400 x",
        ),
        "provider_balance",
        "usage limits",
    ),
]
