"""Databricks: `error_code` in capitals, content as parts."""

from __future__ import annotations

from tests.providers.playing import STOP, Answered, Case, failed, stream, text, whole

CASES: list[Case] = [
    Answered(
        name="reasoning and text as parts",
        response=stream(
            text(
                [
                    {
                        "type": "reasoning",
                        "summary": [{"type": "summary_text", "text": "hm", "signature": ""}],
                    }
                ]
            ),
            text([{"type": "text", "text": "Hi"}]),
            STOP,
        ),
        text="Hi",
        reasoning="hm",
    ),
    failed(
        "a limit",
        whole(
            {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded workspace rate limit"},
            "429 x",
        ),
        "provider_rate_limited",
        "Exceeded",
        retryable=True,
    ),
    failed(
        "away for a while, in the stream",
        stream({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "try later"}),
        "provider_overloaded",
        "try later",
        retryable=True,
    ),
]
