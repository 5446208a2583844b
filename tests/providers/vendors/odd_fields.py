"""No vendor's: side fields of other types than expected, which cost themselves and no more."""

from __future__ import annotations

from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    stream,
    text,
    whole,
)

CASES: list[Case] = [
    Answered(
        name="ids and indices of other types",
        response=stream(
            {
                "id": 17,
                "created": "now",
                "model": None,
                "choices": [{"index": "0", "delta": {"content": "H", "role": 1}}],
            },
            {"id": None, "choices": [{"index": None, "delta": {"content": "i"}}, None, 5]},
            {"id": {}, "choices": [{"index": 0.0, "delta": None, "finish_reason": "stop"}]},
        ),
        text="Hi",
    ),
    Answered(
        name="events that say nothing",
        response=stream(
            *(b"data: null\n\n", b"data: {}\n\n", b"data: ping\n\n", b"data:\n\n"),
            *({"choices": None}, {"choices": []}, {"choices": [None]}, {"choices": [{}]}),
            {"choices": [{"delta": None, "message": None}]},
            text("Hi"),
            {"choices": [], "error": None, "usage": None},
            STOP,
        ),
        text="Hi",
    ),
    Answered(
        name="choices that are one",
        response=stream({"choices": {"index": 0, "delta": {"content": "Hi"}}}, STOP),
        text="Hi",
    ),
    Answered(
        name="content that is a number",
        response=stream(text("4"), text(2), STOP),
        text="42",
    ),
    Failed(
        name="an event that is cut in the middle",
        response=stream(text("Hi"), b'data: {"choices":[{"delta":{"con\n\n', STOP),
        code="provider_invalid_response",
        words="not the expected JSON",
        retryable=True,
    ),
    Failed(
        name="choices that are none",
        response=stream({"choices": "text"}),
        code="provider_invalid_response",
        words="choices",
        retryable=True,
    ),
    Answered(
        name="errors that are empty",
        response=stream({**text("Hi"), "error": {}}, {**STOP, "error": []}),
        text="Hi",
    ),
    Answered(
        name="errors that are none",
        response=stream({**text("Hi"), "error": 0}, {**STOP, "error": "none"}),
        text="Hi",
    ),
    Answered(
        name="an empty error in a choice",
        response=stream({"choices": [{"index": 0, "delta": {"content": "Hi"}, "error": {}}]}, STOP),
        text="Hi",
    ),
    Answered(
        name="an index that begins with 1",
        response=stream(
            {"choices": [{"index": 1, "delta": {"content": "Hi"}}]},
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]},
        ),
        text="Hi",
    ),
    Answered(
        name="an answer in a list",
        response=whole(
            [
                {"choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}
            ].__repr__().replace("'", '"')
        ),
        text="Hi",
    ),
    Answered(
        name="a second choice that nobody asked for, after several events at once",
        response=stream(
            text("H"),
            text("i"),
            {"choices": [{"index": 1, "delta": {"content": "Other"}}]},
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
            STOP,
        ),
        text="Hi",
    ),
    Answered(
        name="within the data of a gateway",
        response=stream(
            {"code": 200, "data": text("H")},
            {"code": 0, "message": "ok", "result": text("i")},
            {"code": 200, "data": STOP},
        ),
        text="Hi",
    ),
    Failed(
        name="an error in a choice that has an odd index",
        response=stream(
            text("Once"),
            {"choices": [{"index": "0", "delta": {}, "error": {"message": "Boom", "code": 502}}]},
        ),
        code="provider_error",
        words="Boom",
        retryable=True,
    ),
]
