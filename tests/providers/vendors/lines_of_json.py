"""Gateways that stream a line of JSON for each event, without `data:` (NDJSON)."""

from __future__ import annotations

from chat.llm.types import ToolCall, Usage
from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Data,
    Failed,
    Response,
    chunk,
    counts,
    encoded,
    error,
    text,
    tool,
    tools,
)


def _lines(*events: Data, end: bytes = b"\n", kind: str = "application/x-ndjson") -> Response:
    body = b"".join(encoded(event) + end for event in events)
    return Response(body=body, headers={"content-type": kind})


CASES: list[Case] = [
    Answered(
        name="text, a reason, and usage in a line of its own",
        response=_lines(
            chunk({"role": "assistant"}),
            text("Hel"),
            text("lo\n"),
            STOP,
            {"choices": [], "usage": counts(3, 2)},
        ),
        text="Hello\n",
        usage=Usage(3, 2, 5),
    ),
    Answered(
        name="said to be JSON, with CR LF, blank lines and an end mark",
        response=_lines(
            text("Hel"), "", text("lo"), STOP, "[DONE]", end=b"\r\n", kind="application/json"
        ),
        text="Hello",
    ),
    Answered(
        name="said to be events, and the last line without its end",
        response=_lines(text("Hello"), encoded(STOP), end=b"\n", kind="text/event-stream"),
        text="Hello",
    ),
    Answered(
        name="calls of tools",
        response=_lines(
            tools(tool(0, "c", "f", '{"a":')),
            tools(tool(0, arguments="1}")),
            chunk(finish="tool_calls"),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("c", "f", '{"a":1}'),),
    ),
    Answered(
        name="a whole answer in one line is none of them",
        response=_lines({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}, ""),
        text="Hi",
    ),
    Failed(
        name="an error after some text",
        response=_lines(text("Once"), error("The server is overloaded", code=503)),
        code="provider_overloaded",
        words="overloaded",
        retryable=True,
    ),
    Failed(
        name="text that is cut after its first line",
        response=_lines(text("Once")),
        code="provider_truncated",
        words="ended before",
        retryable=True,
    ),
]
