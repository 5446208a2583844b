"""No vendor's: finish reasons in odd forms, several of them, and none that is true."""

from __future__ import annotations

from typing import Any

from tests.providers.playing import (
    STOP,
    Answered,
    Case,
    Failed,
    chunk,
    stream,
    text,
)


def _finish(name: str, reason: Any, expected: str = "stop") -> Answered:
    return Answered(
        name=f"finish reason: {name}",
        response=stream(text("Hi"), chunk(finish=reason)),
        text="Hi",
        finish_reason=expected,
    )


def _finishes(name: str, *reasons: str, expected: str) -> Answered:
    return Answered(
        name=f"finish reasons: {name}",
        response=stream(text("Hi"), *(chunk(finish=reason) for reason in reasons)),
        text="Hi",
        finish_reason=expected,
    )


CASES: list[Case] = [
    _finish("null until [DONE]", None),
    _finish("empty", ""),
    _finish("the word null", "null"),
    _finish("false", False),
    _finish("a number", 1),
    _finish("a list of one", ["length"], "length"),
    _finish("an object", {"type": "length"}, "length"),
    _finishes("stop after length", "length", "stop", expected="length"),
    _finishes("stop after another's word for it", "MAX_TOKENS", "STOP", expected="MAX_TOKENS"),
    _finishes("eos after a filter", "content_filter", "eos", expected="content_filter"),
    _finishes("length after stop", "stop", "length", expected="length"),
    Answered(
        name="finish reasons: length was premature, as more text shows",
        response=stream(text("H", "length"), text("i"), STOP),
        text="Hi",
    ),
    Answered(
        name="finish reason: calls of tools, and there are none",
        response=stream(text("Hi"), chunk(finish="tool_calls")),
        text="Hi",
    ),
    Answered(
        name="the role with another index than the text",
        response=stream(
            chunk({"role": "assistant", "content": ""}),
            {"choices": [{"index": 1, "delta": {"content": "Hi"}}]},
            {"choices": [{"index": 1, "delta": {}, "finish_reason": "stop"}]},
        ),
        text="Hi",
    ),
    Failed(
        name="a choice for each piece, of which only the last has a finish reason",
        response=stream(
            text("H"),
            {"choices": [{"index": 1, "delta": {"content": "i"}}]},
            {"choices": [{"index": 2, "delta": {}, "finish_reason": "stop"}]},
        ),
        code="provider_truncated",
        words="ended before",
        retryable=True,
    ),
    *(
        _finish(f"{reason!r}, another's word for {expected}", reason, expected)
        for reason, expected in (
            ("FINISH_REASON_STOP", "STOP"),
            ("FINISH_REASON_MAX_TOKENS", "MAX_TOKENS"),
            ("length_limit", "length"),
            ("context_length_exceeded", "length"),
            ("refusal", "content_filter"),
            ("LANGUAGE", "content_filter"),
            ("FINISH_REASON_SAFETY", "content_filter"),
        )
    ),
    *(
        Failed(
            name=f"finish reason: {reason}, by which it gave up",
            response=stream(text("Hi"), chunk(finish=reason)),
            code=code,
            words=f"gave up: {reason}",
            retryable=code != "provider_balance",
        )
        for reason, code in (
            ("connection_error", "provider_error"),
            ("system_error", "provider_error"),
            ("SERVER_TIMEOUT", "provider_error"),
            ("interrupted", "provider_error"),
            ("malformed_response", "provider_error"),
            ("server_overloaded", "provider_overloaded"),
            ("service_unavailable", "provider_overloaded"),
            ("rate_limit", "provider_rate_limited"),
            ("insufficient_quota", "provider_balance"),
        )
    ),
]
