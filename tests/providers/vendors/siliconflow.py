"""SiliconFlow: numbers and words at the top, plain texts as JSON strings."""

from __future__ import annotations

from chat.llm.types import Usage
from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    counts,
    failed,
    stream,
    text,
    whole,
)

CASES: list[Case] = [
    Answered(
        name="usage on every chunk",
        response=stream(
            chunk({"content": None, "reasoning_content": "hm"}, usage=counts(4, 1)),
            chunk({"content": "4", "reasoning_content": None}, usage=counts(4, 2)),
            {**STOP, "usage": counts(4, 2)},
        ),
        text="4",
        reasoning="hm",
        usage=Usage(4, 2, 6),
    ),
    Failed(
        name="an unknown model",
        response=whole(
            {"code": 20012, "message": "Model does not exist. Please check it.", "data": None},
            "400 Bad Request",
        ),
        code="provider_model_not_found",
        words="Model does not exist",
        retryable=False,
    ),
    Failed(
        name="an empty account",
        response=whole(
            {"code": 30001, "message": "Sorry, your account balance is insufficient", "data": None},
            "403 Forbidden",
        ),
        code="provider_balance",
        words="insufficient",
        retryable=False,
    ),
    Failed(
        name="too busy",
        response=whole(
            {"code": 50505, "message": "Model service overloaded. Try later.", "data": None},
            "503 Service Unavailable",
        ),
        code="provider_overloaded",
        words="overloaded",
        retryable=True,
    ),
    Failed(
        name="a key that is wrong, as one JSON text",
        response=whole(b'"Invalid token"', "401 Unauthorized"),
        code="provider_auth",
        words="Invalid token",
        retryable=False,
    ),
    Failed(
        name="too busy, in the stream, with status 200",
        response=stream(
            text("Once"), {"code": 50603, "message": "System is too busy", "data": None}
        ),
        code="provider_overloaded",
        words="too busy",
        retryable=True,
    ),
    failed(
        "a model that is disabled",
        whole({"code": 30003, "message": "Model disabled.", "data": None}, "403 x"),
        "provider_model_not_found",
        "disabled",
    ),
]
