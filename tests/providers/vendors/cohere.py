"""Cohere's OpenAI-like API, and its own words: reasons in capitals, messages at the top."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import Answered, Case, Failed, chunk, stream, text, whole

_TOKENS = {"input_tokens": 71, "output_tokens": 2}
_USAGE = {"billed_units": {"input_tokens": 5, "output_tokens": 2}, "tokens": _TOKENS}

CASES: list[Case] = [
    Answered(
        name="reasons in capitals stay as they are",
        response=stream(text("Hi"), chunk(finish="COMPLETE")),
        text="Hi",
        finish_reason="COMPLETE",
    ),
    Answered(
        name="a filter",
        response=stream(text("Hi"), chunk(finish="ERROR_TOXIC")),
        text="Hi",
        finish_reason="content_filter",
    ),
    Answered(
        name="content as one part",
        response=stream(text({"type": "text", "text": "Hi"}), chunk(finish="stop")),
        text="Hi",
    ),
    Answered(
        name="its native usage: what it bills, not what the model read",
        response=stream(text("Hi"), chunk(finish="COMPLETE", usage=_USAGE)),
        text="Hi",
        finish_reason="COMPLETE",
        usage=Usage(5, 2, 7),
    ),
    Answered(
        name="its native usage beside the text",
        response=stream(text("Hi", usage=_USAGE), chunk(finish="COMPLETE")),
        text="Hi",
        finish_reason="COMPLETE",
        usage=Usage(5, 2, 7),
    ),
    Answered(
        name="its native usage in a chunk of its own, without what it bills",
        response=stream(
            text("Hi"), chunk(finish="COMPLETE"), {"choices": [], "usage": {"tokens": _TOKENS}}
        ),
        text="Hi",
        finish_reason="COMPLETE",
        usage=Usage(71, 2, 73),
    ),
    Answered(
        name="usage of its older API, in a whole answer",
        response=whole(
            {
                "choices": [{"message": {"content": "Hi"}, "finish_reason": "MAX_TOKENS"}],
                "meta": {"api_version": {"version": "1"}, **_USAGE},
            }
        ),
        text="Hi",
        finish_reason="MAX_TOKENS",
        usage=Usage(5, 2, 7),
    ),
    Failed(
        name="a failure",
        response=stream(text("Once"), chunk(finish="ERROR")),
        code="provider_error",
        words="ERROR",
        retryable=True,
    ),
    Failed(
        name="an unknown model",
        response=whole({"id": "1", "message": "model 'x' not found"}, "404 Not Found"),
        code="provider_model_not_found",
        words="model 'x' not found",
        retryable=False,
    ),
    Failed(
        name="a key that is wrong",
        response=whole({"message": "invalid api token"}, "401 Unauthorized"),
        code="provider_auth",
        words="invalid api token",
        retryable=False,
    ),
    Failed(
        name="a message alone, in the stream",
        response=stream(text("Once"), {"message": "too many tokens"}),
        code="provider_error",
        words="too many tokens",
        retryable=True,
    ),
]
