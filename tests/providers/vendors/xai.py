"""xAI (Grok): the words as `error`, a sentence as `code`; one call a chunk, whole."""

from __future__ import annotations

from chat.llm.types import ToolCall, Usage
from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    failed,
    stream,
    text,
    tool,
    tools,
    whole,
)

CASES: list[Case] = [
    Answered(
        name="whole calls that share their index",
        response=stream(
            chunk({"role": "assistant", "content": "", "reasoning_content": "hm"}),
            tools(tool(0, "call_1", "f", '{"a":1}')),
            tools(tool(0, "call_2", "g", '{"b":2}')),
            chunk(finish="tool_calls"),
        ),
        reasoning="hm",
        finish_reason="tool_calls",
        tool_calls=(ToolCall("call_1", "f", '{"a":1}'), ToolCall("call_2", "g", '{"b":2}')),
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {
                "code": "Some requested entity was not found",
                "error": "The model grok-9 does not exist or your team has no access to it.",
            },
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="grok-9",
        retryable=False,
    ),
    Failed(
        name="a key that is wrong",
        response=whole(
            {
                "code": "Client specified an invalid argument",
                "error": "Incorrect API key provided: sk***ef.",
            },
            "400 Bad Request",
        ),
        code="provider_auth",
        words="Incorrect API key",
        retryable=False,
    ),
    Failed(
        name="no capacity, after some text",
        response=stream(
            text("Once"),
            {"code": "The service is currently unavailable", "error": "Service overloaded."},
        ),
        code="provider_overloaded",
        words="Service overloaded.",
        retryable=True,
    ),
    failed(
        "an account without credits",
        whole(
            {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Your newly created team doesn't have any credits yet. You can purchase "
                "credits on https://console.x.ai/team/1.",
            },
            "403 Forbidden",
        ),
        "provider_balance",
        "credits",
    ),
    failed(
        "content that it refuses",
        whole(
            {
                "code": "The caller does not have permission to execute the specified operation",
                "error": "Content violates usage guidelines. Team: 1, API key ID: 2, "
                "Model: grok-4, "
                "Failed check: SAFETY_CHECK_TYPE_BIO",
            },
            "403 Forbidden",
        ),
        "provider_bad_request",
        "usage guidelines",
    ),
    Answered(
        name="thoughts that are counted apart, and billed",
        response=stream(
            text("4"),
            STOP,
            {
                "choices": [],
                "usage": {
                    "prompt_tokens": 7,
                    "completion_tokens": 2,
                    "total_tokens": 309,
                    "completion_tokens_details": {"reasoning_tokens": 300},
                    "num_sources_used": 0,
                },
            },
        ),
        text="4",
        usage=Usage(7, 302, 309, reasoning_tokens=300),
    ),
]
