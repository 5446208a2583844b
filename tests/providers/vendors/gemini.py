"""Gemini's OpenAI-like API: errors in a list, a reason beside the text, calls without an index."""

from __future__ import annotations

from chat.llm.types import ToolCall
from tests.providers.playing import (
    MADE_UP,
    Answered,
    Case,
    Failed,
    chunk,
    encoded,
    stream,
    text,
    tool,
    tools,
    whole,
)


def _error(code: int, message: str, status: str) -> bytes:
    return b"[" + encoded({"error": {"code": code, "message": message, "status": status}}) + b"]"


CASES: list[Case] = [
    Answered(
        name="the last text and the reason in one chunk",
        response=stream(text("Hel"), text("lo", "stop")),
        text="Hello",
    ),
    Answered(
        name="a reason on every chunk",
        response=stream(text("Hel", "stop"), text("lo ", "stop"), text("you", "stop")),
        text="Hello you",
    ),
    Answered(
        name="whole calls, all of index 0, with empty ids",
        response=stream(
            tools(tool(0, "", "f", '{"a":1}')),
            tools(tool(0, "", "f", '{"a":2}')),
            chunk({"role": "assistant"}, "stop"),
        ),
        tool_calls=(
            ToolCall(MADE_UP, "f", '{"a":1}'),
            ToolCall(MADE_UP, "f", '{"a":2}'),
        ),
    ),
    Failed(
        name="an unknown model, in a list",
        response=whole(
            _error(404, "models/gemini-9.5 is not found for API version v1main", "NOT_FOUND"),
            "404 x",
        ),
        code="provider_model_not_found",
        words="gemini-9.5",
        retryable=False,
    ),
    Failed(
        name="a key that is wrong",
        response=whole(
            _error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
            "400 Bad Request",
        ),
        code="provider_auth",
        words="API key not valid",
        retryable=False,
    ),
    Failed(
        name="a limit a minute, though it speaks of a quota",
        response=whole(
            _error(429, "You exceeded your current quota. Retry in 34s.", "RESOURCE_EXHAUSTED"),
            "429 Too Many Requests",
        ),
        code="provider_rate_limited",
        words="quota",
        retryable=True,
    ),
    Failed(
        name="an error in a list, in the stream",
        response=stream(text("Once"), _error(503, "The model is overloaded.", "UNAVAILABLE")),
        code="provider_overloaded",
        words="overloaded",
        retryable=True,
    ),
    Failed(
        name="a call that the model wrote wrongly",
        response=stream(chunk({"role": "assistant"}, "malformed_function_call")),
        code="provider_error",
        words="malformed_function_call",
        retryable=True,
    ),
    Failed(
        name="text that is cut although each chunk had a reason",
        response=stream(text("Hel", "stop"), b'data: {"id":"1","choices":[{"del\n\n', done=False),
        code="provider_invalid_response",
        words="not the expected JSON",
        retryable=True,
    ),
]
