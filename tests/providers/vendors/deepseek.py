"""DeepSeek: keep-alive comments, usage on the last chunk, and its own finish reasons."""

from __future__ import annotations

from chat.llm.types import ToolCall, Usage
from tests.providers.playing import (
    Answered,
    Case,
    Failed,
    Response,
    chunk,
    stream,
    text,
    tool,
    tools,
    whole,
)

_USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 5,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 2},
    "prompt_cache_hit_tokens": 4,
    "prompt_cache_miss_tokens": 5,
}


def _refusal(status: str, message: str) -> Response:
    error = {"message": message, "type": "unknown_error", "param": None}
    return whole({"error": {**error, "code": "invalid_request_error"}}, status)


CASES: list[Case] = [
    Answered(
        name="reasoning, then text, with usage on the last chunk",
        response=stream(
            b": keep-alive\n\n",
            chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
            chunk({"content": None, "reasoning_content": "Hm – "}),
            chunk({"content": None, "reasoning_content": "naïve"}),
            b": keep-alive\n\n",
            chunk({"content": "Grüße 🚀", "reasoning_content": None}),
            chunk({"content": "", "reasoning_content": None}, "stop", usage=_USAGE),
        ),
        text="Grüße 🚀",
        reasoning="Hm – naïve",
        usage=Usage(9, 5, 14, 4, 2),
    ),
    Answered(
        name="a tool call in fragments that have their index only",
        response=stream(
            tools(tool(0, "call_00_x", "weather", "")),
            tools(tool(0, arguments='{"city":')),
            tools(tool(0, arguments='"Bonn"}')),
            chunk({"content": ""}, "tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("call_00_x", "weather", '{"city":"Bonn"}'),),
    ),
    Failed(
        name="it gave up",
        response=stream(text("Once"), chunk(finish="insufficient_system_resource")),
        code="provider_overloaded",
        words="insufficient_system_resource",
        retryable=True,
    ),
    Failed(
        name="an empty account",
        response=_refusal("402 Payment Required", "Insufficient Balance"),
        code="provider_balance",
        words="Insufficient Balance",
        retryable=False,
    ),
    Failed(
        name="an unknown model",
        response=_refusal("400 Bad Request", "Model Not Exist"),
        code="provider_model_not_found",
        words="Model Not Exist",
        retryable=False,
    ),
    Failed(
        name="content that it refuses",
        response=_refusal("400 Bad Request", "Content Exists Risk"),
        code="provider_bad_request",
        words="Content Exists Risk",
        retryable=False,
    ),
    Failed(
        name="a stream that is cut",
        response=stream(text("Once upon"), text(" a time"), done=False),
        code="provider_truncated",
        words="ended before",
        retryable=True,
    ),
]
