"""one-api: an empty error beside each answer."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import STOP, Answered, Case, counts, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="in a stream",
        response=stream(
            {**text("Hi"), "error": {"message": "", "type": "", "param": "", "code": None}},
            {**STOP, "error": {"message": "", "type": "", "param": "", "code": None}},
        ),
        text="Hi",
    ),
    Answered(
        name="in a whole answer",
        response=whole(
            {
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "Hi"},
                        "finish_reason": "stop",
                    }
                ],
                "usage": counts(1, 1),
                "error": {"message": "", "type": "", "param": "", "code": None},
            }
        ),
        text="Hi",
        usage=Usage(1, 1, 2),
    ),
]
