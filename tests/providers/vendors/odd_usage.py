"""No vendor's: token counts of other types than expected, which cost themselves and no more."""

from __future__ import annotations

from typing import Any

from chat.llm.types import Usage
from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    chunk,
    counts,
    stream,
    text,
    whole,
)


def _usage(name: str, usage: Any, expected: Usage) -> Answered:
    return Answered(
        name=f"usage: {name}",
        response=stream(text("Hi"), {**STOP, "usage": usage}),
        text="Hi",
        usage=expected,
    )


_WHOLE = {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}

CASES: list[Case] = [
    _usage("texts", {"prompt_tokens": "3", "completion_tokens": "1.0"}, Usage(3, 1, 4)),
    _usage("fractions", {"prompt_tokens": 3.0, "completion_tokens": 1.5}, Usage(3, 1, 4)),
    _usage("a list", [1, 2], Usage()),
    _usage("a text", "none", Usage()),
    _usage("nulls", {"prompt_tokens": None, "completion_tokens": None}, Usage()),
    _usage("negative and enormous", {"prompt_tokens": -1, "completion_tokens": 10**30}, Usage()),
    _usage(
        "details of another type", {**counts(3, 1), "prompt_tokens_details": [1]}, Usage(3, 1, 4)
    ),
    _usage("truth", {"prompt_tokens": True, "completion_tokens": {}}, Usage()),
    _usage("a total alone", {"total_tokens": 9}, Usage(total_tokens=9)),
    Answered(
        name="usage: not a number",
        response=stream(
            text("Hi"),
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":NaN,'
            b'"completion_tokens":1,"x":-Infinity}}\n\n',
        ),
        text="Hi",
        usage=Usage(0, 1, 1),
    ),
    Answered(
        name="usage: empty after it was full",
        response=stream(text("Hi", usage=counts(3, 1)), {**STOP, "usage": {}}, chunk(usage=None)),
        text="Hi",
        usage=Usage(3, 1, 4),
    ),
    Answered(
        name="usage: a total that is less than its parts",
        response=stream(text("Hi", usage=counts(3, 1)), {**STOP, "usage": counts(0, 2)}),
        text="Hi",
        usage=Usage(3, 2, 5),
    ),
    Answered(
        name="usage: empty after a total with more than its parts",
        response=stream(
            text("Hi", usage={**counts(3, 1), "total_tokens": 9}), {**STOP, "usage": {}}
        ),
        text="Hi",
        usage=Usage(3, 1, 9),
    ),
    Answered(
        name="usage: of another type in a whole answer",
        response=whole({**_WHOLE, "usage": "lots", "id": 7, "model": None}),
        text="Hi",
        usage=Usage(),
    ),
    Answered(
        name="usage: a number of more digits than Python converts",
        response=stream(
            text("Hi"),
            b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":'
            + b"9" * 5000
            + b',"completion_tokens":1}}\n\n',
        ),
        text="Hi",
        usage=Usage(0, 1, 1),
    ),
]
