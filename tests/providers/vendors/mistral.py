"""Mistral: content as parts, thoughts among them; ids of nine letters."""

from __future__ import annotations

from chat.llm.types import ToolCall
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


def _thinking(words: str) -> dict[str, object]:
    return {"type": "thinking", "thinking": [{"type": "text", "text": words}]}


CASES: list[Case] = [
    Answered(
        name="thoughts and text as parts",
        response=stream(
            chunk({"role": "assistant", "content": ""}),
            text([_thinking("'s a ")]),
            text([_thinking("greeting")]),
            text([{"type": "text", "text": "Hello"}]),
            text(" there"),
            STOP,
        ),
        text="Hello there",
        reasoning="'s a greeting",
    ),
    Answered(
        name="parts of several kinds in one event",
        response=stream(
            text(
                [
                    _thinking("hm"),
                    {"type": "text", "text": "See "},
                    {"type": "reference", "reference_ids": [1]},
                    "here",
                ]
            ),
            STOP,
        ),
        text="See here",
        reasoning="hm",
    ),
    Answered(
        name="a whole answer of parts",
        response=whole(
            {
                "id": "x",
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": [
                                _thinking("hm"),
                                {"type": "text", "text": "4"},
                            ],
                        },
                        "finish_reason": "stop",
                    }
                ],
            }
        ),
        text="4",
        reasoning="hm",
    ),
    Answered(
        name="calls whole, on the last chunk, without an index",
        response=stream(
            tools(
                tool(None, "D681PevKs", "f", '{"a": 1}'),
                tool(None, "E681PevKs", "g", "{}"),
                finish="tool_calls",
            )
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("D681PevKs", "f", '{"a": 1}'), ToolCall("E681PevKs", "g", "{}")),
    ),
    Answered(
        name="cut at the model's own length",
        response=stream(text("Once"), chunk(finish="model_length")),
        text="Once",
        finish_reason="model_length",
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {
                "object": "error",
                "message": "Invalid model: x",
                "type": "invalid_model",
                "param": None,
                "code": "1500",
            },
            "400 Bad Request",
        ),
        code="provider_model_not_found",
        words="Invalid model",
        retryable=False,
    ),
    Failed(
        name="no capacity",
        response=whole(
            {
                "object": "error",
                "message": "Service tier capacity exceeded for this model.",
                "type": "service_tier_capacity_exceeded",
                "code": "3505",
            },
            "429 Too Many Requests",
        ),
        code="provider_rate_limited",
        words="capacity exceeded",
        retryable=True,
    ),
    failed(
        "a fault of the request, in a message in a message",
        whole(
            {
                "object": "error",
                "message": {
                    "detail": [
                        {
                            "type": "value_error",
                            "loc": ["body", "messages"],
                            "msg": "Expected last role User or Tool (or Assistant with "
                            "prefix True) "
                            "for serving but got assistant",
                            "input": [],
                        }
                    ]
                },
                "type": "invalid_request_error",
                "param": None,
                "code": None,
            },
            "422 x",
        ),
        "provider_bad_request",
        "Expected last role",
    ),
]
