"""Gemini's OpenAI-like API: errors in a list, a reason beside the text, calls without an index."""

from __future__ import annotations

from chat.llm.types import ToolCall, Usage
from tests.providers.playing import (
    MADE_UP,
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    encoded,
    failed,
    stream,
    text,
    tool,
    tools,
    whole,
)

_COUNTS = {
    "promptTokenCount": 9,
    "candidatesTokenCount": 2,
    "thoughtsTokenCount": 5,
    "cachedContentTokenCount": 4,
    "totalTokenCount": 16,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 9}],
}
_SIGNED = {"google": {"thought_signature": "c2lnbmVk"}}


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
        retry_after_seconds=34.0,
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
    failed(
        "overloaded, in a list, after some text",
        stream(
            text("a"),
            '[{"error":{"code":503,"message":"The model is overloaded. Please try again '
            'later.","status":"UNAVAILABLE"}}]',
            done=False,
        ),
        "provider_overloaded",
        "overloaded",
        retryable=True,
    ),
    failed(
        "a limit that says in its details when to retry",
        whole(
            '[{"error":{"code":429,"message":"You exceeded your current quota, please check '
            "your plan and billing details. Please retry in "
            '34.07s.","status":"RESOURCE_EXHAUSTED",'
            '"details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure",'
            '"violations":[{"quotaMetric":"x",'
            '"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},'
            '{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"34s"}]}}]',
            "429 Too Many Requests",
        ),
        "provider_rate_limited",
        "exceeded",
        retryable=True,
        after=34.0,
    ),
    failed(
        "a prompt that it blocks",
        stream(
            {
                "promptFeedback": {"blockReason": "SAFETY", "safetyRatings": []},
                "usageMetadata": {"promptTokenCount": 3},
            },
            done=False,
        ),
        "provider_bad_request",
        "SAFETY",
    ),
    Answered(
        name="its native counts beside the choices of each chunk",
        response=stream(
            text("Hel", usageMetadata={"promptTokenCount": 9, "totalTokenCount": 9}),
            text("lo", usageMetadata={"promptTokenCount": 9, "candidatesTokenCount": 1}),
            chunk(finish="STOP", usageMetadata=_COUNTS),
        ),
        text="Hello",
        finish_reason="STOP",
        usage=Usage(9, 7, 16, cached_tokens=4, reasoning_tokens=5),
    ),
    Answered(
        name="its native counts on the text alone",
        response=stream(text("Hello", usageMetadata=_COUNTS), STOP),
        text="Hello",
        usage=Usage(9, 7, 16, cached_tokens=4, reasoning_tokens=5),
    ),
    Answered(
        name="its native counts in a chunk of their own",
        response=stream(text("Hello"), STOP, {"choices": [], "usage_metadata": _COUNTS}),
        text="Hello",
        usage=Usage(9, 7, 16, cached_tokens=4, reasoning_tokens=5),
    ),
    Answered(
        name="its native counts in a whole answer, thoughts counted with the answer's",
        response=whole(
            {
                "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
                "usageMetadata": {
                    "promptTokenCount": 9,
                    "candidatesTokenCount": 7,
                    "thoughtsTokenCount": 5,
                    "totalTokenCount": 16,
                },
            }
        ),
        text="Hi",
        usage=Usage(9, 7, 16, reasoning_tokens=5),
    ),
    Answered(
        name="a filter of images",
        response=stream(text("a"), chunk(finish="IMAGE_SAFETY")),
        text="a",
        finish_reason="content_filter",
    ),
    failed(
        "a call that it did not expect",
        stream(text("a"), chunk(finish="UNEXPECTED_TOOL_CALL")),
        "provider_error",
        "UNEXPECTED",
        retryable=True,
    ),
    Answered(
        name="a call with a signature, which it wants back",
        response=stream(
            tools({**tool(0, "call_1", "f", "{}"), "extra_content": _SIGNED}),
            chunk(finish="tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("call_1", "f", "{}", _SIGNED),),
    ),
    failed(
        "a model of Vertex that is not there",
        whole(
            '[{"error": {"code": 404, "message": "Publisher Model `projects/p/x` was not found or '
            'your project does not have access to it.", "status": "NOT_FOUND"}}]',
            "404 x",
        ),
        "provider_model_not_found",
        "Publisher Model",
    ),
    failed(
        "a country from where it may not be used",
        whole(
            '[{"error": {"code": 400, "message": "User location is not supported for the API '
            'use.", "status": "FAILED_PRECONDITION"}}]',
            "400 x",
        ),
        "provider_bad_request",
        "location",
    ),
]
