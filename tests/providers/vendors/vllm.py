"""vLLM: reasoning under two names, errors as objects, made-up ids on fragments."""

from __future__ import annotations

from chat.llm.types import ToolCall, Usage
from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    counts,
    stream,
    text,
    tool,
    tools,
    whole,
)

CASES: list[Case] = [
    Answered(
        name="reasoning under its new name",
        response=stream(
            chunk({"role": "assistant", "content": ""}, logprobs=None),
            chunk({"reasoning": "Let me "}),
            chunk({"reasoning": "think."}),
            text("42"),
            STOP,
        ),
        text="42",
        reasoning="Let me think.",
    ),
    Answered(
        name="reasoning under both names counts once",
        response=stream(chunk({"reasoning": "hm", "reasoning_content": "hm"}), text("42"), STOP),
        text="42",
        reasoning="hm",
    ),
    Answered(
        name="usage that grows with each chunk",
        response=stream(
            text("a", usage=counts(5, 1)),
            text("b", usage=counts(5, 2)),
            chunk(finish="stop", usage=counts(5, 3)),
            {**chunk(), "choices": [], "usage": counts(5, 3)},
        ),
        text="ab",
        usage=Usage(5, 3, 8),
    ),
    Answered(
        name="an id of its own on each fragment of a call",
        response=stream(
            tools(tool(0, "chatcmpl-tool-1", "f")),
            tools(tool(0, "chatcmpl-tool-2", arguments='{"a":')),
            tools(tool(0, "chatcmpl-tool-3", arguments="1}")),
            chunk({"content": ""}, "tool_calls", stop_reason=None),
        ),
        finish_reason="tool_calls",
        tool_calls=(ToolCall("chatcmpl-tool-1", "f", '{"a":1}'),),
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {
                "object": "error",
                "message": "The model `qwen2.5-7b` does not exist.",
                "type": "NotFoundError",
                "param": None,
                "code": 404,
            },
            "404 Not Found",
        ),
        code="provider_model_not_found",
        words="qwen2.5-7b",
        retryable=False,
    ),
    Failed(
        name="a path that is not there",
        response=whole({"detail": "Not Found"}, "404 Not Found"),
        code="provider_bad_request",
        words="Not Found",
        retryable=False,
    ),
    Failed(
        name="an error object first",
        response=stream(
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens.",
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            }
        ),
        code="provider_bad_request",
        words="maximum context length",
        retryable=False,
    ),
    Failed(
        name="an error object after some text",
        response=stream(
            text("Once"),
            {
                "object": "error",
                "message": "EngineCore encountered an issue.",
                "type": "InternalServerError",
                "param": None,
                "code": 500,
            },
        ),
        code="provider_error",
        words="EngineCore encountered an issue.",
        retryable=True,
    ),
    Failed(
        name="fields that are wrong",
        response=whole(
            {"detail": [{"loc": ["body", "messages"], "msg": "field required", "type": "missing"}]},
            "422 Unprocessable Entity",
        ),
        code="provider_bad_request",
        words="field required",
        retryable=False,
    ),
]
