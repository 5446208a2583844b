"""iFlytek's Spark: five-digit numbers."""

from __future__ import annotations

from tests.providers.playing import Case, failed, stream

CASES: list[Case] = [
    failed(
        "content that it refuses",
        stream({"code": 10013, "message": "input content is illegal", "sid": "s"}),
        "provider_bad_request",
        "illegal",
    ),
]
