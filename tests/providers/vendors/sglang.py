"""SGLang: errors as events and objects; a request that was aborted."""

from __future__ import annotations

from chat.llm.types import ToolCall
from tests.providers.playing import Answered, Case, Failed, chunk, failed, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="null reasoning and null tool calls beside the text",
        response=stream(
            chunk({"role": "assistant", "content": "", "reasoning_content": None}),
            chunk({"content": "hi", "reasoning_content": None, "tool_calls": None}),
            chunk({"content": None, "tool_calls": None}, "stop", matched_stop=151645),
        ),
        text="hi",
    ),
    Failed(
        name="a request that was aborted",
        response=stream(text("Once"), chunk(finish="abort")),
        code="provider_error",
        words="abort",
        retryable=True,
    ),
    Failed(
        name="an error object within error",
        response=stream(
            text("Once"),
            {
                "error": {
                    "object": "error",
                    "message": "Abort before prefill",
                    "type": "ServiceUnavailableError",
                    "param": None,
                    "code": 503,
                }
            },
        ),
        code="provider_overloaded",
        words="Abort before prefill",
        retryable=True,
    ),
    Failed(
        name="an event of its own",
        response=stream(text("Once"), b'event: error\ndata: "out of memory"\n\n'),
        code="provider_error",
        words="out of memory",
        retryable=True,
    ),
    Answered(
        name="MiniMax's call, its arguments in an entry of their own",
        response=whole(
            {
                "choices": [
                    {
                        "message": {
                            "tool_calls": [
                                {"id": "c", "function": {"name": "f", "arguments": ""}},
                                {"id": None, "function": {"name": None, "arguments": "{}"}},
                            ]
                        },
                        "finish_reason": "tool_calls",
                    }
                ]
            }
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c", "f", "{}"),),
    ),
    failed(
        "a reason with words of its own",
        stream(
            text("Once"),
            chunk(finish={"type": "abort", "message": "the cache is full", "status_code": 503}),
        ),
        "provider_overloaded",
        "the cache is full",
        retryable=True,
    ),
]
