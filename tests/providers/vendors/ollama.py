"""Ollama: reasoning by another name, all calls at index 0, errors without the form of an event."""

from __future__ import annotations

from chat.llm.types import ToolCall
from tests.providers.playing import (
    MADE_UP,
    STOP,
    Answered,
    Case,
    Failed,
    Response,
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
        name="reasoning",
        response=stream(
            chunk({"role": "assistant", "content": "", "reasoning": "Hm."}), text("4"), STOP
        ),
        text="4",
        reasoning="Hm.",
    ),
    Answered(
        name="parallel calls that all have index 0",
        response=stream(
            tools(tool(0, "call_a", "f", '{"a":1}')),
            tools(tool(0, "call_b", "f", '{"a":2}')),
            chunk({"content": ""}, "tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("call_a", "f", '{"a":1}'), ToolCall("call_b", "f", '{"a":2}')),
    ),
    Answered(
        name="parallel calls without id and index",
        response=stream(
            tools(tool(None, None, "f", '{"a":1}'), tool(None, None, "f", '{"a":2}')),
            chunk(finish="stop"),
        ),
        tool_calls=(ToolCall(MADE_UP, "f", '{"a":1}'), ToolCall(MADE_UP, "f", '{"a":2}')),
    ),
    Answered(
        name="arguments as an object",
        response=stream(tools(tool(0, "call_a", "f", {"city": "Köln"})), chunk(finish="stop")),
        tool_calls=(ToolCall("call_a", "f", '{"city": "Köln"}'),),
    ),
    Failed(
        name="an error without the form of an event",
        response=stream(
            text("Once"),
            b'{"error":{"message":"an error was encountered while running the model"}}\n',
            done=False,
        ),
        code="provider_error",
        words="while running the model",
        retryable=True,
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {
                "error": {
                    "message": 'model "llama3.2" not found, try pulling it first',
                    "type": "api_error",
                    "param": None,
                    "code": None,
                }
            },
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="try pulling it first",
        retryable=False,
    ),
    Failed(
        name="a path that is not there",
        response=Response(
            body=b"404 page not found",
            status="404 Not Found",
            headers={"content-type": "text/plain; charset=utf-8"},
        ),
        code="provider_bad_request",
        words="404 page not found",
        retryable=False,
    ),
    failed(
        "a model that crashed after some text",
        stream(
            text("a"),
            b'{"error":"an error was encountered while running the model: unexpected EOF"}\n',
            done=False,
        ),
        "provider_error",
        "EOF",
        retryable=True,
    ),
]
